/* lock.h: a futex lock of 4 bytes that works in every hook: no allocation, no cancellation point,
 * no errno.
 *
 * Locks are taken upwards in rank and never held while the program's code, the loader or the real
 * allocator is called. fork.c takes all of them in this order around a fork, and there the rule
 * breaks: while it holds them, fork runs handlers of libraries and takes locks of the C library
 * (stdio, the name services), and a thread that has such a lock may be waiting here, in malloc. So
 * nobody waits for a fork for ever. */
#ifndef HT_SYS_LOCK_H
#define HT_SYS_LOCK_H

#include "sys/compiler.h"

enum ht_rank {
    HT_RANK_DUMP,    /* control/dump.c: one profile is written at a time */
    HT_RANK_LOADED,  /* report/loaded.c: asking the loader for its modules */
    HT_RANK_LEARN,   /* sample/unwind_learn.c: libunwind and the rule table's writer */
    HT_RANK_EXACT,   /* sample/exact.c: a thread's own tables */
    HT_RANK_TALLY,   /* sample/tally.c: one thread's counters, while they are given to the sites */
    HT_RANK_TREE,    /* sample/tree.c: adding nodes */
    HT_RANK_STACKS,  /* sample/stacks.c: adding a site */
    HT_RANK_LIVE,    /* sample/live.c: one stripe */
    HT_RANK_LEXICON, /* report/lexicon.c: names that are being added */
    HT_RANK_ARENA,   /* sys/arena.c */
};

/* 0 free, 1 held, 2 held and somebody waits. */
struct ht_lock {
    uint32_t word;
};

/* False when a fork has it and has not come to its end for HT_LOCK_PATIENCE_NANOS: do without. Once
 * one has waited so long, others do not wait at all until that fork is over. */
#define HT_LOCK_PATIENCE_NANOS INT64_C(200000000)
bool ht_lock_take(struct ht_lock *lock);
/* For locks that no fork holds, and for the fork itself. */
void ht_lock_take_always(struct ht_lock *lock);
/* False when it could not be had in that time. */
bool ht_lock_take_within(struct ht_lock *lock, int64_t nanos);
bool ht_lock_try(struct ht_lock *lock);
void ht_lock_release(struct ht_lock *lock);
/* In the child of a fork: nobody holds it. */
void ht_lock_reset(struct ht_lock *lock);

/* Between these a fork holds locks; one at a time. */
void ht_lock_fork_begin(void);
void ht_lock_fork_end(void);

#endif
