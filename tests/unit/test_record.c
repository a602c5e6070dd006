#include "test.h"

#include <math.h>

#include "hook.h"
#include "sample/budget.h"
#include "sys/arena.h"

struct sums {
    double alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
};

static int add_up(void *context, const struct ht_site_view *site)
{
    struct sums *sums = context;
    sums->alloc_objects += (double)site->counts.alloc_objects / (1 << HT_OBJECTS_SHIFT);
    sums->alloc_bytes += (double)site->counts.alloc_bytes / (1 << HT_BYTES_SHIFT);
    sums->inuse_objects +=
        (double)(site->counts.alloc_objects - site->counts.free_objects) / (1 << HT_OBJECTS_SHIFT);
    sums->inuse_bytes +=
        (double)(site->counts.alloc_bytes - site->counts.free_bytes) / (1 << HT_BYTES_SHIFT);
    return 0;
}

static struct sums all(void)
{
    struct sums sums = {0};
    ht_stacks_each(add_up, &sums);
    return sums;
}

static void restart_thread(void)
{
    memset(&ht_thread, 0, sizeof(ht_thread));
}

/* Where the interval follows the budget, gaps are cut every 64 KiB, and often within a block: each
 * is sampled as often as its size says all the same. Four standard errors, with a fixed seed. First
 * of the tests: what it costs is not looked at before 12 MiB were recorded exactly, so the interval
 * stays. */
TEST(record_cut_gaps_sample_as_often_as_whole_ones)
{
    const size_t sizes[] = {5000, 65536, 65537, 200000, 1 << 20};
    const double intervals[] = {30000, 131072, 1 << 20};
    const double blocks = 100000;
    ht_sampler_set_seed(1);
    CHECK_EQ(ht_budget_set_interval(HT_INTERVAL_AUTO), 0);
    for (size_t t = 0; t < HT_ARRAY_SIZE(intervals); t++) {
        CHECK_EQ(ht_sampler_set_interval((uint64_t)intervals[t]), 0);
        for (size_t s = 0; s < HT_ARRAY_SIZE(sizes); s++) {
            restart_thread();
            double sampled = 0;
            for (int i = 0; i < (int)blocks; i++)
                sampled += ht_hot_alloc(sizes[s]) && ht_record_begin(sizes[s]) != 0;
            double p = -expm1(-(double)sizes[s] / intervals[t]);
            CHECK(fabs(sampled - blocks * p) <= 4 * sqrt(blocks * p * (1 - p)) + 1);
        }
    }
    CHECK_EQ(ht_sampler_interval(), 1 << 20);
    CHECK_EQ(ht_budget_set_interval(1), 0);
    ht_sampler_set_seed(0);
}

TEST(record_every_allocation_at_one)
{
    ht_sampler_set_interval(1);
    restart_thread();
    for (uintptr_t i = 1; i <= 1000; i++)
        hook_malloc(i * 4096, i, 0);
    struct sums sums = all();
    CHECK_EQ(sums.alloc_objects, 1000);
    CHECK_EQ(sums.alloc_bytes, 1000 * 1001 / 2);
    CHECK_EQ(sums.inuse_objects, 1000);
    for (uintptr_t i = 1; i <= 1000; i++)
        hook_free(i * 4096);
    sums = all();
    CHECK_EQ(sums.inuse_objects, 0);
    CHECK_EQ(sums.inuse_bytes, 0);
    CHECK_EQ(ht_record_counts().samples, 1000);
}

/* 4 standard errors of the estimate, one false alarm in 16,000 runs: the seed is the kernel's. */
TEST(record_estimates_and_returns_to_exactly_zero)
{
    struct sums before = all();
    const size_t size = 300;
    const double n = 400000;
    ht_sampler_set_interval(4096);
    restart_thread();
    for (uintptr_t i = 1; i <= n; i++)
        hook_malloc(i * 512, size, 0);
    struct sums after = all();
    double p = ht_sampler_hit_probability((double)size / 4096);
    double standard_error = sqrt(n * (1 - p) / p);
    CHECK(fabs(after.alloc_objects - before.alloc_objects - n) < 4 * standard_error);
    CHECK(fabs((after.alloc_bytes - before.alloc_bytes) / (double)size - n) < 4 * standard_error);
    ht_sampler_set_interval(100); /* weights are those of the interval a block was sampled with */
    for (uintptr_t i = 1; i <= n; i++)
        hook_free(i * 512);
    after = all();
    CHECK_EQ(after.inuse_objects, 0);
    CHECK_EQ(after.inuse_bytes, 0);
}

