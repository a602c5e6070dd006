/* budget.h: what the profiler costs, and the interval that this leaves.
 *
 * The slow paths are timed: a sample in 16 and a free in 64, chosen by a hash of their number, and
 * one in 64 of those that take little because every allocation is recorded. So the estimate costs
 * 1 ns a sample. The hooks' own 11 instructions are not in it, nor is what a profile takes.
 *
 * HEAPTAP_INTERVAL=auto. A process begins at an interval of 1, and everything is exact: the first
 * HT_BUDGET_START_BYTES whatever that costs, and then as long as the time in the slow paths stays
 * below a share of the process's CPU time (HEAPTAP_BUDGET, 1 %), or of a twentieth of the time by
 * the clock, if that is more, as in a process that mostly sleeps. Every 2 or 10 ms of CPU time the
 * interval is set anew, by the rule of pace.h. Threads notice within HT_BUDGET_GAP_MAX of
 * allocation (record.c).
 *
 * Estimates stay unbiased, whatever rule sets the interval and whatever it looks at: each block
 * has the weight of the interval that its gap was drawn with, before it was allocated (README.md). */
#ifndef HT_SAMPLE_BUDGET_H
#define HT_SAMPLE_BUDGET_H

#include "sample/clock.h"
#include "sample/hot.h"

/* As an interval: chosen by the budget. */
#define HT_INTERVAL_AUTO (UINT64_MAX - 1) /* not -1, which is what a mistake gives */

#define HT_BUDGET_START_BYTES (UINT64_C(12) << 20)
/* Where the interval is not fixed, a gap is cut there and drawn again. */
#define HT_BUDGET_GAP_MAX (UINT64_C(64) << 10)

/* The interval from now on, as ht_sampler_set_interval() has it, or HT_INTERVAL_AUTO. The same
 * errors. Context: any. */
int ht_budget_set_interval(uint64_t interval);
/* In parts per million of the CPU time. Context: start. */
void ht_budget_set_share(unsigned share_ppm);
bool ht_budget_is_auto(void);

/* Before memory ends: from seven sixteenths of the tables' memory on, every further 32nd doubles the interval,
 * whether it is fixed or not, and it is never shorter again by itself. Tables then fill ever more
 * slowly, and what is recorded goes on being unbiased. Context: sample. */
void ht_budget_ease(void);
/* How often. */
unsigned ht_budget_eased(void);

/* ---- timing ---- */

#define HT_BUDGET_ONE_IN       16u /* samples */
#define HT_BUDGET_EXACT_ONE_IN 64u /* those at an interval of 1 */
#define HT_BUDGET_FREE_ONE_IN  64u

/* Of the n-th of its kind: by a hash, so that no rhythm of the program's is met. */
static inline uint32_t ht_budget_hash(uint32_t n)
{
    return n * UINT32_C(0x9e3779b9);
}

static inline bool ht_budget_times(uint32_t hash, uint32_t one_in)
{
    return hash < UINT32_MAX / one_in;
}

/* The thread's clock, which stands still while something is timed by itself. */
static inline uint64_t ht_budget_clock(void)
{
    return ht_clock_now() - ht_thread.apart;
}

/* What began at that time has ended, and stands for `weight` of its kind. May set the interval.
 * Context: sample. */
HT_COLD void ht_budget_add(uint64_t began, uint32_t weight);
/* The same of a free, of which it is told whether a longer interval would save it. Most take less
 * than reading the clock does: so of as many nothing is timed but that, with a negative weight, and
 * the difference is right on average. */
HT_COLD void ht_budget_add_free(uint64_t began, int32_t weight, bool can_be_saved);

/* What is rare and long is timed each time, by itself: a frame's rule that is learnt, once in the
 * process's life whatever the interval. `began` is an ht_clock_now(). Context: sample. */
void ht_budget_add_apart(uint64_t began);

/* So much has been recorded at an interval of 1; told now and then. Context: sample. */
HT_COLD void ht_budget_tell(uint64_t bytes);

/* A look at the budget, if it is time. Context: sample. */
void ht_budget_look(void);

/* Time in the slow paths of all threads so far, estimated. Context: any. */
int64_t ht_budget_nanos(void);

/* The child of a fork has spent nothing yet; its interval is its parent's. */
void ht_budget_fork_child(void);

#endif
