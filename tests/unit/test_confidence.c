#include "report/confidence.h"

#include <math.h>

#include "test.h"

TEST(roots_are_those_of_libm)
{
    for (double x = 1e-300; x < 1e300; x *= 1.7)
        CHECK(fabs(ht_confidence_sqrt(x) / sqrt(x) - 1) < 1e-15);
    CHECK(ht_confidence_sqrt(0) == 0);
}

TEST(what_is_exact_has_no_error)
{
    struct ht_range range = ht_confidence_range(12, 0, 0);
    CHECK(range.low == 12 && range.high == 12);
    range = ht_confidence_range(0, 0, 0);
    CHECK(range.low == 0 && range.high == 0);
}

/* Both ends are truths that the estimate is 1.96 of their own standard deviations away from. */
TEST(ends_fit_the_estimate)
{
    for (double samples = 1; samples < 1e6; samples *= 3) {
        double unit = 524288, value = samples * unit, variance = samples * unit * unit;
        struct ht_range range = ht_confidence_range(value, variance, 0);
        CHECK(range.low > 0 && range.low < value && range.high > value);
        CHECK(fabs((value - range.low) / sqrt(range.low * unit) / HT_CONFIDENCE_Z - 1) < 1e-9);
        CHECK(fabs((range.high - value) / sqrt(range.high * unit) / HT_CONFIDENCE_Z - 1) < 1e-9);
    }
}

/* Nothing is known of what was not seen: as if there were no sample, whose mean may be 3.84. */
TEST(what_was_recorded_exactly_may_have_gone_on_unseen)
{
    struct ht_range range = ht_confidence_range(7000, 0, 1000);
    CHECK(range.low == 7000);
    CHECK(fabs(range.high - 7000 - 1000 * HT_CONFIDENCE_Z * HT_CONFIDENCE_Z) < 1e-6);
    range = ht_confidence_range(0, 0, 1000);
    CHECK(range.low == 0 && fabs(range.high - 3841) < 1);
    struct ht_range usual = ht_confidence_range(7000, 7000 * 2000.0, 0);
    range = ht_confidence_range(7000, 7000 * 2000.0, 1000);
    CHECK(range.low == usual.low && range.high == usual.high);
}

/* The number of samples is nearly Poisson-distributed for small blocks: how often the interval
 * covers its mean is a sum, without chance. */
TEST(covers_the_truth_in_95_of_100_cases)
{
    double sum = 0;
    int means = 0;
    for (double mean = 8; mean < 200; mean += 0.37, means++) {
        double covered = 0, probability = exp(-mean);
        for (int n = 0; n < 500; n++) {
            struct ht_range range = ht_confidence_range(n, n, 0);
            if (range.low <= mean && mean <= range.high)
                covered += probability;
            probability *= mean / (n + 1);
        }
        CHECK(covered > 0.93 && covered < 0.975);
        sum += covered;
    }
    CHECK(sum / means > 0.945 && sum / means < 0.955);
}
