#include "test.h"

#include "sys/arena.h"

TEST(arena_gives_zeroed_aligned_memory)
{
    char *last = NULL;
    for (size_t size = 1; size < 3000; size += 37) {
        char *block = ht_arena_alloc(size);
        CHECK(block != NULL && block != last);
        CHECK_EQ((uintptr_t)block % 16, 0);
        for (size_t i = 0; i < size; i++)
            CHECK_EQ(block[i], 0);
        memset(block, 0xff, size);
        last = block;
    }
}

TEST(arena_counts_what_is_mapped)
{
    size_t before = ht_arena_used();
    char *pages = ht_arena_map(5000);
    CHECK(pages != NULL);
    CHECK_EQ(ht_arena_used(), before + 8192);
    CHECK(ht_arena_peak() >= before + 8192);
    pages[4999] = 1;
    ht_arena_unmap(pages, 5000);
    CHECK_EQ(ht_arena_used(), before);
    ht_arena_unmap(NULL, 4096);
    CHECK_EQ(ht_arena_used(), before);
}

struct found {
    uintptr_t wanted;
    size_t size;
};

static void find(uintptr_t address, size_t size, void *found_)
{
    struct found *found = found_;
    if (address == found->wanted)
        found->size += size;
}

static size_t told_of(void *pages)
{
    struct found found = {.wanted = (uintptr_t)pages};
    ht_arena_each(find, &found);
    return found.size;
}

TEST(arena_tells_of_each_range)
{
    void *pages[HT_ARENA_RANGES + 10];
    for (unsigned i = 0; i < HT_ARRAY_SIZE(pages); i++)
        pages[i] = ht_arena_map(4096);
    CHECK_EQ(told_of(pages[0]), 4096);
    CHECK_EQ(told_of(pages[HT_ARRAY_SIZE(pages) - 1]), 0); /* too many */
    for (unsigned i = 0; i < HT_ARRAY_SIZE(pages); i++)
        ht_arena_unmap(pages[i], 4096);
    CHECK_EQ(told_of(pages[0]), 0);
    void *again = ht_arena_map(10000);
    CHECK_EQ(told_of(again), 12288);
    ht_arena_unmap(again, 10000);
}

TEST(arena_retired_pages_read_as_zero)
{
    size_t before = ht_arena_used();
    char *pages = ht_arena_map_table(8192);
    memset(pages, 7, 8192);
    ht_arena_retire(pages, 8192);
    CHECK_EQ(ht_arena_used(), before);
    CHECK_EQ(pages[0], 0);
    CHECK_EQ(pages[8191], 0);
}

TEST(arena_keeps_its_limit_and_a_reserve_for_dumps)
{
    size_t megabyte = 1 << 20;
    ht_arena_set_limit(ht_arena_used() + 4 * megabyte);
    CHECK(ht_arena_map_table(3 * megabyte) == NULL);
    CHECK(ht_arena_map(5 * megabyte) == NULL);
    void *table = ht_arena_map_table(megabyte);
    CHECK(table != NULL);
    void *dump = ht_arena_map(2 * megabyte);
    CHECK(dump != NULL);
    ht_arena_unmap(dump, 2 * megabyte);
    ht_arena_unmap(table, megabyte);
    ht_arena_set_limit(64 * megabyte);
}

TEST(arena_fails_from_the_nth_request_on)
{
    ht_arena_fail_from(3);
    void *first = ht_arena_map(4096);
    CHECK(first != NULL);
    CHECK(ht_arena_alloc(16) != NULL);
    CHECK(ht_arena_map(4096) == NULL);
    CHECK(ht_arena_alloc(16) == NULL);
    ht_arena_fail_from(0);
    CHECK(ht_arena_alloc(16) != NULL);
    ht_arena_unmap(first, 4096);
}
