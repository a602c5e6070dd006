#include "test.h"

#include "hook.h"
#include "sys/arena.h"

#define BLOCKS 400000u

static void sample_and_free(uint64_t interval, unsigned blocks, unsigned from, size_t a_block,
                            size_t chunk)
{
    ht_arena_set_limit((size_t)1 << 30);
    CHECK_EQ(ht_sampler_set_interval(interval), 0);
    memset(&ht_thread, 0, sizeof(ht_thread));
    hook_malloc(0x600000000000, 1 << 20, 0); /* sampled for sure */
    size_t before = ht_arena_used(), most = 0;
    for (uintptr_t i = 1; i <= blocks; i++) {
        hook_malloc(0x600000000000 + i * 2048, 1 << 20, 0);
        size_t used = ht_arena_used() - before;
        used -= ht_min(used, chunk);
        if (i >= from)
            most = ht_max(most, used * 16 / i);
    }
    printf("  at most %.1f bytes a live sample\n", (double)most / 16);
    CHECK_EQ(ht_live_count(), blocks + 1);
    CHECK(most <= a_block * 16);
    for (uintptr_t i = 0; i <= blocks; i++)
        hook_free(0x600000000000 + i * 2048);
    CHECK_EQ(ht_live_count(), 0);
}

/* Just after each growth of the table, too: addresses are the same each time, so it is the same on
 * every machine. Below 10,000 the first pages of 64 stripes count, 256 KiB in all, and a chunk of
 * the arena may have been begun. */
TEST(memory_of_a_live_sample)
{
    sample_and_free(4096, BLOCKS, 10000, 48, 256 * 1024);
}

/* What has been freed leaves its room to others. */
TEST(memory_is_used_again)
{
    size_t before = ht_arena_used();
    sample_and_free(4096, BLOCKS, 1, 0, 0);
    CHECK_EQ(ht_arena_used(), before);
}
