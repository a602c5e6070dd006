#include "report/locations.h"

#include <errno.h>

#include "sys/arena.h"
#include "test.h"

#define MANY 100000u

static struct ht_locations locations;

static uintptr_t pc_of(uint32_t i)
{
    return 0x7f0000000000 + (i * UINT64_C(2654435761)) % 0xfffffffb;
}

TEST(locations_number_in_order_of_appearance)
{
    size_t before = ht_arena_used();
    for (uint32_t i = 1; i <= MANY; i++)
        CHECK_EQ(ht_locations_add(&locations, pc_of(i)), i);
    for (uint32_t i = MANY; i >= 1; i--)
        CHECK_EQ(ht_locations_add(&locations, pc_of(i)), i);
    CHECK_EQ(locations.count, MANY);
    CHECK_EQ(ht_locations_sort(&locations), 0);
    for (uint32_t i = 1; i < MANY; i++)
        CHECK(ht_locations_pc(&locations, locations.by_pc[i - 1]) <
              ht_locations_pc(&locations, locations.by_pc[i]));
    for (uint32_t i = 1; i <= MANY; i++)
        CHECK_EQ(ht_locations_pc(&locations, i), pc_of(i));
    ht_locations_free(&locations);
    CHECK_EQ(ht_arena_used(), before);
}

/* At every size; but for the chunk that is not full. */
TEST(locations_take_sixteen_bytes_each)
{
    size_t before = ht_arena_used();
    for (uint32_t i = 1; i <= MANY; i++) {
        CHECK_EQ(ht_locations_add(&locations, pc_of(i)), i);
        CHECK(ht_arena_used() - before <= 16 * (size_t)i + 80 * 1024);
    }
    CHECK_EQ(ht_locations_sort(&locations), 0);
    CHECK(ht_arena_used() - before <= 16 * (size_t)MANY + 80 * 1024);
    for (uint32_t i = 1; i <= MANY; i++)
        CHECK_EQ(*ht_locations_function(&locations, i), 0);
    ht_locations_free(&locations);
    CHECK_EQ(ht_arena_used(), before);
}

TEST(locations_when_there_are_none)
{
    CHECK_EQ(ht_locations_sort(&locations), 0);
    ht_locations_free(&locations);
    CHECK_EQ(ht_locations_add(&locations, 0), 1);
    CHECK_EQ(ht_locations_sort(&locations), 0);
    CHECK_EQ(locations.by_pc[0], 1);
    ht_locations_free(&locations);
}

TEST(locations_without_memory)
{
    size_t before = ht_arena_used();
    for (unsigned long fail = 1; fail < 12; fail++) {
        ht_arena_fail_from(fail);
        uint32_t i = 1;
        while (i <= MANY && ht_locations_add(&locations, pc_of(i)) == i)
            i++;
        CHECK(i <= MANY);
        CHECK_EQ(locations.count, i - 1);
        CHECK(ht_locations_add(&locations, pc_of(i)) == 0);
        CHECK_EQ(ht_locations_sort(&locations), -ENOMEM);
        ht_arena_fail_from(0);
        ht_locations_free(&locations);
        CHECK_EQ(ht_arena_used(), before);
    }
}
