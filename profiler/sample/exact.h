/* exact.h: what a thread keeps when every allocation is recorded (an interval of 1): its last walk
 * (memo.h) and its counters (tally.h).
 *
 * About 17 KiB at a depth of 128, made at the thread's first such allocation. A thread that ends
 * leaves it as it is, what it counted included: a new thread at the same address takes it over, and
 * so does any other once a dump has seen that the first is no more. */
#ifndef HT_SAMPLE_EXACT_H
#define HT_SAMPLE_EXACT_H

#include "sample/memo.h"
#include "sample/tally.h"

struct ht_exact {
    struct ht_exact *older;
    uintptr_t owner; /* address of its ht_thread; 0: free */
    int32_t tid;
    struct ht_memo *memo;
    struct ht_tally tally;
};

/* The calling thread's, or NULL: there is no memory for one, a quarter of the limit is taken by
 * others', or a fork is stuck. Context: sample, not in a handler that interrupted the profiler. */
struct ht_exact *ht_exact_take(unsigned depth_max);

/* Frees those of threads that are no more. Context: dump. */
void ht_exact_settle(void);

/* Around a fork, in rank order (control/fork.c). The child's only thread keeps its own. */
void ht_exact_fork_prepare(void);
void ht_exact_fork_parent(void);
void ht_exact_fork_child(void);

#endif
