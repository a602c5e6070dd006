/* intern.h: the site of a stack that is given leaf first, as walks write it. */
#ifndef HT_UNIT_INTERN_H
#define HT_UNIT_INTERN_H

#include "sample/stacks.h"

#define INTERN_DEPTH 64

static inline ht_site intern(const uintptr_t *pcs, unsigned depth, size_t size)
{
    struct ht_path_frame frames[INTERN_DEPTH];
    struct ht_path path = {.depth = depth, .frames = frames};
    uint64_t hash = 0;
    for (unsigned i = 0; i < depth; i++) {
        frames[i].after = pcs[depth - 1 - i] + 1;
        frames[i].hash = hash = ht_path_hash(hash, frames[i].after);
    }
    return ht_tree_intern(&path) ? ht_stacks_site(frames[depth - 1].node, size) : HT_SITE_OVERFLOW;
}

#endif
