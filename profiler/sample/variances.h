/* variances.h: how uncertain the sums of each site are.
 *
 * Each sampled block adds its own variance (sampler.h) to that of the sums that it is in, so these
 * are sums like the others. They are kept apart because at an interval of 1 there are none: a site
 * gets its 32 bytes, with those of its neighbours, when the first of them is sampled. */
#ifndef HT_SAMPLE_VARIANCES_H
#define HT_SAMPLE_VARIANCES_H

#include "sample/sampler.h"

/* A site of stacks.h: a number below HT_SITES_MAX. */
typedef uint32_t ht_site;

#define HT_SITES_MAX (UINT32_C(1) << 22)

/* Of the objects and bytes of a site, in objects and bytes squared. */
struct ht_variances {
    double alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
};

/* Context: sample. */
void ht_variances_add_alloc(ht_site site, const struct ht_weight *weight);
void ht_variances_add_free(ht_site site, const struct ht_weight *weight);

/* What is in use alone: of blocks that are sampled later (thin.h). */
void ht_variances_add_inuse(ht_site site, const struct ht_weight *weight);

/* As counted so far; what other threads add meanwhile may be in some of the four. After as many
 * frees as allocations those in use are 0 but for rounding, 1e-16 of the most that they were.
 * Context: any. */
struct ht_variances ht_variances_of(ht_site site);

/* An atomic double, kept as its bits: adds to it; reads it, at least 0. Context: any. */
void ht_variances_add(uint64_t *sum, double value);
double ht_variances_read(const uint64_t *sum);

/* Blocks whose variance found no memory: the errors that a profile shows are too small. */
uint64_t ht_variances_lost(void);

#endif
