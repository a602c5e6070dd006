/* sampler.h: which bytes are sampled, and what a sampled block stands for.
 *
 * Sampled bytes are a Poisson process over requested bytes with a mean distance of `interval`. A
 * block of `size` bytes is sampled when it holds at least one such byte, so with
 *     p = 1 - exp(-size / interval),
 * and it stands for 1/p blocks and size/p bytes (Horvitz and Thompson, 1952). The weights are
 * applied to each block before anything is summed, with the interval its gap was drawn with, so
 * that every sum is unbiased, whatever sizes it mixes and however often the interval changes. */
#ifndef HT_SAMPLE_SAMPLER_H
#define HT_SAMPLE_SAMPLER_H

#include "sys/compiler.h"

#define HT_INTERVAL_DEFAULT (UINT64_C(512) * 1024)
#define HT_INTERVAL_MAX     (UINT64_C(1) << 40)

/* Intervals have ids of one byte, so that a live block can remember its own. 0 is "sampling is
 * off", and an interval of 1 has an id of its own, too. */
typedef uint8_t ht_interval_id;

#define HT_INTERVAL_EXACT ((ht_interval_id)1)

/* The mean distance from now on, in bytes; 1 records every allocation exactly, 0 none. Threads
 * notice at their next sample, and within 16 MiB of allocation where sampling was off. -EINVAL
 * beyond HT_INTERVAL_MAX; -ENOSPC after 254 different values besides 1 in one process. Context:
 * any. */
int ht_sampler_set_interval(uint64_t interval);
/* The same if `from` is still the current one; false otherwise, or without an id for it. */
bool ht_sampler_change(ht_interval_id from, uint64_t interval);
uint64_t ht_sampler_interval(void);
/* The shortest and the longest that were in force, 0 (off) left out; 0 when there was none. */
void ht_sampler_range(uint64_t *ret_shortest, uint64_t *ret_longest);
ht_interval_id ht_sampler_current(void);
uint64_t ht_sampler_interval_of(ht_interval_id id);

/* Draws the distance to the next sampled byte: floor(-ln(U) * interval) with 53 random bits; 0 for
 * an interval of 1; 16 MiB where sampling is off. `random` is the thread's generator, never 0.
 * Context: any. */
uint64_t ht_sampler_draw(ht_interval_id id, uint64_t *random);
/* The same for any interval above 1; a number in (0, 1]. */
uint64_t ht_sampler_gap(uint64_t interval, uint64_t *random);
double ht_sampler_uniform(uint64_t *random);
/* A state for a new thread's generator, from the kernel; or, after ht_sampler_set_seed() with
 * another value than 0, from that and the number of states given before: runs in which threads make
 * their first allocation in the same order then draw the same gaps. */
uint64_t ht_sampler_seed(void);
void ht_sampler_set_seed(uint64_t seed);
/* The child of a fork draws other gaps than its parent and than other children. */
void ht_sampler_fork_prepare(void);
void ht_sampler_fork_child(void);

/* Fixed point, so that the sums of what came and what went are equal to the last bit when all is
 * freed. The same size and interval give the same weight, always. Sums wrap after 2^52 objects and
 * 2^56 bytes in one stack. */
#define HT_OBJECTS_SHIFT 12
#define HT_BYTES_SHIFT   8

/* The variances say how much the sampled block adds to the estimated variance of sums that it is
 * in: s^2 (1 - p) / p^2 of its bytes, and the same with 1 for s of its objects (README.md). 0 where
 * p is 1. */
struct ht_weight {
    uint64_t objects, bytes;
    double objects_variance, bytes_variance;
};

struct ht_weight ht_sampler_weight(size_t size, ht_interval_id id);
struct ht_weight ht_sampler_weight_at(size_t size, uint64_t interval);

/* 1 - exp(-x) and ln(x) for x > 0, each to 1e-15 relative. The preload must not depend on libm. */
double ht_sampler_hit_probability(double x);
double ht_sampler_log(double x);

#endif
