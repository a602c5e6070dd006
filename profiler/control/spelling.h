/* spelling.h: how far one name is from another, to find out which one was meant. */
#ifndef HT_CONTROL_SPELLING_H
#define HT_CONTROL_SPELLING_H

#include "sys/compiler.h"

/* Longer names are cut: they are not near anything. */
#define HT_SPELLING_MAX 32

/* How many letters must be changed, added or left out to make one of the other (Levenshtein). */
unsigned ht_spelling_distance(const char *a, const char *b);

#endif
