#include "../../tools/change.h"

#include <math.h>

#include "sys/compiler.h"
#include "test.h"

#define MANY 1000 /* objects that a sample stands for: none of them is as large as the interval */

static struct change change_in(enum change_kind kind, double old_value, double old_variance,
                               double new_value, double new_variance)
{
    struct change_side old = {old_value, old_variance, MANY * old_value};
    struct change_side new = {new_value, new_variance, MANY * new_value};
    return change_of(kind, &old, &new);
}

static double chance_of(double mean, int count)
{
    return exp(count * log(mean) - mean - lgamma(count + 1));
}

/* How likely an outcome is that `says` yes to, when both processes have so many samples on
 * average, each of which stands for one. Summed over all outcomes, so there are no odds here. */
static double chance_that(double old_mean, double new_mean,
                          bool (*says)(const struct change *, double truth))
{
    double sum = 0;
    int end = (int)(fmax(old_mean, new_mean) + 12 * sqrt(fmax(old_mean, new_mean)) + 12);
    for (int a = 0; a < end; a++) {
        for (int b = 0; b < end; b++) {
            struct change change = change_in(CHANGE_INDEPENDENT, a, a, b, b);
            if (says(&change, new_mean - old_mean))
                sum += chance_of(old_mean, a) * chance_of(new_mean, b);
        }
    }
    return sum;
}

static bool is_significant(const struct change *change, double truth)
{
    (void)truth;
    return change_chance(change) <= 0.05;
}

static bool has_truth(const struct change *change, double truth)
{
    return change->range.low <= truth && truth <= change->range.high;
}

TEST(nothing_changed)
{
    static const double means[] = {0.5, 2, 3, 5, 8, 12, 20, 50, 120};
    for (size_t i = 0; i < HT_ARRAY_SIZE(means); i++) {
        double chance = chance_that(means[i], means[i], is_significant);
        printf("  false alarms at %g samples: %.4f\n", means[i], chance);
        CHECK(chance <= 0.05);
        CHECK(means[i] < 12 || chance >= 0.02); /* and not blind for that */
    }
}

TEST(ranges_have_the_truth)
{
    static const double means[][2] = {{4, 4}, {8, 8}, {3, 12}, {12, 3}, {20, 40}, {100, 50}};
    for (size_t i = 0; i < HT_ARRAY_SIZE(means); i++) {
        double chance = chance_that(means[i][0], means[i][1], has_truth);
        printf("  covered at %g and %g samples: %.4f\n", means[i][0], means[i][1], chance);
        CHECK(chance >= 0.93 && chance <= 0.99);
    }
}

TEST(doubled)
{
    CHECK(chance_that(50, 100, is_significant) > 0.95);
    CHECK(chance_that(10, 20, is_significant) < 0.5);
}

/* What is seen of blocks of size 1, each of which is sampled with the chance p: n of them. */
static struct change_side seen(int n, double p)
{
    return (struct change_side){n / p, n * (1 - p) / (p * p), n / p};
}

/* Two processes with as many large blocks. */
static double false_alarms(int blocks, double p)
{
    double sum = 0;
    for (int a = 0; a <= blocks; a++) {
        for (int b = 0; b <= blocks; b++) {
            struct change_side old = seen(a, p), new = seen(b, p);
            struct change change = change_of(CHANGE_INDEPENDENT, &old, &new);
            double chance = 1;
            for (int i = 0; i < blocks; i++) {
                chance *= i < a ? p * (blocks - i) / (a - i) : 1 - p;
                chance *= i < b ? p * (blocks - i) / (b - i) : 1 - p;
            }
            if (a != b && change_chance(&change) <= 0.05)
                sum += chance;
        }
    }
    return sum;
}

