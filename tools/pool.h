/* pool.h: memory that is given back all at once, and never more of it than a limit.
 *
 * What a file says decides how much is asked for, so running out is a normal answer: NULL. */
#ifndef HT_TOOL_POOL_H
#define HT_TOOL_POOL_H

#include "sys/compiler.h"

struct pool_chunk;

/* Starts as {.limit = bytes}. */
struct pool {
    struct pool_chunk *chunks;
    uint8_t *free, *end; /* what is left of the newest chunk */
    size_t used, limit;
    bool is_exhausted; /* something was refused */
};

/* `size` bytes of anything, aligned for all that is no vector. Not NULL for 0 bytes. */
void *pool_take(struct pool *pool, size_t size);
/* The same for an array, set to 0. */
void *pool_take_array(struct pool *pool, size_t count, size_t size);
/* A copy of `size` bytes with a 0 behind them. */
char *pool_copy_text(struct pool *pool, const char *text, size_t size);

/* Gives all of it back. The pool is as at the start, with the same limit. */
void pool_free(struct pool *pool);

#endif
