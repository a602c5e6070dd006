/* lock.h: a futex lock of 4 bytes that works in every hook: no allocation, no cancellation point, no errno.
 *
 * Locks are taken upwards in rank and never held while the program's code, the loader or the real allocator
 * is called. fork.c takes all of them in this order around a fork. */
#ifndef HT_SYS_LOCK_H
#define HT_SYS_LOCK_H

#include "sys/compiler.h"

enum ht_rank {
    HT_RANK_DUMP,   /* control/dump.c: one profile is written at a time */
    HT_RANK_LEARN,  /* sample/unwind_learn.c: libunwind and the rule table's writer */
    HT_RANK_STACKS, /* sample/stacks.c: inserting a stack or site */
    HT_RANK_LIVE,   /* sample/live.c: one stripe */
    HT_RANK_ARENA,  /* sys/arena.c */
};

/* 0 free, 1 held, 2 held and somebody waits. */
struct ht_lock {
    uint32_t word;
};

void ht_lock_take(struct ht_lock *lock);
bool ht_lock_try(struct ht_lock *lock);
void ht_lock_release(struct ht_lock *lock);
/* In the child of a fork: nobody holds it. */
void ht_lock_reset(struct ht_lock *lock);

#endif
