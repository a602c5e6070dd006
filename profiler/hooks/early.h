/* early.h: memory for calls that come while we look for the real allocator.
 *
 * dlsym() may itself allocate. Such calls are served from pages of their own, for ever: the page
 * shadow of those pages is full, so that a later free or realloc of such a block takes the slow
 * path and finds it here. */
#ifndef HT_HOOKS_EARLY_H
#define HT_HOOKS_EARLY_H

#include "sys/compiler.h"

/* Zeroed; NULL when the kernel has no memory. `alignment` is a power of two. */
void *ht_early_alloc(size_t size, size_t alignment);
bool ht_early_finds(const void *block);
/* Where all of them lie, and perhaps others. */
extern HT_HIDDEN uintptr_t ht_early_low, ht_early_high;

static inline bool ht_early_owns(const void *block)
{
    uintptr_t low = __atomic_load_n(&ht_early_low, __ATOMIC_RELAXED);
    uintptr_t high = __atomic_load_n(&ht_early_high, __ATOMIC_RELAXED);
    return HT_UNLIKELY((uintptr_t)block >= low && (uintptr_t)block < high) && ht_early_finds(block);
}
/* What was asked for. */
size_t ht_early_size(const void *block);

#endif
