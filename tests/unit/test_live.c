#include "test.h"

#include "intern.h"
#include "sample/hot.h"
#include "sample/live.h"
#include "sys/arena.h"

/* Too simple to be wrong: every address in one array. */
#define ADDRESSES 5000

static struct {
    bool live;
    struct ht_live_block block;
} model[ADDRESSES];

static uint64_t seed = 42;

static uint32_t next_random(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(seed >> 33);
}

/* Neighbours in one page, pages 64 GiB apart, and far away: the same shadow byte, other
 * addresses. */
static uintptr_t address_of(uint32_t i)
{
    return 0x7f0000000000 + (uintptr_t)(i / 50) * 4096 + (i % 50) * 16 +
           (i % 3 == 0 ? (uintptr_t)64 << 30 : 0);
}

static ht_site a_site(void)
{
    static ht_site site;
    uintptr_t pcs[] = {0x1234, 0x5678};
    if (site == 0)
        site = intern(pcs, 2, 100);
    return site;
}

static uint64_t model_count(void)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < ADDRESSES; i++)
        count += model[i].live;
    return count;
}

TEST(live_agrees_with_an_array)
{
    CHECK_EQ(ht_sampler_set_interval(4096), 0);
    for (int step = 0; step < 300000; step++) {
        uint32_t i = next_random() % ADDRESSES;
        struct ht_live_block block;
        if (model[i].live) {
            CHECK(ht_hot_is_live((void *)address_of(i)));
            CHECK_EQ(ht_live_remove(address_of(i), false, &block), HT_LIVE_REMOVED);
            CHECK_EQ(block.size, model[i].block.size);
            CHECK_EQ(block.site, model[i].block.site);
            CHECK_EQ(block.interval, model[i].block.interval);
        } else {
            CHECK_EQ(ht_live_remove(address_of(i), false, &block), HT_LIVE_UNKNOWN);
            model[i].block = (struct ht_live_block){next_random(), a_site(), 1 + i % 200, 0};
            CHECK(ht_live_insert(address_of(i), &model[i].block));
        }
        model[i].live = !model[i].live;
        if (step % 50000 == 0)
            CHECK_EQ(ht_live_count(), model_count());
    }
    for (uint32_t i = 0; i < ADDRESSES; i++) {
        struct ht_live_block block;
        if (model[i].live)
            CHECK_EQ(ht_live_remove(address_of(i), false, &block), HT_LIVE_REMOVED);
    }
    CHECK_EQ(ht_live_count(), 0);
    for (uint32_t i = 0; i < ADDRESSES; i++)
        CHECK(!ht_hot_is_live((void *)address_of(i)));
    CHECK_EQ(ht_live_missed_frees(), 0);
}

TEST(live_block_whose_free_was_missed_is_replaced)
{
    struct ht_live_block first = {100, a_site(), 2, 0}, second = {120, a_site(), 2, 0}, block;
    CHECK(ht_live_insert(0x1000, &first));
    CHECK(ht_live_insert(0x1000, &second));
    CHECK_EQ(ht_live_missed_frees(), 1);
    CHECK_EQ(ht_live_count(), 1);
    CHECK_EQ(ht_live_remove(0x1000, false, &block), HT_LIVE_REMOVED);
    CHECK_EQ(block.size, 120);
}

TEST(live_tagged_pointers_are_the_same_block)
{
    struct ht_live_block in = {100, a_site(), 2, 0}, out;
    CHECK(ht_live_insert(UINT64_C(0xab00700000001000), &in));
    CHECK_EQ(ht_live_remove(UINT64_C(0x0000700000001000), false, &out), HT_LIVE_REMOVED);
}

TEST(live_shadow_sticks_when_a_page_is_full)
{
    struct ht_live_block in = {8, a_site(), 2, 0}, out;
    uintptr_t page = 0x600000000000;
    for (uintptr_t i = 0; i < 300; i++)
        CHECK(ht_live_insert(page + i * 8, &in));
    for (uintptr_t i = 0; i < 300; i++)
        CHECK_EQ(ht_live_remove(page + i * 8, false, &out), HT_LIVE_REMOVED);
    CHECK(ht_hot_is_live((void *)page)); /* says "maybe" for ever, which costs time and no truth */
    CHECK_EQ(ht_live_remove(page, false, &out), HT_LIVE_UNKNOWN);
}

