/* stacks.h: what every stack allocated.
 *
 * A stack is a leaf of the call tree (tree.h); it has one site for each power-of-two size of its
 * blocks, and sites hold the counters. Nothing is ever forgotten: alloc_* counters only grow, as
 * continuous profilers demand. Finding a site takes no lock; adding one does (rank HT_RANK_STACKS).
 * A site costs 48 bytes, and 32 more (variances.h) once one of its blocks is an estimate. When no
 * memory is left, samples go to the one site HT_SITE_OVERFLOW. */
#ifndef HT_SAMPLE_STACKS_H
#define HT_SAMPLE_STACKS_H

#include "sample/sampler.h"
#include "sample/tree.h"
#include "sample/variances.h"

#define HT_SITE_OVERFLOW ((ht_site)0)

/* The bit length of the size, below 64, or 64 plus its high half for blocks of 4 GiB and more. */
static inline uint32_t ht_stacks_size_class(size_t size)
{
    uint64_t high = (uint64_t)size >> 32;
    if (HT_UNLIKELY(high != 0))
        return (uint32_t)ht_min(64 + high, UINT32_MAX);
    return size == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(size);
}

/* The site of this stack and block size, added if it is new. Context: sample. */
ht_site ht_stacks_site(ht_node leaf, size_t size);

/* The stack of a site; HT_NODE_ROOT for the overflow's. */
ht_node ht_stacks_leaf(ht_site site);
/* The first record of lives.h, 0: none; atomic, and that file's business. */
uint32_t *ht_stacks_lives(ht_site site);
/* Sites have numbers below this. */
uint32_t ht_stacks_site_count(void);

/* Blocks of 4 GiB and more have sites of their own by the high half of their size, so that a live
 * block needs to remember 32 bits of it only. */
uint32_t ht_stacks_size_high(ht_site site);

void ht_stacks_count_alloc(ht_site site, struct ht_weight weight);
void ht_stacks_count_free(ht_site site, struct ht_weight weight);

/* What a site has counted, in the units of sampler.h. */
struct ht_counts {
    uint64_t alloc_objects, alloc_bytes, free_objects, free_bytes;
};

/* Adds all four. */
void ht_stacks_count(ht_site site, const struct ht_counts *counts);

/* A stack and one of its sites, as counted so far, that of the threads' tallies (tally.h) included.
 * In use is never negative: what went is read before what came. */
struct ht_site_view {
    ht_site site;
    const uintptr_t *pcs;
    unsigned depth;
    struct ht_counts counts;
    struct ht_variances variances;
};

typedef int ht_stacks_visit(void *context, const struct ht_site_view *site);

/* Shows every site; a result other than 0 ends the walk and is returned. Takes no lock, so samples
 * go on meanwhile; a stack added during the walk may be missed. Context: any thread, one walk at a
 * time. */
int ht_stacks_each(ht_stacks_visit *visit, void *context);

/* Distinct stacks. */
uint64_t ht_stacks_total(void);

/* Around a fork, in rank order (control/fork.c). */
void ht_stacks_fork_prepare(void);
void ht_stacks_fork_parent(void);
void ht_stacks_fork_child(void);

#endif
