#include "test.h"

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
