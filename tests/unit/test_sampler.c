#include "test.h"

#include <errno.h>
#include <math.h>

#include "sample/sampler.h"

TEST(sampler_functions_agree_with_libm)
{
    for (double x = 1e-15; x < 700; x *= 1.01) {
        CHECK(fabs(ht_sampler_hit_probability(x) / -expm1(-x) - 1) < 1e-15);
        if (fabs(log(x)) > 1e-3)
            CHECK(fabs(ht_sampler_log(x) / log(x) - 1) < 1e-14);
    }
    CHECK(ht_sampler_log(1) == 0);
    CHECK(ht_sampler_log(0x1p-53) < -36.7);
}

/* Mean and standard deviation of an exponential are both the interval. With a million draws each is
 * within 0.5 % in all but one of 10 million seeds (5 standard errors of the mean); the seed is
 * fixed. */
TEST(sampler_draws_are_exponential)
{
    const uint64_t intervals[] = {100, 4096, 524288};
    for (size_t k = 0; k < HT_ARRAY_SIZE(intervals); k++) {
        CHECK_EQ(ht_sampler_set_interval(intervals[k]), 0);
        uint64_t random = 88172645463325252u + k;
        double sum = 0, squares = 0;
        const int n = 1000000;
        for (int i = 0; i < n; i++) {
            /* The draw is rounded down: half a byte less on average. */
            double draw = (double)ht_sampler_draw(ht_sampler_current(), &random) + 0.5;
            sum += draw;
            squares += draw * draw;
        }
        double mean = sum / n, deviation = sqrt(squares / n - mean * mean);
        CHECK(fabs(mean / (double)intervals[k] - 1) < 0.005);
        CHECK(fabs(deviation / (double)intervals[k] - 1) < 0.007);
    }
}

/* The estimator itself, on a stream of mixed sizes: 4 standard errors, one false alarm in 16,000
 * seeds; the seed is fixed. */
TEST(sampler_weights_are_unbiased)
{
    CHECK_EQ(ht_sampler_set_interval(4096), 0);
    const size_t sizes[] = {16, 1000, 4097, 100000};
    for (size_t k = 0; k < HT_ARRAY_SIZE(sizes); k++) {
        uint64_t random = 12345 + k;
        double p = ht_sampler_hit_probability((double)sizes[k] / 4096);
        double bytes = 0, objects = 0, objects_variance = 0, bytes_variance = 0;
        const int n = 400000;
        uint64_t left = ht_sampler_draw(ht_sampler_current(), &random);
        for (int i = 0; i < n; i++) {
            if (left >= sizes[k]) {
                left -= sizes[k];
                continue;
            }
            struct ht_weight weight = ht_sampler_weight(sizes[k], ht_sampler_current());
            bytes += (double)weight.bytes / (1 << HT_BYTES_SHIFT);
            objects += (double)weight.objects / (1 << HT_OBJECTS_SHIFT);
            objects_variance += weight.objects_variance;
            bytes_variance += weight.bytes_variance;
            left = ht_sampler_draw(ht_sampler_current(), &random);
        }
        double standard_error = sqrt(n * (1 - p) / p);
        CHECK(fabs(objects - n) <= 4 * standard_error + 1);
        CHECK(fabs(bytes / (double)sizes[k] - n) <= 4 * standard_error + 1);
        /* The estimated variance varies as the number of samples does. */
        double truth = standard_error * standard_error, sampled = n * p;
        CHECK(fabs(objects_variance / truth - 1) <= 4 / sqrt(sampled) + 1e-9);
        CHECK(fabs(bytes_variance / (truth * (double)sizes[k] * (double)sizes[k]) - 1) <=
              4 / sqrt(sampled) + 1e-9);
    }
}

TEST(sampler_interval_of_one_is_exact_and_zero_is_off)
{
    uint64_t random = 1;
    CHECK_EQ(ht_sampler_set_interval(1), 0);
    CHECK_EQ(ht_sampler_draw(ht_sampler_current(), &random), 0);
    struct ht_weight weight = ht_sampler_weight(24, ht_sampler_current());
    CHECK_EQ(weight.objects, 1 << HT_OBJECTS_SHIFT);
    CHECK_EQ(weight.bytes, 24 << HT_BYTES_SHIFT);
    CHECK_EQ(ht_sampler_set_interval(0), 0);
    CHECK_EQ(ht_sampler_current(), 0);
    CHECK_EQ(ht_sampler_draw(0, &random), 16 << 20);
}

TEST(sampler_seeds_repeat_and_differ)
{
    enum { SEEDS = 100 };
    uint64_t seeds[2][SEEDS];
    CHECK_EQ(ht_sampler_set_interval(4096), 0);
    ht_sampler_set_seed(42);
    uint64_t first = ht_sampler_seed();
    CHECK(first != ht_sampler_seed());
    ht_sampler_fork_prepare();
    for (int child = 0; child < 2; child++) {
        if (child == 1)
            ht_sampler_fork_child();
        for (int i = 0; i < SEEDS; i++)
            seeds[child][i] = ht_sampler_seed();
    }
    for (int i = 0; i < SEEDS; i++)
        for (int j = 0; j < SEEDS; j++)
            CHECK(seeds[0][i] != seeds[1][j] && seeds[0][i] != 0);
    ht_sampler_set_seed(0);
    CHECK(ht_sampler_seed() != first);
}

TEST(sampler_refuses_what_it_cannot_do)
{
    CHECK_EQ(ht_sampler_set_interval(HT_INTERVAL_MAX + 1), -EINVAL);
    CHECK_EQ(ht_sampler_set_interval(HT_INTERVAL_MAX), 0);
    ht_interval_id id = ht_sampler_current();
    CHECK_EQ(ht_sampler_set_interval(4096), 0);
    CHECK_EQ(ht_sampler_set_interval(HT_INTERVAL_MAX), 0);
    CHECK_EQ(ht_sampler_current(), id); /* the same value, the same id */
    int r = 0;
    for (uint64_t i = 0; i < 300 && r == 0; i++)
        r = ht_sampler_set_interval(1000000 + i);
    CHECK_EQ(r, -ENOSPC);
    CHECK_EQ(ht_sampler_set_interval(4096), 0);
    CHECK_EQ(ht_sampler_interval(), 4096);
}
