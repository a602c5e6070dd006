#include "sample/variances.h"

#include "sys/arena.h"

#include "sys/poison.h"

#define CHUNK_SITES 256u

/* Doubles, as their bits: the squares of weights, which span 2^0 to 2^80, have no common unit. In
 * use, and not freed, is kept: the difference of two sums that only grow would lose its digits. */
struct record {
    uint64_t alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
};

static struct record *chunks[HT_SITES_MAX / CHUNK_SITES];
static uint64_t lost;

/* NULL when there is none yet. */
static struct record *find(ht_site site)
{
    struct record *chunk = __atomic_load_n(&chunks[site / CHUNK_SITES], __ATOMIC_ACQUIRE);
    return HT_LIKELY(chunk != NULL) ? &chunk[site % CHUNK_SITES] : NULL;
}

/* If another thread is faster, a chunk of ours is lost, at most once for each. */
HT_COLD static struct record *make(ht_site site)
{
    struct record *chunk = ht_arena_alloc(CHUNK_SITES * sizeof(*chunk)), *none = NULL;
    if (chunk != NULL)
        __atomic_compare_exchange_n(&chunks[site / CHUNK_SITES], &none, chunk, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return find(site);
}

/* Not by memcpy(): the library is built without builtins, so that would be a call. */
union bits {
    uint64_t bits;
    double value;
};

void ht_variances_add(uint64_t *sum, double value)
{
    union bits was = {__atomic_load_n(sum, __ATOMIC_RELAXED)}, is;
    do
        is.value = was.value + value;
    while (!__atomic_compare_exchange_n(sum, &was.bits, is.bits, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
}

void ht_variances_add_alloc(ht_site site, const struct ht_weight *weight)
{
    struct record *record = find(site);
    if (HT_UNLIKELY(record == NULL) && (record = make(site)) == NULL) {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
        return;
    }
    ht_variances_add(&record->alloc_objects, weight->objects_variance);
    ht_variances_add(&record->alloc_bytes, weight->bytes_variance);
    ht_variances_add(&record->inuse_objects, weight->objects_variance);
    ht_variances_add(&record->inuse_bytes, weight->bytes_variance);
}

void ht_variances_add_inuse(ht_site site, const struct ht_weight *weight)
{
    struct record *record = find(site);
    if (HT_UNLIKELY(record == NULL) && (record = make(site)) == NULL) {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
        return;
    }
    ht_variances_add(&record->inuse_objects, weight->objects_variance);
    ht_variances_add(&record->inuse_bytes, weight->bytes_variance);
}

void ht_variances_add_free(ht_site site, const struct ht_weight *weight)
{
    struct record *record = find(site);
    if (HT_UNLIKELY(record == NULL)) /* its allocation found no memory */
        return;
    ht_variances_add(&record->inuse_objects, -weight->objects_variance);
    ht_variances_add(&record->inuse_bytes, -weight->bytes_variance);
}

double ht_variances_read(const uint64_t *sum)
{
    union bits now = {__atomic_load_n(sum, __ATOMIC_RELAXED)};
    return now.value > 0 ? now.value : 0;
}

struct ht_variances ht_variances_of(ht_site site)
{
    const struct record *record = find(site);
    if (record == NULL)
        return (struct ht_variances){0};
    return (struct ht_variances){
        .alloc_objects = ht_variances_read(&record->alloc_objects),
        .alloc_bytes = ht_variances_read(&record->alloc_bytes),
        .inuse_objects = ht_variances_read(&record->inuse_objects),
        .inuse_bytes = ht_variances_read(&record->inuse_bytes),
    };
}

uint64_t ht_variances_lost(void)
{
    return __atomic_load_n(&lost, __ATOMIC_RELAXED);
}
