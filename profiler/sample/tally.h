/* tally.h: what one thread has counted and not given to the sites yet.
 *
 * When every allocation is recorded, adding to shared counters is what costs most: two threads on
 * one stack, 343 ns a pair instead of 37. So at an interval of 1 each thread counts in 256 entries
 * of its own, with plain stores, and gives an entry to its site when another site needs the place.
 * A reader (stacks.c) adds both up; nothing is moved for it, so it disturbs nobody.
 *
 * An entry that is being given has an odd version, and another one afterwards: a reader that saw it
 * before or amid begins again. A site has one entry in each tally, so it looks at no other. */
#ifndef HT_SAMPLE_TALLY_H
#define HT_SAMPLE_TALLY_H

#include "sample/stacks.h"
#include "sys/lock.h"

#define HT_TALLY_ENTRIES 256u

struct ht_tally_entry {
    uint32_t version;
    ht_site site;
    uint32_t allocs, frees;
    uint64_t alloc_bytes, free_bytes;
};

/* Written by its thread alone. `lock`, rank HT_RANK_TALLY, is held while an entry is given, so that
 * no fork comes in between. */
struct ht_tally {
    struct ht_tally *older;
    struct ht_lock lock;
    uint64_t samples;
    struct ht_tally_entry entries[HT_TALLY_ENTRIES];
};

/* Readers see it from now on, for ever. `tally` is zeroed. The caller holds HT_RANK_EXACT. */
void ht_tally_publish(struct ht_tally *tally);

/* Gives what the entry has to its site, and the entry to another. False when a fork is stuck. */
HT_COLD bool ht_tally_give(struct ht_tally *tally, ht_site site);

static inline bool ht_tally_has(struct ht_tally *tally, const struct ht_tally_entry *entry,
                                ht_site site, uint32_t count)
{
    return HT_LIKELY(entry->site == site && count != UINT32_MAX) || ht_tally_give(tally, site);
}

/* One block more, or one less, of an interval of 1. Context: sample, in the tally's own thread, and
 * not in a handler that interrupted it. */
static inline void ht_tally_alloc(struct ht_tally *tally, ht_site site, size_t size)
{
    struct ht_tally_entry *entry = &tally->entries[site % HT_TALLY_ENTRIES];
    __atomic_store_n(&tally->samples, tally->samples + 1, __ATOMIC_RELAXED);
    if (HT_UNLIKELY(!ht_tally_has(tally, entry, site, entry->allocs))) {
        ht_stacks_count_alloc(site, ht_sampler_weight(size, HT_INTERVAL_EXACT));
        return;
    }
    __atomic_store_n(&entry->alloc_bytes, entry->alloc_bytes + size, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->allocs, entry->allocs + 1, __ATOMIC_RELAXED);
}

static inline void ht_tally_free(struct ht_tally *tally, ht_site site, size_t size)
{
    struct ht_tally_entry *entry = &tally->entries[site % HT_TALLY_ENTRIES];
    if (HT_UNLIKELY(!ht_tally_has(tally, entry, site, entry->frees))) {
        ht_stacks_count_free(site, ht_sampler_weight(size, HT_INTERVAL_EXACT));
        return;
    }
    /* Not before the allocation, which this thread or another has counted. */
    __atomic_store_n(&entry->free_bytes, entry->free_bytes + size, __ATOMIC_RELEASE);
    __atomic_store_n(&entry->frees, entry->frees + 1, __ATOMIC_RELEASE);
}

/* What all tallies together have. */
uint64_t ht_tally_samples(void);

/* To read one site's: begin, add frees, then what the site itself has, then allocations, then ask
 * whether nothing was given meanwhile, and no tally is new; otherwise all again. It may wait for a
 * moment, but not for ever: if a thread stands still amid giving, what it gives may be wrong in
 * this reading. */
struct ht_tally_reading {
    ht_site site;
    unsigned tries;
    uint64_t versions;
    const struct ht_tally *newest;
};

struct ht_tally_reading ht_tally_begin(ht_site site);
void ht_tally_add_frees(struct ht_tally_reading *reading, struct ht_counts *counts);
void ht_tally_add_allocs(const struct ht_tally_reading *reading, struct ht_counts *counts);
bool ht_tally_is_right(struct ht_tally_reading *reading);

/* Around a fork, in rank order (control/fork.c). */
void ht_tally_fork_prepare(void);
void ht_tally_fork_parent(void);
void ht_tally_fork_child(void);

#endif
