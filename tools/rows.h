/* rows.h: samples added up by function, line or stack.
 *
 * Flat is what was allocated at a place itself, cumulative what was allocated by it and all that it
 * called. A function that is on a stack twice counts once. Two profiles, which share their frames,
 * may be added up side by side. */
#ifndef HT_TOOL_ROWS_H
#define HT_TOOL_ROWS_H

#include "sums.h"

enum rows_by { ROWS_BY_FUNCTION, ROWS_BY_LINE, ROWS_BY_STACK };

#define ROWS_PROFILES 2

struct row {
    uint32_t key; /* function_id, or the number of the frame; 0 by stack */
    /* By stack only, leaf first; the profile owns it. */
    uint32_t stack_count;
    const uint32_t *stack;
    struct sums flat[ROWS_PROFILES], cum[ROWS_PROFILES]; /* the same by stack */
};

struct rows {
    enum rows_by by;
    struct frames *frames;
    struct row *all;
    size_t count;
    struct sums total[ROWS_PROFILES];
    /* The rest is rows.c's. */
    size_t room;
    uint32_t *slots; /* by key, or a hash table of stacks: numbers of rows + 1 */
    size_t slot_count;
    uint32_t *seen;    /* by key: the sample that was last counted there, + 1 */
    uint32_t no_stack; /* the frame that stands for a stack without any */
};

/* Starts as {.by = ..., .frames = ...}. Adds a profile as number `which`; all profiles must have
 * been read before. False when there is no memory, which has been said. */
bool rows_add(struct rows *rows, const struct profile *profile, unsigned which);

/* The frame that a row is named after; by stack, its leaf. Not by function. */
const struct frame *rows_frame(const struct rows *rows, const struct row *row);
/* The function of it. */
const char *rows_name(const struct rows *rows, const struct row *row);

void rows_free(struct rows *rows);

#endif