TEST(large_blocks)
{
    static const double chances[] = {0.3, 0.5, 0.63, 0.8, 0.9, 0.95, 0.98, 0.99};
    double worst = 0;
    for (size_t i = 0; i < HT_ARRAY_SIZE(chances); i++) {
        for (int blocks = 1; blocks <= 40; blocks++) {
            double alarms = false_alarms(blocks, chances[i]);
            if (alarms > 0.05)
                printf("  %d blocks, p = %g: %.4f\n", blocks, chances[i], alarms);
            worst = fmax(worst, alarms);
        }
    }
    printf("  false alarms at worst: %.4f\n", worst);
    CHECK(worst <= 0.05);
    /* One that is never missed is a change. */
    struct change_side none = {0}, one = seen(1, 0.999);
    struct change change = change_of(CHANGE_INDEPENDENT, &none, &one);
    CHECK(!change.is_few && change_chance(&change) < 0.05);
    one = seen(1, 0.9); /* and one that may be is none */
    change = change_of(CHANGE_INDEPENDENT, &none, &one);
    CHECK(change_chance(&change) > 0.05 && change.range.low < 0.2);
}

TEST(few_samples)
{
    /* None and five, in samples of 64 KiB. */
    double weight = 65536;
    struct change change = change_in(CHANGE_INDEPENDENT, 0, 0, 5 * weight, 5 * weight * weight);
    CHECK(change.is_few && change_chance(&change) == 1);
    CHECK(change.range.low < 0.6 * 5 * weight && change.range.high > 1.5 * 5 * weight);
    change = change_in(CHANGE_INDEPENDENT, 0, 0, 6 * weight, 6 * weight * weight);
    CHECK(!change.is_few && fabs(change.z - 5 / sqrt(6)) < 1e-9);
    /* Some may have been there before, too. */
    CHECK(change.range.low < weight);
    change = change_in(CHANGE_INDEPENDENT, 6 * weight, 6 * weight * weight, 0, 0);
    CHECK(fabs(change.z + 5 / sqrt(6)) < 1e-9);
}

TEST(exact_ones)
{
    struct change change = change_in(CHANGE_INDEPENDENT, 100, 0, 130, 0);
    CHECK(change.value == 30 && change.variance == 0 && isinf(change.z) && change.z > 0);
    CHECK(change.range.low == 30 && change.range.high == 30 && !change.is_few);
    CHECK(change_chance(&change) == 0);
    change = change_in(CHANGE_INDEPENDENT, 130, 0, 100, 0);
    CHECK(isinf(change.z) && change.z < 0);
    change = change_in(CHANGE_INDEPENDENT, 100, 0, 100, 0);
    CHECK(change.z == 0 && change.value == 0 && change_chance(&change) == 1);
    /* One of them is: all that is unsure is the other. */
    change = change_in(CHANGE_INDEPENDENT, 1000, 0, 100, 100);
    CHECK(change.samples == 100 && fabs(change.z + 899.0 / 10) < 1e-9);
}

TEST(what_only_grows)
{
    struct change change = change_in(CHANGE_OF_INCREASE, 1000, 1000, 1100, 1100);
    CHECK(change.value == 100 && change.variance == 100 && change.z == 10);
    struct ht_range range = ht_confidence_range(100, 100, 0);
    CHECK(change.range.low == range.low && change.range.high == range.high);
    /* Floats are not to the last digit. */
    change = change_in(CHANGE_OF_INCREASE, 1000, 1000.1, 1000, 1000);
    CHECK(change.variance == 0 && change.z == 0);
}

TEST(the_same_profile)
{
    struct change change = change_in(CHANGE_OF_NOTHING, 1000, 1000, 1000, 1000);
    CHECK(change.value == 0 && change.variance == 0 && change.z == 0);
}

TEST(many_rows)
{
    /* The example of Benjamini and Hochberg's paper. */
    double chances[] = {0.0459, 0.0001, 0.3240, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278,
                        0.0298, 0.0344, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
    CHECK(change_limit(chances, HT_ARRAY_SIZE(chances)) == 0.0095);
    double none[] = {0.06, 0.9, 0.03, 0.5};
    CHECK(change_limit(none, HT_ARRAY_SIZE(none)) < 0);
    double one[] = {0.04};
    CHECK(change_limit(one, 1) == 0.04);
    CHECK(change_limit(one, 0) < 0);
}
