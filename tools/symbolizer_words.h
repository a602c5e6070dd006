/* symbolizer_words.h: what is told of the objects of a profile. */
#ifndef HT_TOOL_SYMBOLIZER_WORDS_H
#define HT_TOOL_SYMBOLIZER_WORDS_H

#include "symbolizer.h"

#define SYMBOLIZER_WORDS 256u

/* What is missing of an object, and why. False when nothing is. */
bool symbolizer_words(const struct symbolized_object *object, char ret_text[SYMBOLIZER_WORDS]);

/* Says on standard error what nobody would expect: another file where the object was, a damaged
 * one. */
void symbolizer_complain(const struct symbolized_object *object);

/* How many processes are worth it here. */
unsigned symbolizer_processes(void);

#endif
