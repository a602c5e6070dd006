/* utf8.h: one character after the other, of texts that may be none. */
#ifndef HT_TOOL_UTF8_H
#define HT_TOOL_UTF8_H

#include "sys/compiler.h"

/* The character at `text`, and how many bytes it has; -1, of one byte, for what is no UTF-8. */
int32_t utf8_character(const char *text, size_t *ret_size);

#endif
