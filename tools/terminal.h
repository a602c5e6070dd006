/* terminal.h: what standard output can show.
 *
 * Names come from files, and may hold anything: what goes out is text, without characters that a
 * terminal would obey. */
#ifndef HT_TOOL_TERMINAL_H
#define HT_TOOL_TERMINAL_H

#include "sys/compiler.h"

#define TERMINAL_ENDLESS UINT32_MAX

struct terminal {
    uint32_t width; /* columns; TERMINAL_ENDLESS where nothing is to be cut */
    bool has_colour;
    bool is_utf8;
    bool is_terminal;
};

/* Looks at standard output, the locale, COLUMNS, NO_COLOR and TERM. */
struct terminal terminal_look(void);

/* How many columns a text takes. */
uint32_t terminal_width(const struct terminal *terminal, const char *text);

/* Writes a text in at most `width` columns, with an ellipsis where it is cut. Returns the columns
 * that were used. */
uint32_t terminal_put(const struct terminal *terminal, const char *text, uint32_t width);

/* The sign before a symmetric error. */
const char *terminal_plus_minus(const struct terminal *terminal);

#endif
