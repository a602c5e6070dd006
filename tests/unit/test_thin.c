#include "sample/thin.h"

#include <math.h>
#include <pthread.h>

#include "intern.h"
#include "sample/live.h"
#include "sample/shadow.h"
#include "sys/arena.h"
#include "test.h"

#define PAGE_OF(i) (UINT64_C(0x500000000000) + (uintptr_t)(i)*4096)
#define PAGES      20000

struct sums {
    double objects, bytes, objects_variance, bytes_variance, alloc_objects;
};

static int add_up(void *context, const struct ht_site_view *site)
{
    struct sums *sums = context;
    const struct ht_counts *counts = &site->counts;
    sums->alloc_objects += (double)counts->alloc_objects / (1 << HT_OBJECTS_SHIFT);
    sums->objects +=
        (double)(int64_t)(counts->alloc_objects - counts->free_objects) / (1 << HT_OBJECTS_SHIFT);
    sums->bytes +=
        (double)(int64_t)(counts->alloc_bytes - counts->free_bytes) / (1 << HT_BYTES_SHIFT);
    sums->objects_variance += site->variances.inuse_objects;
    sums->bytes_variance += site->variances.inuse_bytes;
    return 0;
}

static struct sums all(void)
{
    struct sums sums = {0};
    ht_stacks_each(add_up, &sums);
    return sums;
}

static ht_site a_site(size_t size)
{
    uintptr_t pcs[] = {0x1234, 0x5678};
    return intern(pcs, 2, size);
}

static void record_exactly(uintptr_t address, size_t size)
{
    ht_site site = a_site(size);
    ht_stacks_count_alloc(site, ht_sampler_weight(size, HT_INTERVAL_EXACT));
    CHECK(ht_shadow_insert(address, size, site));
}

/* As ht_record_free() does. */
static bool release(uintptr_t address)
{
    struct ht_live_block was;
    if (ht_live_remove(address, false, &was) != HT_LIVE_REMOVED)
        return false;
    ht_stacks_count_free(was.site, ht_sampler_weight(was.size, was.interval));
    return true;
}

/* 20,000 pages with a block of 100 and one of 3,000 bytes: what is in use is right on average, and
 * its error is known: 4 standard errors. What was allocated stays what it was, the pages are free
 * of exact blocks, and when all is freed, nothing is in use. */
TEST(thinning_keeps_what_is_in_use)
{
    uint64_t random = 42;
    ht_arena_set_limit((size_t)1 << 30);
    ht_shadow_is_thinned = true;
    CHECK_EQ(ht_sampler_set_interval(16384), 0);
    for (uintptr_t i = 0; i < PAGES; i++) {
        record_exactly(PAGE_OF(i) + 40, 100);
        record_exactly(PAGE_OF(i) + 512, 3000);
    }
    for (uintptr_t i = 0; i < PAGES; i++) {
        ht_thin_page(PAGE_OF(i) + 77, ht_sampler_current(), &random);
        ht_shadow_clear_page(PAGE_OF(i));
        CHECK((*ht_hot_page((void *)PAGE_OF(i)) & HT_PAGE_EXACT) == 0);
    }
    struct sums sums = all();
    CHECK(sums.alloc_objects == 2 * PAGES);
    CHECK(sums.objects_variance > 0 && sums.bytes_variance > 0);
    CHECK(fabs(sums.objects - 2 * PAGES) <= 4 * sqrt(sums.objects_variance));
    CHECK(fabs(sums.bytes - 3100.0 * PAGES) <= 4 * sqrt(sums.bytes_variance));
    double p = 1 - exp(-100.0 / 16384), q = 1 - exp(-3000.0 / 16384);
    double kept = PAGES * (p + q);
    CHECK(fabs((double)ht_live_count() - kept) <= 4 * sqrt(kept));
    for (uintptr_t i = 0; i < PAGES; i++) {
        release(PAGE_OF(i) + 40);
        release(PAGE_OF(i) + 512);
        CHECK(*ht_hot_page((void *)PAGE_OF(i)) == 0);
    }
    sums = all();
    CHECK(sums.objects == 0 && sums.bytes == 0);
    CHECK(ht_live_count() == 0 && ht_live_missed_frees() == 0);
}

/* Another thread frees what is being thinned: each block is in use once or not at all, and freed
 * once. */
static void *thin_all(void *unused)
{
    uint64_t random = 7;
    for (uintptr_t i = 0; i < PAGES; i++)
        ht_thin_page(PAGE_OF(i), ht_sampler_current(), &random);
    return unused;
}

TEST(thinning_while_others_free)
{
    pthread_t thread;
    for (int round = 0; round < 5; round++) {
        CHECK_EQ(ht_sampler_set_interval(256), 0); /* most are kept */
        for (uintptr_t i = 0; i < PAGES; i++) {
            record_exactly(PAGE_OF(i) + 32, 200);
            record_exactly(PAGE_OF(i) + 2048, 1000);
        }
        CHECK_EQ(pthread_create(&thread, NULL, thin_all, NULL), 0);
        for (uintptr_t i = 0; i < PAGES; i++)
            release(PAGE_OF(i) + (round % 2 == 0 ? 32 : 2048));
        pthread_join(thread, NULL);
        for (uintptr_t i = 0; i < PAGES; i++)
            release(PAGE_OF(i) + (round % 2 == 0 ? 2048 : 32));
        struct sums sums = all();
        CHECK(sums.objects == 0 && sums.bytes == 0);
        CHECK(ht_live_count() == 0 && ht_live_missed_frees() == 0);
    }
}

TEST(no_memory_to_keep_a_block)
{
    uint64_t random = 1;
    CHECK_EQ(ht_sampler_set_interval(256), 0);
    record_exactly(PAGE_OF(PAGES + 1), 4000);
    ht_arena_fail_from(1);
    ht_thin_page(PAGE_OF(PAGES + 1), ht_sampler_current(), &random);
    ht_arena_fail_from(0);
    CHECK_EQ(ht_live_count(), 1);
    CHECK(release(PAGE_OF(PAGES + 1)));
    struct sums sums = all();
    CHECK(sums.objects == 0 && sums.bytes == 0);
}
