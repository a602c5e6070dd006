/* copies.h: other copies of heaptap in this process: linked and preloaded, or opened by dlopen().
 *
 * Each copy carries a note, which stays where symbols do not: a program does not export what it has
 * from libheaptap.a. The copy that the loader has first is in front of the others and does the
 * work; they pass calls on, and touch nothing. */
#ifndef HT_CONTROL_COPIES_H
#define HT_CONTROL_COPIES_H

#include "sys/compiler.h"

/* Looks for a copy in front. Context: the constructor; takes the loader's lock. */
void ht_copies_start(void);

/* The file that has it, "" for the program itself; NULL: there is none. */
const char *ht_copies_in_front(void);

#endif
