/* live.h: the sampled blocks that have not been freed yet.
 *
 * At one sample per 512 KiB a 10 GiB heap has about 20,000 entries, while the program frees
 * millions of blocks we never sampled. So a free first takes the test in hot.h, which may say
 * "maybe" of a stranger but never "no" of one of ours; this table has the truth, and keeps that
 * test's page shadow. At an interval of 1 most blocks are in shadow.h instead.
 *
 * 64 stripes, each with a lock of its own (rank HT_RANK_LIVE); 24 bytes an entry, 32 to 48 with the
 * room that probing needs. */
#ifndef HT_SAMPLE_LIVE_H
#define HT_SAMPLE_LIVE_H

#include "sample/sampler.h"
#include "sample/stacks.h"

/* A sampled block: what the program asked for, the stack and size that asked, and the interval it
 * was sampled with. Together they give its weight. */
struct ht_live_block {
    size_t size;
    ht_site site;
    ht_interval_id interval;
    uint64_t birth; /* when and by which thread, if its life is followed (lives.h); 0: it is not */
};

/* Remembers a sampled block. An older block at that address was freed behind our back; it is
 * counted as freed now. False when no memory is left, for the table or for the site of a block of
 * 4 GiB and more, or a fork keeps the table: the caller counts the drop. Context: sample, never in
 * a signal handler that interrupted the profiler. */
bool ht_live_insert(uintptr_t address, const struct ht_live_block *block);

/* Takes over a block from the shadow, whose entry still is `value`, and gives the entry back. False,
 * and nothing has changed, when the block is gone meanwhile, or there is no memory. Context: as
 * ht_live_insert(). */
bool ht_live_adopt(uintptr_t address, const struct ht_live_block *block, uint64_t *entry,
                   uint64_t value);

enum ht_live_result {
    HT_LIVE_UNKNOWN, /* the address was never sampled */
    HT_LIVE_REMOVED, /* ret_block says what it was; the caller counts it as freed */
    HT_LIVE_DEFERRED, /* a signal handler interrupted the table, or a fork keeps it; it is removed and counted by
                         whoever comes next */
    /* The same, but too many are left so: if it was sampled, it stays in use until its address is
     * sampled again. The caller counts the drop. */
    HT_LIVE_MISSED,
};

/* Forgets a block. Call it before the block is given back: afterwards another thread may own the
 * address. `nested`: in a signal handler that interrupted the profiler in this thread, which may
 * hold the very lock. */
enum ht_live_result ht_live_remove(uintptr_t address, bool nested, struct ht_live_block *ret_block);

/* Whether the block is surely not here: reads a few words and takes no lock. Context: any. */
bool ht_live_is_absent(uintptr_t address);

/* Removes what was deferred, where no lock is in the way. Context: any. */
void ht_live_settle(void);

uint64_t ht_live_count(void);

/* Shows the blocks whose lives are followed. Takes no lock: one that is moved in the table meanwhile
 * may be missed. Context: dump. */
void ht_live_each_followed(void (*visit)(void *context, const struct ht_live_block *block),
                           void *context);
/* Blocks whose free we never saw (ht_live_insert() found their address taken). */
uint64_t ht_live_missed_frees(void);
/* Followed blocks among those, and among the deferred. */
uint64_t ht_live_ends_unseen(void);

/* Around a fork, in rank order (control/fork.c). */
void ht_live_fork_prepare(void);
void ht_live_fork_parent(void);
/* `whole`: the table was locked, and what was deferred can be settled. */
void ht_live_fork_child(bool whole);

#endif
