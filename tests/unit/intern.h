/* intern.h: the site of a stack that is given leaf first, as walks write it. */
#ifndef HT_UNIT_INTERN_H
#define HT_UNIT_INTERN_H

#include "sample/stacks.h"

#define INTERN_DEPTH 64

static inline ht_site intern(const uintptr_t *pcs, unsigned depth, size_t size)
{
    uintptr_t from_root[INTERN_DEPTH];
    uint64_t hashes[INTERN_DEPTH];
    ht_node nodes[INTERN_DEPTH];
    struct ht_path path = {.depth = depth, .pcs = from_root, .hashes = hashes, .nodes = nodes};
    for (unsigned i = 0; i < depth; i++)
        from_root[i] = pcs[depth - 1 - i];
    return ht_tree_intern(&path) ? ht_stacks_site(nodes[depth - 1], size) : HT_SITE_OVERFLOW;
}

#endif
