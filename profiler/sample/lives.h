/* lives.h: how long blocks live, and where they are freed.
 *
 * Not of all sampled blocks: about one is followed for each 128 KiB that are allocated, or for each
 * interval, if that is longer. So what following takes (a walk of the stack at the free) is bounded
 * however short the interval is. A block that was sampled at an interval T is followed with the
 * probability that makes those that are a sampling at L = max(T, 128 KiB): their weights are those
 * of L.
 *
 * A followed block has a birth (live.h): when and by which thread. At its end it is counted in a
 * record of its site: by its age, whether the same thread frees it, and where. The stack of the
 * free and that of the allocation are the same from the root down to some frame; there the one goes
 * on to malloc and the other to free. If both calls are in one function, that function holds the
 * block as long as it lives. 48 bytes a record; at most HT_LIVES_PLACES a site, and then one more
 * for each age, of unknown place. */
#ifndef HT_SAMPLE_LIVES_H
#define HT_SAMPLE_LIVES_H

#include "sample/live.h"

#define HT_LIVES_INTERVAL (UINT64_C(128) << 10)
#define HT_LIVES_PLACES   16u

/* Ages: below 10 us, 100 us ... 1,000 s, and more. */
#define HT_LIVES_AGES 10u
extern const char *const ht_lives_age_names[HT_LIVES_AGES];

/* Of a block sampled with this interval and weight: is it followed? Context: sample. */
bool ht_lives_follows(size_t size, ht_interval_id interval, uint64_t weight_objects,
                      uint64_t *random);
/* The same at an interval of 1: `left` is the thread's distance to the next one. */
uint64_t ht_lives_gap(uint64_t *random);
static inline bool ht_lives_follows_exact(uint64_t *left, size_t size)
{
    if (HT_UNLIKELY(*left < size))
        return true; /* and the caller draws the next gap */
    *left -= size;
    return false;
}

/* What a followed block remembers: now, and this thread; never 0. */
uint64_t ht_lives_birth(void);

/* Counts the end of a followed block. Walks the calling stack, at most `depth_max` frames of it, but
 * while sampling is off it makes no system call, and does not.
 * Context: sample, not in a handler that interrupted the profiler. */
void ht_lives_end(const struct ht_live_block *block, unsigned depth_max);

/* What a followed block stands for. */
struct ht_weight ht_lives_weight(size_t size, ht_interval_id interval);
/* Its age in ns, and which of the names that is. */
int64_t ht_lives_age(uint64_t birth);
unsigned ht_lives_age_of(int64_t nanos);

#define HT_LIVES_NO_FRAME UINT32_C(255)

/* Ended blocks of one site. `frame` counts from the leaf of the allocation's stack: there the free
 * came from `pc` instead; HT_LIVES_NO_FRAME: not known. */
struct ht_lives_view {
    unsigned age;
    bool same_thread;
    uint32_t frame;
    uintptr_t pc;
    double objects, bytes, objects_variance, bytes_variance;
};

typedef int ht_lives_visit(void *context, const struct ht_lives_view *view);

/* Shows the records of a site; a result other than 0 ends it and is returned. Context: dump. */
int ht_lives_each(ht_site site, ht_lives_visit *visit, void *context);

/* Adds `by` to every place in [low, high): that code is gone, as in tree.h. Context: with the learn
 * lock. */
void ht_lives_move(uintptr_t low, uintptr_t high, uintptr_t by);

/* An end that is not counted: in a handler that interrupted the profiler. Context: any. */
void ht_lives_lose(void);
/* How many were not; for want of memory, too, or because the free was left for later or never
 * seen. */
uint64_t ht_lives_lost(void);

#endif
