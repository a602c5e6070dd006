/* record.h: what happens to an allocation that was sampled, and to a free that may be of a sampled
 * block.
 *
 * A hook that borrowed (hot.h) calls ht_record_begin(), then the real allocator, then
 * ht_record_block() with what it got: nothing of ours is held or parked while the allocator, or a
 * new_handler, runs. A hook whose page shadow is not zero calls ht_record_free() before the real
 * free.
 *
 * None touches errno; none allocates from the program's heap; all may be called in any context that
 * may call malloc, and in signal handlers, even one that interrupted them. */
#ifndef HT_SAMPLE_RECORD_H
#define HT_SAMPLE_RECORD_H

#include "sample/live.h"
#include "sys/arch.h"

/* Frames kept of a stack, 1 to HT_DEPTH_MAX. Context: start. */
void ht_record_set_depth(unsigned depth);

/* Draws the thread's next gap. Returns the id of the interval this allocation is sampled with, or 0
 * when it is not sampled: sampling is off, the thread is new and its first gap reaches further, or
 * a signal handler interrupted the profiler. */
ht_interval_id ht_record_begin(size_t size);

/* A sampled block, before the program gets it. `caller` is the frame that called the hook. */
void ht_record_block(const void *block, size_t size, ht_interval_id interval,
                     const struct ht_frame *caller);

/* Forgets a block before it is given back, and counts it as freed. */
void ht_record_free(const void *block);

/* The same for realloc, which may fail. HT_LIVE_REMOVED: *ret_block is what it was, to be
 * counted as freed by ht_record_freed(), or put back by ht_record_restore() when realloc failed.
 * What is HT_LIVE_DEFERRED will be counted as freed, and cannot be put back: `was` is NULL then. */
enum ht_live_result ht_record_forget(const void *block, struct ht_live_block *ret_block);
void ht_record_freed(const struct ht_live_block *block);
void ht_record_restore(const void *block, const struct ht_live_block *was);

/* The calling thread draws a new gap at its next allocation: it notices a new interval at once.
 * Context: any. */
void ht_record_redraw(void);

/* Between these the calling thread's allocations are not sampled: our own calls into libc. They
 * nest. */
struct ht_record_pause {
    uint64_t bytes_until_sample;
    uint32_t busy;
};
struct ht_record_pause ht_record_pause(void);
void ht_record_resume(struct ht_record_pause pause);

/* Around dlclose: what was learnt of the code that goes is forgotten. */
void ht_record_unload_begin(void);
void ht_record_unload_end(void);

/* The way upward: while this is not 0, the next allocation that takes the slow path calls
 * ht_record_attend() with sampling paused. It is 1 from the start, so that control/start.c can read
 * the settings at the first allocation of all, which may come before any constructor; control sets
 * it again when a thread must be made that no signal handler can make. Without control/ (unit
 * tests) the call does nothing. */
extern HT_HIDDEN uint32_t ht_record_attention;
void ht_record_attend(void);
/* Sets it, and makes the calling thread's next allocation take the slow path, by a new gap.
 * Context: any, signal handlers too. */
void ht_record_ask_attention(void);

/* In the child of a fork, with what the fork paused: the thread draws a new gap at its next
 * allocation, and the buffers of threads that are no more are free again. But if the fork was made
 * in a signal handler that interrupted the profiler, that goes on in the child, with what it
 * has. */
void ht_record_fork_child(struct ht_record_pause pause);

enum ht_drop {
    HT_DROP_LIVE_FULL, /* no memory for the live table, or a fork is stuck while it keeps it (sys/lock.h): counted
                          as allocated and freed at once */
    HT_DROP_OVERFLOW, /* no memory for its stack, or a fork: counted under [heaptap: overflow] */
    HT_DROP_SCRATCH,  /* more threads sampling at once than there are buffers: not counted at all */
    /* In a signal handler that interrupted the profiler, or while a fork is stuck: a free that
     * found no room to be left for later, or a failed realloc whose block could not be put back. */
    HT_DROP_FREE,
    HT_DROPS,
};

struct ht_record_counts {
    uint64_t samples;
    uint64_t drops[HT_DROPS];
};

struct ht_record_counts ht_record_counts(void);

#endif
