/* stacks.h: every distinct stack that was ever sampled, and what it allocated.
 *
 * A stack has one site for each power-of-two size of its blocks; sites hold the counters. Nothing
 * is ever forgotten: alloc_* counters only grow, as continuous profilers demand. Finding a stack
 * takes no lock; adding one does (rank HT_RANK_STACKS). A stack costs 16 + 8 * depth bytes, a site
 * 40, and 11 to 22 in the index. When no memory is left, samples go to the one site
 * HT_SITE_OVERFLOW. */
#ifndef HT_SAMPLE_STACKS_H
#define HT_SAMPLE_STACKS_H

#include "sample/sampler.h"

typedef uint32_t ht_site;

#define HT_SITE_OVERFLOW ((ht_site)0)

/* The site of this stack and block size, added if it is new. `pcs` is copied. Context: sample. */
ht_site ht_stacks_intern(const uintptr_t *pcs, unsigned depth, size_t size);

/* Blocks of 4 GiB and more have sites of their own by the high half of their size, so that a live
 * block needs to remember 32 bits of it only. */
uint32_t ht_stacks_size_high(ht_site site);

void ht_stacks_count_alloc(ht_site site, struct ht_weight weight);
void ht_stacks_count_free(ht_site site, struct ht_weight weight);

/* A stack and one of its sites, as counted so far, in the units of sampler.h. In use is never
 * negative: what went is read before what came. */
struct ht_site_view {
    const uintptr_t *pcs;
    unsigned depth;
    uint64_t alloc_objects, alloc_bytes, free_objects, free_bytes;
};

typedef int ht_stacks_visit(void *context, const struct ht_site_view *site);

/* Shows every site; a result other than 0 ends the walk and is returned. Takes no lock, so samples
 * go on meanwhile; a stack added during the walk may be missed. Context: any thread, one walk at a
 * time. */
int ht_stacks_each(ht_stacks_visit *visit, void *context);

/* Adds `by` to every address in [low, high) of every stack: that code is gone, and what is sampled
 * there from now on belongs to other stacks. Takes the lock; a walk that goes on meanwhile may see
 * either. */
void ht_stacks_move(uintptr_t low, uintptr_t high, uintptr_t by);

/* Distinct stacks. */
uint64_t ht_stacks_count(void);

/* Around a fork, in rank order (control/fork.c). */
void ht_stacks_fork_prepare(void);
void ht_stacks_fork_parent(void);
void ht_stacks_fork_child(void);

#endif
