/* exact.h: what a thread keeps when every allocation is recorded (an interval of 1): its last walk
 * (memo.h) and its counters (tally.h).
 *
 * About 20 KiB at a depth of 128, of which a thread that does little touches 8; made at the
 * thread's first such allocation. A thread that ends leaves it as it is, what it counted included:
 * a new thread at the same address takes it over, and so does any other once a dump has seen that
 * the first is no more. */
#ifndef HT_SAMPLE_EXACT_H
#define HT_SAMPLE_EXACT_H

#include "sample/memo.h"
#include "sample/tally.h"

/* The sites of some stacks and sizes: to find one by its stack, a list is gone through. */
#define HT_EXACT_SITES 128u

struct ht_exact_site {
    ht_node leaf; /* HT_NODE_ROOT: none */
    uint32_t size_class;
    ht_site site;
};

struct ht_exact {
    struct ht_exact *older;
    uintptr_t owner;  /* address of its ht_thread; 0: free */
    int32_t pid, tid; /* in which process that is which thread */
    struct ht_memo *memo;
    uint64_t gap,
        unfollowed; /* bytes between two blocks whose lives are followed, and left of them */
    struct ht_tally tally;
    struct ht_exact_site sites[HT_EXACT_SITES];
};

/* The calling thread's, or NULL: there is no memory for one, a quarter of the limit is taken by
 * others', or a fork is stuck. Context: sample, not in a handler that interrupted the profiler. */
struct ht_exact *ht_exact_take(unsigned depth_max);

/* As ht_stacks_site(). Context: sample, in the thread that has taken it. */
static inline ht_site ht_exact_site(struct ht_exact *exact, ht_node leaf, size_t size)
{
    uint32_t size_class = ht_stacks_size_class(size);
    struct ht_exact_site *known = &exact->sites[(leaf * 8 + size_class) % HT_EXACT_SITES];
    if (HT_UNLIKELY(known->leaf != leaf || known->size_class != size_class)) {
        ht_site site = ht_stacks_site(leaf, size);
        if (site == HT_SITE_OVERFLOW) /* memory may come back */
            return site;
        *known = (struct ht_exact_site){leaf, size_class, site};
    }
    return known->site;
}

/* Frees those of threads that are no more, as far as this process can tell: what a child of vfork
 * took is its parent's as well, and a child of a bare fork does not see its own. Context: dump. */
void ht_exact_settle(void);

/* Around a fork, in rank order (control/fork.c). The child's only thread keeps its own. */
void ht_exact_fork_prepare(void);
void ht_exact_fork_parent(void);
void ht_exact_fork_child(void);

#endif
