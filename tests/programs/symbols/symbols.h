/* symbols.h: what the C and C++ programs beside it share. */
#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <stdlib.h>

/* Keeps a call from being the last thing of its function: that would be a jump, and leave no frame. */
static inline void *touch(void *block)
{
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

__attribute__((always_inline)) static inline void *in_header(size_t size)
{
    void *block = malloc(size); /* @1021.0 in_header inlined */
    return touch(block);
}

#endif
