#include "sample/lives.h"

#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "hook.h"
#include "report/ages.h"
#include "sample/clock.h"
#include "sample/exact.h"
#include "sample/unwind.h"
#include "test.h"

/* Followed for sure, at any interval below: p is 1 to 15 digits. */
#define SURE ((size_t)8 << 20)

#define ADDRESS UINT64_C(0x700000000000)

static struct ht_lives_view views[64];
static unsigned view_count;

static int keep_view(void *context, const struct ht_lives_view *view)
{
    (void)context;
    views[view_count++] = *view;
    return 0;
}

static int keep_views(void *context, const struct ht_site_view *site)
{
    return ht_lives_each(site->site, keep_view, context);
}

static void look(void)
{
    view_count = 0;
    ht_stacks_each(keep_views, NULL);
}

static void start(uint64_t interval)
{
    const char *reason = NULL;
    static bool started;
    if (!started) {
        CHECK(ht_unwind_start(&reason));
        ht_clock_start();
        usleep(2000);
    }
    started = true;
    CHECK_EQ(ht_sampler_set_interval(interval), 0);
    memset(&ht_thread, 0, sizeof(ht_thread));
}

/* As free() does. */
__attribute__((noinline)) static void release(uintptr_t address)
{
    ht_record_free((void *)address);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void make(uintptr_t address, size_t size)
{
    hook_malloc(address, size, 0);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void make_and_release(void)
{
    make(ADDRESS, SURE);
    release(ADDRESS);
    __asm__ volatile("" ::: "memory");
}

TEST(a_life_within_a_function)
{
    for (uint64_t interval = 1; interval <= 524288; interval *= 8192) {
        start(interval);
        make_and_release(); /* the first one learns the code on its way */
        make_and_release();
        look();
        CHECK(views[0].same_thread);
        CHECK(views[0].age <= 3); /* on a busy machine */
        /* make() is the leaf; its caller goes on to release(). */
        CHECK_EQ(views[0].frame, 1);
        uintptr_t pc = views[0].pc;
        CHECK(pc > (uintptr_t)make_and_release && pc < (uintptr_t)make_and_release + 200);
    }
    double objects = 0, bytes = 0;
    for (unsigned i = 0; i < view_count; i++) {
        objects += views[i].objects;
        bytes += views[i].bytes;
    }
    CHECK(fabs(objects - 4) < 0.01);
    CHECK(fabs(bytes - 4.0 * SURE) < 1000);
}

static void *release_all(void *unused)
{
    memset(&ht_thread, 0, sizeof(ht_thread));
    for (uintptr_t i = 0; i < 10; i++)
        release(ADDRESS + i * 4096);
    return unused;
}

TEST(another_thread_frees)
{
    pthread_t thread;
    start(4096);
    for (volatile uintptr_t i = 0; i < 10; i++) /* not unrolled */
        make(ADDRESS + i * 4096, SURE);
    usleep(12000);
    CHECK_EQ(pthread_create(&thread, NULL, release_all, NULL), 0);
    pthread_join(thread, NULL);
    look();
    unsigned found = 0;
    for (unsigned i = 0; i < view_count; i++) {
        if (views[i].same_thread)
            continue;
        found++;
        CHECK_EQ(views[i].frame, HT_LIVES_NO_FRAME);
        CHECK(views[i].age >= 4 && views[i].age <= 6); /* 12 ms, on a busy machine more */
        CHECK(fabs(views[i].objects - 10) < 0.01);
    }
    CHECK_EQ(found, 1);
}

/* More places than a site remembers: they are counted, without the place. */
__attribute__((noinline)) static void live_and_die_in_many_places(void)
{
#define HERE(n)                                                                                    \
    case n:                                                                                        \
        release(ADDRESS);                                                                          \
        __asm__ volatile("# %0" : : "i"(n)); /* so that no two become one */                       \
        break;
#define FIVE(n) HERE(n) HERE(n + 1) HERE(n + 2) HERE(n + 3) HERE(n + 4)
    for (volatile int i = 0; i < 25; i++) { /* not unrolled: the stack is one */
        make(ADDRESS, SURE / 2);
        switch (i) {
            FIVE(0)
            FIVE(5)
            FIVE(10)
            FIVE(15)
            FIVE(20)
        }
    }
}

TEST(places_are_limited)
{
    start(4096);
    look();
    unsigned before = view_count, known = 0;
    live_and_die_in_many_places();
    look();
    double objects = 0, unknown = 0;
    for (unsigned i = 0; i < view_count; i++) {
        if (fabs(views[i].bytes / views[i].objects - SURE / 2) > 1)
            continue;
        objects += views[i].objects;
        known += views[i].frame != HT_LIVES_NO_FRAME;
        unknown += views[i].frame == HT_LIVES_NO_FRAME ? views[i].objects : 0;
    }
    CHECK(fabs(objects - 25) < 0.01);
    CHECK_EQ(known, HT_LIVES_PLACES);
    CHECK(fabs(unknown - (25.0 - HT_LIVES_PLACES)) < 0.01);
    CHECK(view_count > before);
    CHECK_EQ(ht_lives_lost(), 0);
}

/* The thinned set is a sampling at 128 KiB: 4 standard errors, one false alarm in 16,000; the seed
 * is fixed. */
TEST(followed_blocks_are_a_sampling_at_their_interval)
{
    const size_t sizes[] = {16, 3000, 200000};
    const uint64_t intervals[] = {512, 16384, 1 << 20};
    for (size_t i = 0; i < HT_ARRAY_SIZE(sizes) * HT_ARRAY_SIZE(intervals); i++) {
        size_t size = sizes[i % 3];
        uint64_t interval = intervals[i / 3], random = 42 + i, followed = 0;
        const int n = 3000000;
        CHECK_EQ(ht_sampler_set_interval(interval), 0);
        ht_interval_id id = ht_sampler_current();
        struct ht_weight weight = ht_sampler_weight(size, id);
        uint64_t left = ht_sampler_draw(id, &random);
        for (int j = 0; j < n; j++) {
            if (left >= size) {
                left -= size;
                continue;
            }
            followed += ht_lives_follows(size, id, weight.objects, &random);
            left = ht_sampler_draw(id, &random);
        }
        double p =
            ht_sampler_hit_probability((double)size / (double)ht_max(interval, HT_LIVES_INTERVAL));
        CHECK(fabs((double)followed - n * p) <= 4 * sqrt(n * p * (1 - p)) + 1);
    }
}

TEST(ages_have_names)
{
    CHECK_EQ(ht_lives_age_of(0), 0);
    CHECK_EQ(ht_lives_age_of(9999), 0);
    CHECK_EQ(ht_lives_age_of(10000), 1);
    CHECK_EQ(ht_lives_age_of(INT64_C(999999999)), 5);
    CHECK_EQ(ht_lives_age_of(INT64_C(1000000000)), 6);
    CHECK_EQ(ht_lives_age_of(INT64_MAX), HT_LIVES_AGES - 1);
    uint64_t birth = ht_lives_birth();
    usleep(3000);
    int64_t age = ht_lives_age(birth);
    CHECK(age >= 2900000 && age < INT64_C(60000000000));
}

static ht_site site_of_live;

static int find_live(void *context, const struct ht_site_view *site)
{
    if (site->counts.alloc_objects != site->counts.free_objects)
        *(ht_site *)context = site->site;
    return 0;
}

TEST(ages_of_what_is_in_use)
{
    struct ht_ages ages;
    start(4096);
    for (volatile unsigned i = 0; i < 2; i++) {
        make(ADDRESS + i * 4096, SURE * 3);
        usleep(15000 * (1 - i));
    }
    ht_stacks_each(find_live, &site_of_live);
    ht_ages_load(&ages, true);
    int64_t oldest = ht_ages_oldest(&ages, site_of_live);
    CHECK(oldest >= 15000000 && oldest < INT64_C(60000000000));
    double objects = 0;
    for (unsigned age = 0; age < HT_LIVES_AGES; age++) {
        const struct ht_ages_sum *sum = ht_ages_find(&ages, site_of_live, age);
        objects += sum != NULL ? (double)sum->objects : 0;
    }
    CHECK(fabs(objects - 2) < 0.01);
    CHECK_EQ(ages.lost, 0);
    ht_ages_free(&ages);
    release(ADDRESS);
    release(ADDRESS + 4096);
    ht_ages_load(&ages, true);
    CHECK_EQ(ht_ages_oldest(&ages, site_of_live), 0);
    ht_ages_free(&ages);
}

/* The library that freed them is gone, and another one may be where it was. */
TEST(places_in_code_that_is_gone_move)
{
    const uintptr_t low = (uintptr_t)make_and_release, high = low + 200, by = UINT64_C(1) << 60;
    start(4096);
    make_and_release();
    for (int back = 0; back < 2; back++) {
        ht_lives_move(back ? low + by : low, back ? high + by : high, back ? 0 - by : by);
        unsigned here = 0, there = 0;
        look();
        for (unsigned i = 0; i < view_count; i++) {
            here += views[i].pc - low < high - low;
            there += views[i].pc - low - by < high - low;
        }
        CHECK(back ? here > 0 && there == 0 : here == 0 && there > 0);
    }
}

/* A deferred free has no stack, and one whose address came back before was never seen. */
TEST(ends_that_are_not_seen_are_counted)
{
    struct ht_live_block was;
    start(4096);
    uint64_t before = ht_lives_lost();
    make(ADDRESS, SURE);
    make(ADDRESS, SURE);
    CHECK_EQ(ht_lives_lost(), before + 1);
    ht_live_fork_prepare();
    CHECK_EQ(ht_live_remove(ADDRESS, true, &was), HT_LIVE_DEFERRED);
    ht_live_fork_parent();
    CHECK_EQ(ht_lives_lost(), before + 2);
    make(ADDRESS, SURE);
    struct ht_record_pause pause = ht_record_pause(); /* as in a handler that interrupted us */
    release(ADDRESS);
    ht_record_resume(pause);
    CHECK_EQ(ht_lives_lost(), before + 3);
}

/* The first distance of a thread that frees before it allocates is as random as any. */
static void *free_first(void *address)
{
    struct ht_live_block was;
    if (ht_record_forget(address, &was) == HT_LIVE_REMOVED)
        ht_record_freed(&was);
    return (void *)(uintptr_t)(ht_thread.exact != NULL ? ht_thread.exact->unfollowed : 0);
}

TEST(threads_that_free_first_are_followed_as_others)
{
    double sum = 0;
    const unsigned threads = 200;
    start(1);
    for (unsigned i = 0; i < threads; i++) {
        pthread_t thread;
        void *unfollowed;
        make(ADDRESS, 100);
        CHECK_EQ(pthread_create(&thread, NULL, free_first, (void *)ADDRESS), 0);
        pthread_join(thread, &unfollowed);
        sum += (double)(uintptr_t)unfollowed / threads;
    }
    /* 6 standard errors of an exponential distribution. */
    CHECK(fabs(sum / HT_LIVES_INTERVAL - 1) < 6 / sqrt(threads));
}
