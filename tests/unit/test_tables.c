#include "test.h"

#include "report/tables.h"
#include "intern.h"

static struct ht_sample found;
static unsigned count;

static int keep(void *context, const struct ht_sample *sample)
{
    (void)context;
    found = *sample;
    count++;
    return 0;
}

static int add_objects(void *context, const struct ht_sample *sample)
{
    *(int64_t *)context += sample->alloc_objects;
    return 0;
}

static void look_at_all(int64_t *ret_objects)
{
    struct ht_snapshot snapshot;
    ht_snapshot_of_tables(&snapshot);
    CHECK_EQ(snapshot.each_sample(&snapshot, add_objects, ret_objects), 0);
}

static void look(void)
{
    struct ht_snapshot snapshot;
    ht_snapshot_of_tables(&snapshot);
    count = 0;
    CHECK_EQ(snapshot.each_sample(&snapshot, keep, NULL), 0);
}

/* A block of 1,000 bytes at an interval of 1,000 stands for 1.58 blocks: its label is 1000, not
 * 1582 / 2. */
TEST(tables_label_is_the_size_of_a_block)
{
    uintptr_t pcs[] = {0x1000, 0x2000};
    CHECK_EQ(ht_sampler_set_interval(1000), 0);
    struct ht_weight weight = ht_sampler_weight(1000, ht_sampler_current());
    ht_site site = intern(pcs, 2, 1000);
    ht_stacks_count_alloc(site, weight);
    look();
    CHECK_EQ(count, 1);
    CHECK_EQ(found.depth, 2);
    CHECK_EQ(found.block_bytes, 1000);
    CHECK_EQ(found.inuse_objects, found.alloc_objects);
    ht_stacks_count_free(site, weight);
    look();
    CHECK_EQ(found.inuse_objects, 0);
    CHECK_EQ(found.inuse_bytes, 0);
    CHECK(found.alloc_bytes == 1581 || found.alloc_bytes == 1582);
}

TEST(tables_never_show_less_than_nothing)
{
    uintptr_t pcs[] = {0x1000, 0x2000};
    ht_site site = intern(pcs, 2, 1000);
    ht_stacks_count_free(site, ht_sampler_weight(1000, ht_sampler_current()));
    look();
    CHECK_EQ(found.inuse_objects, 0);
    CHECK_EQ(found.inuse_bytes, 0);
}

/* 1.58 blocks are 2 in 58 of 100 rows, else 1, and the same when looked at again. */
TEST(tables_round_up_as_often_as_the_fraction_says)
{
    enum { ROWS = 1000 };
    CHECK_EQ(ht_sampler_set_interval(1000), 0);
    struct ht_weight weight = ht_sampler_weight(1000, ht_sampler_current());
    int64_t sum = 0;
    for (uintptr_t i = 0; i < ROWS; i++) {
        uintptr_t pcs[] = {0x1000, 0x10000 + i};
        ht_stacks_count_alloc(intern(pcs, 2, 1000), weight);
    }
    look_at_all(&sum);
    CHECK(sum >= 1582 - 10 && sum <= 1582 + 10);
    int64_t again = 0;
    look_at_all(&again);
    CHECK_EQ(again, sum);
}