TEST(live_without_memory_says_so)
{
    struct ht_live_block in = {8, a_site(), 2, 0}, out;
    unsigned refused = 0;
    ht_arena_fail_from(1);
    uint64_t before = ht_live_count();
    for (uintptr_t i = 1; i <= 20000; i++)
        refused += !ht_live_insert(0x500000000000 + i * 64, &in);
    ht_arena_fail_from(0);
    CHECK(refused > 0);
    CHECK_EQ(ht_live_count() - before, 20000 - refused);
    for (uintptr_t i = 1; i <= 20000; i++)
        refused -= ht_live_remove(0x500000000000 + i * 64, false, &out) == HT_LIVE_UNKNOWN;
    CHECK_EQ(refused, 0);
}

/* A handler that frees while this thread holds the table's locks, as fork.c does. */
TEST(live_free_in_a_handler_is_deferred_and_counted)
{
    struct ht_live_block in = {4096, a_site(), 2, 0}, out;
    CHECK(ht_live_insert(0x700000, &in));
    uint64_t before = ht_live_count();
    ht_live_fork_prepare();
    CHECK_EQ(ht_live_remove(0x700000, true, &out), HT_LIVE_DEFERRED);
    ht_live_fork_parent();
    /* The address comes back before anybody looked: the old block goes first, the new one stays. */
    struct ht_live_block again = {777, a_site(), 2, 0};
    CHECK(ht_live_insert(0x700000, &again));
    CHECK_EQ(ht_live_count(), before);
    CHECK_EQ(ht_live_remove(0x700000, true, &out), HT_LIVE_REMOVED);
    CHECK_EQ(out.size, 777);
}

/* A fork settles it, on both of its sides; a snapshot tries to. */
TEST(live_settles_what_was_deferred)
{
    struct ht_live_block in = {4096, a_site(), 2, 0}, out;
    uint64_t before = ht_live_count();
    CHECK(ht_live_insert(0x710000, &in));
    CHECK(ht_live_insert(0x720000, &in));
    ht_live_fork_prepare();
    CHECK_EQ(ht_live_remove(0x710000, true, &out), HT_LIVE_DEFERRED);
    ht_live_settle(); /* not while somebody has the lock */
    CHECK_EQ(ht_live_count(), before + 2);
    ht_live_fork_parent();
    CHECK_EQ(ht_live_count(), before + 1);
    ht_live_fork_prepare();
    CHECK_EQ(ht_live_remove(0x720000, true, &out), HT_LIVE_DEFERRED);
    ht_live_fork_child(true);
    CHECK_EQ(ht_live_count(), before);
}

TEST(live_says_when_no_more_can_be_deferred)
{
    struct ht_live_block in = {4096, a_site(), 2, 0}, out;
    const uintptr_t first = 0x710000, count = 64 * 512 + 1; /* one more than there is room for */
    uint64_t before = ht_live_count();
    unsigned deferred = 0, missed = 0;
    for (uintptr_t i = 0; i < count; i++)
        CHECK(ht_live_insert(first + i * 16, &in));
    ht_live_fork_prepare();
    for (uintptr_t i = 0; i < count; i++) {
        enum ht_live_result result = ht_live_remove(first + i * 16, true, &out);
        deferred += result == HT_LIVE_DEFERRED;
        missed += result == HT_LIVE_MISSED;
    }
    ht_live_fork_parent();
    CHECK(missed > 0);
    CHECK_EQ(deferred + missed, count);
    unsigned stayed = 0;
    for (uintptr_t i = 0; i < count; i++)
        stayed += ht_live_remove(first + i * 16, false, &out) == HT_LIVE_REMOVED;
    CHECK_EQ(stayed, missed);
    CHECK_EQ(ht_live_count(), before);
}

#define THREADS 4

static void *churn(void *argument)
{
    uintptr_t base = 0x300000000000 + ((uintptr_t)argument << 36);
    struct ht_live_block in = {64, a_site(), 2, 0}, out;
    for (int round = 0; round < 20; round++) {
        for (uintptr_t i = 0; i < 2000; i++)
            if (!ht_live_insert(base + i * 64, &in))
                return (void *)1;
        for (uintptr_t i = 0; i < 2000; i++)
            if (ht_live_remove(base + i * 64, false, &out) != HT_LIVE_REMOVED)
                return (void *)2;
    }
    return NULL;
}

TEST(live_threads_do_not_disturb_each_other)
{
    pthread_t threads[THREADS];
    uint64_t before = ht_live_count();
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        CHECK(result == NULL);
    }
    CHECK_EQ(ht_live_count(), before);
}
