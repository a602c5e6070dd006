/* json.h: the few things of JSON that reports are made of. */
#ifndef HT_TOOL_JSON_H
#define HT_TOOL_JSON_H

#include "sys/compiler.h"

/* A string with its quotes. Control characters are escaped; bytes that are no UTF-8 become U+FFFD. */
void json_string(const char *text);

/* A list of the lines of a text. */
void json_lines(const char *text);

#endif
