#include "test.h"

#include "sample/frames.h"
#include "intern.h"
#include "sys/arena.h"

#define DEPTH 12

static void make_stack(uint64_t n, uintptr_t *pcs)
{
    for (unsigned i = 0; i < DEPTH; i++)
        pcs[i] = 0x400000 + (n >> i) * 7 + i;
}

static struct ht_weight one(size_t size)
{
    return (struct ht_weight){1 << HT_OBJECTS_SHIFT, (uint64_t)size << HT_BYTES_SHIFT, 0, 0};
}

TEST(stacks_same_stack_same_site)
{
    uintptr_t pcs[DEPTH];
    make_stack(1, pcs);
    ht_site site = intern(pcs, DEPTH, 100);
    CHECK(site != HT_SITE_OVERFLOW);
    CHECK_EQ(intern(pcs, DEPTH, 64), site);     /* the same power of two */
    CHECK(intern(pcs, DEPTH, 128) != site);     /* another */
    CHECK(intern(pcs, DEPTH - 1, 100) != site); /* another depth */
    CHECK_EQ(ht_stacks_total(), 2);
}

TEST(stacks_huge_blocks_keep_the_high_half_of_their_size)
{
    uintptr_t pcs[DEPTH];
    make_stack(1, pcs);
    ht_site small = intern(pcs, DEPTH, UINT32_MAX);
    ht_site huge = intern(pcs, DEPTH, (size_t)5 << 32 | 17);
    CHECK(small != huge);
    CHECK_EQ(ht_stacks_size_high(small), 0);
    CHECK_EQ(ht_stacks_size_high(huge), 5);
}

struct sums {
    uint64_t sites, alloc_objects, alloc_bytes, free_objects, free_bytes, depth;
};

static int add_up(void *context, const struct ht_site_view *site)
{
    struct sums *sums = context;
    sums->sites++;
    sums->alloc_objects += site->counts.alloc_objects >> HT_OBJECTS_SHIFT;
    sums->alloc_bytes += site->counts.alloc_bytes >> HT_BYTES_SHIFT;
    sums->free_objects += site->counts.free_objects >> HT_OBJECTS_SHIFT;
    sums->free_bytes += site->counts.free_bytes >> HT_BYTES_SHIFT;
    return 0;
}

TEST(stacks_grow_and_count)
{
    uintptr_t pcs[DEPTH];
    const uint64_t n = 20000;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < n; i++) {
            make_stack(i + 100, pcs);
            ht_site site = intern(pcs, DEPTH, 48);
            ht_stacks_count_alloc(site, one(48));
            if (round == 1)
                ht_stacks_count_free(site, one(48));
        }
    }
    struct sums sums = {0};
    CHECK_EQ(ht_stacks_each(add_up, &sums), 0);
    CHECK_EQ(sums.alloc_objects, 2 * n);
    CHECK_EQ(sums.alloc_bytes, 2 * n * 48);
    CHECK_EQ(sums.free_objects, n);
    CHECK_EQ(sums.free_bytes, n * 48);
}

static int stop_at_once(void *context, const struct ht_site_view *site)
{
    (void)site;
    ++*(int *)context;
    return -7;
}

TEST(stacks_walk_stops_when_told)
{
    int calls = 0;
    CHECK_EQ(ht_stacks_each(stop_at_once, &calls), -7);
    CHECK_EQ(calls, 1);
}

#define THREADS 4
static ht_site found[THREADS][5000];

static void *intern_all(void *argument)
{
    ht_site *sites = argument;
    uintptr_t pcs[DEPTH];
    for (uint64_t i = 0; i < 5000; i++) {
        make_stack(i + 1000000, pcs);
        sites[i] = intern(pcs, DEPTH, 8);
        ht_stacks_count_alloc(sites[i], one(8));
    }
    return NULL;
}

TEST(stacks_threads_agree)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, intern_all, found[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 1; i < THREADS; i++)
        CHECK_EQ(memcmp(found[0], found[i], sizeof(found[0])), 0);
}

static int find_overflow(void *context, const struct ht_site_view *site)
{
    if (site->depth == 1 && site->pcs[0] == HT_PC_OVERFLOW)
        *(uint64_t *)context = site->counts.alloc_objects >> HT_OBJECTS_SHIFT;
    return 0;
}

TEST(stacks_overflow_when_memory_ends)
{
    uintptr_t pcs[DEPTH];
    uint64_t overflowed = 0, drops = 0, before = ht_stacks_total();
    const uint64_t n = 100000; /* more than there is room for by now */
    ht_arena_fail_from(1);
    for (uint64_t i = 0; i < n; i++) {
        make_stack(i * 4096 + 5000000, pcs);
        ht_site site = intern(pcs, DEPTH, 8);
        ht_stacks_count_alloc(site, one(8));
        drops += site == HT_SITE_OVERFLOW;
    }
    ht_arena_fail_from(0);
    CHECK(drops > n / 2);
    CHECK_EQ(ht_stacks_total(), before + n - drops);
    CHECK_EQ(ht_stacks_each(find_overflow, &overflowed), 0);
    CHECK_EQ(overflowed, drops);
    make_stack((n - 1) * 4096 + 5000000, pcs);
    CHECK(intern(pcs, DEPTH, 8) != HT_SITE_OVERFLOW); /* memory is back */
}
