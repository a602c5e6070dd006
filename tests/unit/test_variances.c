#include "sample/variances.h"

#include <math.h>
#include <pthread.h>

#include "sys/arena.h"
#include "test.h"

TEST(variances_of_what_is_unknown_are_none)
{
    struct ht_variances variances = ht_variances_of(HT_SITES_MAX - 1);
    CHECK(variances.alloc_objects == 0 && variances.inuse_bytes == 0);
    ht_variances_add_free(HT_SITES_MAX - 1, &(struct ht_weight){1, 1, 1, 1});
    CHECK(ht_variances_of(HT_SITES_MAX - 1).inuse_objects == 0);
}

TEST(variances_add_up_and_go_again)
{
    CHECK_EQ(ht_sampler_set_interval(524288), 0);
    struct ht_weight small = ht_sampler_weight(16, ht_sampler_current());
    struct ht_weight large = ht_sampler_weight(4 << 20, ht_sampler_current());
    for (int i = 0; i < 1000; i++) {
        ht_variances_add_alloc(5, &small);
        ht_variances_add_alloc(1030, &large);
    }
    for (int i = 0; i < 999; i++) {
        ht_variances_add_free(5, &small);
        ht_variances_add_free(1030, &large);
    }
    struct ht_variances variances = ht_variances_of(5);
    CHECK(fabs(variances.alloc_objects / (1000 * small.objects_variance) - 1) < 1e-9);
    CHECK(fabs(variances.alloc_bytes / (1000 * small.bytes_variance) - 1) < 1e-9);
    CHECK(fabs(variances.inuse_objects / small.objects_variance - 1) < 1e-9);
    CHECK(fabs(variances.inuse_bytes / small.bytes_variance - 1) < 1e-9);
    variances = ht_variances_of(1030);
    CHECK(fabs(variances.alloc_bytes / (1000 * large.bytes_variance) - 1) < 1e-9);
    CHECK(ht_variances_of(6).alloc_objects == 0);
}

static void *add_many(void *unused)
{
    for (int i = 0; i < 50000; i++)
        ht_variances_add_alloc(2000, &(struct ht_weight){1, 1, 1, 2});
    return unused;
}

TEST(variances_of_two_threads)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, add_many, NULL), 0);
    add_many(NULL);
    pthread_join(thread, NULL);
    CHECK(ht_variances_of(2000).alloc_objects == 100000);
    CHECK(ht_variances_of(2000).inuse_bytes == 200000);
}

TEST(variances_without_memory_are_counted)
{
    ht_arena_fail_from(1);
    ht_variances_add_alloc(9000, &(struct ht_weight){1, 1, 1, 1});
    ht_arena_fail_from(0);
    CHECK_EQ(ht_variances_lost(), 1);
    CHECK(ht_variances_of(9000).alloc_objects == 0);
}
