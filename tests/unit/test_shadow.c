#include "test.h"

#include <sched.h>

#include "sample/hot.h"
#include "sample/shadow.h"
#include "sys/arena.h"

static struct ht_shadow_block was;

static uint64_t seed = 7;

static uint32_t next_random(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(seed >> 33);
}

#define ADDRESSES 40000

/* Two heaps far apart. */
static uintptr_t address_of(uint32_t i)
{
    return (i % 2 == 0 ? 0x555500000000 : 0x7fff70000000) + (uintptr_t)i * 32 + i % 4 * 8;
}

TEST(shadow_agrees_with_an_array)
{
    static uint32_t sizes[ADDRESSES]; /* + 1; 0: not there */
    uint64_t count = 0;
    for (int step = 0; step < 500000; step++) {
        uint32_t i = next_random() % ADDRESSES;
        if (sizes[i] != 0) {
            CHECK(ht_hot_is_live((void *)address_of(i)));
            CHECK(ht_shadow_remove(address_of(i), &was));
            CHECK_EQ(was.size, sizes[i] - 1);
            CHECK_EQ(was.site, i);
            sizes[i] = 0;
            count--;
        } else {
            CHECK(!ht_shadow_remove(address_of(i), &was));
            sizes[i] = next_random() % HT_SHADOW_SIZE_MAX + 1;
            CHECK(ht_shadow_insert(address_of(i), sizes[i] - 1, i));
            count++;
        }
    }
    CHECK_EQ(ht_shadow_count(), count);
}

TEST(shadow_takes_small_blocks_alone)
{
    CHECK(!ht_shadow_insert(0x10000, HT_SHADOW_SIZE_MAX, 1));
    CHECK(!ht_shadow_insert(UINT64_C(1) << 47, 8, 1));
    CHECK(!ht_shadow_insert(UINTPTR_MAX - 15, 8, 1));
    CHECK(!ht_shadow_remove(0x10000, &was));
    CHECK(!ht_shadow_remove(UINT64_C(1) << 47, &was));
    CHECK(!ht_shadow_remove(UINTPTR_MAX - 15, &was));
}

/* Allocators but glibc's have blocks of 8 and 16 bytes. */
TEST(shadow_has_one_block_in_32_bytes)
{
    CHECK(ht_shadow_insert(0x30010, 16, 5));
    CHECK(!ht_shadow_insert(0x30000, 16, 6));
    CHECK(!ht_shadow_remove(0x30000, &was));
    CHECK(!ht_shadow_insert(0x30018, 8, 7));
    CHECK(ht_shadow_remove(0x30010, &was));
    CHECK_EQ(was.site, 5);
    CHECK(ht_shadow_insert(0x30018, 8, 7));
    CHECK(!ht_shadow_remove(0x30010, &was));
    CHECK(ht_shadow_remove(0x30018, &was));
}

TEST(shadow_tells_of_a_free_that_was_missed)
{
    CHECK(ht_shadow_insert(0x20000, 5, 77));
    CHECK(!ht_shadow_insert(0x20000, 6, 78));
    CHECK(ht_shadow_remove(0x20000, &was));
    CHECK_EQ(was.site, 77);
    CHECK_EQ(was.size, 5);
    CHECK(ht_shadow_insert(0x20000, 0, 0)); /* the overflow's site, of no bytes */
    CHECK(ht_shadow_remove(0x20000, &was));
    CHECK_EQ(was.site, 0);
    CHECK_EQ(was.size, 0);
    CHECK(!ht_shadow_remove(0x20000, &was));
}

static uint8_t page_of(uintptr_t address)
{
    return __atomic_load_n(ht_hot_page((void *)address), __ATOMIC_RELAXED);
}

TEST(shadow_pages_are_cleared_when_they_are_empty)
{
    const uintptr_t page = UINT64_C(0x600000000000), alias = page + (UINT64_C(64) << 30);
    CHECK(ht_shadow_insert(page + 64, 100, 7));
    CHECK(ht_shadow_insert(page + 4064, 20, 7));
    CHECK(ht_shadow_insert(alias + 128, 20, 7)); /* the same byte */
    CHECK_EQ(page_of(page), HT_PAGE_EXACT);
    ht_shadow_clear_page(page);
    CHECK_EQ(page_of(page), HT_PAGE_EXACT);
    CHECK(ht_shadow_remove(page + 64, &was) && ht_shadow_remove(page + 4064, &was));
    ht_shadow_clear_page(page);
    CHECK_EQ(page_of(page), HT_PAGE_EXACT);
    CHECK(ht_shadow_remove(alias + 128, &was));
    *ht_hot_page((void *)page) += 2; /* blocks of live.h */
    ht_shadow_clear_page(page);
    CHECK_EQ(page_of(page), 2);
    CHECK(ht_shadow_insert(page + 64, 100, 7));
    CHECK_EQ(page_of(page), HT_PAGE_EXACT + 2);
    CHECK(ht_shadow_remove(page + 64, &was));
    *ht_hot_page((void *)page) = UINT8_MAX; /* early.c's: for ever */
    ht_shadow_clear_page(page);
    CHECK_EQ(page_of(page), UINT8_MAX);
    *ht_hot_page((void *)page) = 0;
}

/* Two threads clear, two insert and remove: a block that is there is never in a page that says
 * "nothing". */
static bool stop_clearing;

static void *clear_on(void *page)
{
    while (!__atomic_load_n(&stop_clearing, __ATOMIC_RELAXED))
        ht_shadow_clear_page((uintptr_t)page);
    return NULL;
}

static void *insert_on(void *address)
{
    struct ht_shadow_block block;
    uintptr_t missed = 0;
    for (int i = 0; i < 100000; i++) {
        missed += !ht_shadow_insert((uintptr_t)address, 10, 3);
        if (i % 64 == 0) /* while it is there, another thread begins or ends */
            sched_yield();
        missed += page_of((uintptr_t)address) == 0;
        missed += !ht_shadow_remove((uintptr_t)address, &block);
    }
    return (void *)missed;
}

TEST(shadow_pages_are_cleared_while_others_insert)
{
    char *page = (char *)UINT64_C(0x610000000000);
    pthread_t clearing[2], inserting[2];
    void *missed[2];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&clearing[i], NULL, clear_on, page), 0);
        CHECK_EQ(pthread_create(&inserting[i], NULL, insert_on, page + 64 * i), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(inserting[i], &missed[i]);
    __atomic_store_n(&stop_clearing, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(clearing[i], NULL);
    CHECK(missed[0] == NULL && missed[1] == NULL);
    ht_shadow_clear_page((uintptr_t)page);
    CHECK_EQ(page_of((uintptr_t)page), 0);
}

TEST(shadow_stops_at_a_quarter_of_the_memory)
{
    size_t before = ht_arena_used();
    uintptr_t address = 0x600000000000;
    while (ht_shadow_insert(address, 8, 1))
        address += 4096;
    CHECK(ht_arena_used() - before <= ht_arena_table_limit() / 4 + 256 * 1024);
    CHECK(ht_shadow_remove(address - 4096, &was));
    CHECK(!ht_shadow_remove(address, &was));
}