TEST(record_off_takes_nothing_and_comes_back)
{
    ht_sampler_set_interval(0);
    restart_thread();
    uint64_t before = ht_record_counts().samples;
    for (uintptr_t i = 1; i <= 100000; i++)
        hook_malloc(i * 512, 500, 0);
    CHECK_EQ(ht_record_counts().samples, before);
    ht_sampler_set_interval(1);
    for (uintptr_t i = 1; i <= 100000; i++)
        hook_malloc(i * 512, 500, 0); /* 50 MB: the gap of 16 MiB ends in it */
    CHECK(ht_record_counts().samples > before + 60000);
    for (uintptr_t i = 1; i <= 100000; i++)
        hook_free(i * 512);
}

TEST(record_absurd_size_does_not_switch_sampling_off)
{
    ht_sampler_set_interval(1);
    restart_thread();
    size_t absurd[] = {SIZE_MAX, (size_t)1 << 63, ((size_t)1 << 63) + 12345, SIZE_MAX - 4096};
    for (size_t i = 0; i < HT_ARRAY_SIZE(absurd); i++) {
        CHECK(ht_hot_alloc(absurd[i]));
        ht_record_begin(absurd[i]);
        CHECK_EQ(ht_thread.bytes_until_sample, 0);
    }
}

TEST(record_nothing_of_what_happens_inside)
{
    ht_sampler_set_interval(1);
    restart_thread();
    hook_malloc(0x10000, 1, 0);
    uint64_t before = ht_record_counts().samples;
    struct ht_record_pause pause = ht_record_pause();
    hook_malloc(0x20000, 1000000, 0);
    CHECK_EQ(ht_record_begin(1), 0);
    ht_record_resume(pause);
    CHECK_EQ(ht_record_counts().samples, before);
    hook_malloc(0x20000, 1, 0);
    CHECK_EQ(ht_record_counts().samples, before + 1);
    hook_free(0x10000);
    hook_free(0x20000);
}

TEST(record_failed_realloc_is_as_if_it_had_not_been)
{
    ht_sampler_set_interval(1);
    restart_thread();
    struct sums before = all();
    hook_malloc(0x30000, 777, 0);
    struct ht_live_block was;
    CHECK_EQ(ht_record_forget((void *)0x30000, &was), HT_LIVE_REMOVED);
    CHECK_EQ(was.size, 777);
    ht_record_restore((void *)0x30000, &was);
    struct sums after = all();
    CHECK_EQ(after.inuse_bytes - before.inuse_bytes, 777);
    hook_free(0x30000);
    after = all();
    CHECK_EQ(after.inuse_bytes - before.inuse_bytes, 0);
}

/* Small blocks need no lock to be forgotten (shadow.h); of this size they are in the table. */
#define LARGE 8000

/* As in a handler that interrupted the table. */
TEST(record_free_in_a_handler_is_no_drop)
{
    ht_sampler_set_interval(1);
    restart_thread();
    struct sums before = all();
    uint64_t drops = ht_record_counts().drops[HT_DROP_FREE];
    struct ht_live_block was;
    hook_malloc(0x40000, LARGE, 0);
    hook_malloc(0x50000, LARGE, 0);
    struct ht_record_pause pause = ht_record_pause();
    ht_live_fork_prepare();
    hook_free(0x40000);
    CHECK_EQ(ht_record_counts().drops[HT_DROP_FREE], drops);
    CHECK_EQ(ht_record_forget((void *)0x50000, &was), HT_LIVE_DEFERRED);
    ht_record_restore((void *)0x50000, NULL); /* a realloc that failed: this one is lost */
    CHECK_EQ(ht_record_counts().drops[HT_DROP_FREE], drops + 1);
    ht_live_fork_parent();
    ht_record_resume(pause);
    hook_malloc(0x40000, 5, 0); /* again, before anybody looked */
    hook_free(0x40000);
    hook_free(0x50000);
    struct sums after = all();
    CHECK_EQ(after.alloc_objects - before.alloc_objects, 3);
    CHECK_EQ(after.inuse_objects - before.inuse_objects, 0);
    CHECK_EQ(after.inuse_bytes - before.inuse_bytes, 0);
}

TEST(record_fork_inside_leaves_the_child_inside)
{
    ht_sampler_set_interval(1);
    restart_thread();
    hook_malloc(0x80000, 1, 0);
    uint64_t before = ht_record_counts().samples;
    struct ht_record_pause pause = ht_record_pause(); /* a handler that forks interrupts us */
    struct ht_record_pause around = ht_record_pause();
    ht_record_fork_child(around);
    hook_malloc(0x90000, 1, 0);
    CHECK_EQ(ht_record_counts().samples, before);
    ht_record_resume(pause);
    around = ht_record_pause();
    ht_record_fork_child(around);
    hook_malloc(0x90000, 1, 0);
    CHECK_EQ(ht_record_counts().samples, before + 1);
    hook_free(0x80000);
    hook_free(0x90000);
}

/* No site of its own remembers the high half of its size. */
TEST(record_huge_block_without_memory_is_given_back_whole)
{
    const size_t huge = ((size_t)5 << 32) + 4096;
    ht_sampler_set_interval(1);
    restart_thread();
    hook_malloc(0x60000000, 8000, 0); /* so that the live table has room */
    hook_free(0x60000000);
    struct sums before = all();
    ht_arena_fail_from(1);
    for (uintptr_t i = 0; i < 20000; i++)
        hook_malloc(0x60000000, huge, i * 4096);
    hook_free(0x60000000);
    ht_arena_fail_from(0);
    struct sums after = all();
    CHECK_EQ(after.alloc_bytes - before.alloc_bytes, 20000 * huge);
    CHECK_EQ(after.inuse_bytes, before.inuse_bytes);
}

/* A page holds 4 KiB and is marked by a sample in it: 0.78 % of the frees of strangers look for
 * nothing, whatever the size of the heap. Six standard errors of the pages marked, of the smallest
 * heap, are 0.21 %: one false alarm in a billion runs. */
TEST(record_false_alarms_do_not_grow_with_the_heap)
{
    static const uint64_t heaps[] = {(uint64_t)256 << 20, (uint64_t)1 << 30, (uint64_t)4 << 30};
    const size_t size = 264;
    ht_sampler_set_interval(512 * 1024);
    restart_thread();
    for (unsigned h = 0; h < HT_ARRAY_SIZE(heaps); h++) {
        uintptr_t base = 0x100800000000, count = heaps[h] / size, strangers = 0;
        uint64_t live = ht_live_count();
        for (uintptr_t i = 0; i < count; i++)
            hook_malloc(base + i * size, size, 0);
        uint64_t sampled = ht_live_count() - live;
        for (uintptr_t i = 0; i < count; i++)
            strangers += ht_hot_is_live((void *)(base + i * size));
        strangers -= sampled;
        printf("  %5.2f GiB: %.2f %% of frees\n", (double)heaps[h] / (1 << 30),
               100.0 * (double)strangers / (double)count);
        CHECK((double)strangers < 0.0099 * (double)count);
        for (uintptr_t i = 0; i < count; i++)
            hook_free(base + i * size);
        CHECK_EQ(ht_live_count(), live);
    }
}

/* More than the tables have room for by now. */
#define BLOCKS 400000

TEST(record_without_memory_drops_and_counts)
{
    ht_sampler_set_interval(1);
    restart_thread();
    struct sums before = all();
    struct ht_record_counts counts_before = ht_record_counts();
    ht_arena_fail_from(1);
    for (uintptr_t i = 1; i <= BLOCKS; i++)
        hook_malloc(0x700000000000 + i * 4096, 10, 0);
    ht_arena_fail_from(0);
    struct sums after = all();
    struct ht_record_counts counts = ht_record_counts();
    uint64_t drops = counts.drops[HT_DROP_LIVE_FULL] - counts_before.drops[HT_DROP_LIVE_FULL];
    CHECK(drops > 0);
    CHECK_EQ(after.alloc_objects - before.alloc_objects, BLOCKS); /* what came stays right */
    CHECK_EQ(after.inuse_objects - before.inuse_objects, BLOCKS - drops);
    for (uintptr_t i = 1; i <= BLOCKS; i++)
        hook_free(0x700000000000 + i * 4096);
    CHECK_EQ(all().inuse_objects, before.inuse_objects);
}
