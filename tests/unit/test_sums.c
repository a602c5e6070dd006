#include "../../tools/sums.h"

#include <math.h>

#include "test.h"

static const char *value(enum profile_column column, double number)
{
    static char text[SUMS_TEXT_SIZE];
    sums_value_text(text, sums_unit(column, number), number, false);
    return text;
}

TEST(values)
{
    CHECK_STR_EQ(value(PROFILE_INUSE_SPACE, 0), "0");
    CHECK_STR_EQ(value(PROFILE_INUSE_SPACE, 1023), "1023 B");
    CHECK_STR_EQ(value(PROFILE_INUSE_SPACE, 1024), "1.00 KiB");
    CHECK_STR_EQ(value(PROFILE_ALLOC_SPACE, 1023.96 * 1024), "1.00 MiB");
    CHECK_STR_EQ(value(PROFILE_ALLOC_SPACE, -1536), "-1.50 KiB");
    CHECK_STR_EQ(value(PROFILE_ALLOC_SPACE, 0x1p63), "8.00 EiB");
    CHECK_STR_EQ(value(PROFILE_ALLOC_SPACE, 10240), "10.0 KiB");
    CHECK_STR_EQ(value(PROFILE_ALLOC_OBJECTS, 999999), "999999");
    CHECK_STR_EQ(value(PROFILE_ALLOC_OBJECTS, 1000000), "1.00 M");
    CHECK_STR_EQ(value(PROFILE_INUSE_OBJECTS, 12345678901.0), "12.3 G");
    char text[SUMS_TEXT_SIZE];
    sums_value_text(text, sums_unit(PROFILE_INUSE_SPACE, 2048), 2048, true);
    CHECK_STR_EQ(text, "+2.00 KiB");
}

static const char *error(double magnitude, double below, double above)
{
    static char text[SUMS_TEXT_SIZE];
    sums_error_text(text, sums_unit(PROFILE_INUSE_SPACE, magnitude), below, above, "+-");
    return text;
}

TEST(errors)
{
    CHECK_STR_EQ(error(2048, 0, 0), "");
    CHECK_STR_EQ(error(2048, 512, 512), "+-0.50");
    CHECK_STR_EQ(error(2048, 1000, 1024), "+-1.00");    /* alike, to a tenth */
    CHECK_STR_EQ(error(204800, 9216, 10240), "+-10.0"); /* and the larger one counts */
    CHECK_STR_EQ(error(204800, 9216, 20480), "-9.0 +20.0");
    CHECK_STR_EQ(error(2048, 5, 5), "+-<0.01");
    CHECK_STR_EQ(error(2048, 0, 1024), "-0.00 +1.00");
    CHECK_STR_EQ(error(100, 12.4, 25), "-12 +25");
}

TEST(adding)
{
    struct sums sums = {0};
    const int64_t values[] = {1, 2, INT64_MAX, INT64_MIN};
    const double variances[] = {1, 0, 2.5, 3};
    sums_add(&sums, values, variances);
    sums_add(&sums, values, variances);
    CHECK_EQ(sums.values[0], 2);
    CHECK_EQ(sums.values[2], INT64_MAX);
    CHECK_EQ(sums.values[3], INT64_MIN);
    CHECK(sums.variances[0] == 2 && sums.variances[1] == 0 && sums.variances[2] == 5);
    struct ht_range range = sums_range(&sums, PROFILE_ALLOC_SPACE, 0);
    CHECK(range.low == 4 && range.high == 4);
    CHECK(sums_samples(0, 0) == 0 && isinf(sums_samples(1, 0)) && sums_samples(30, 90) == 10);
}

/* 1,000 objects of 100 bytes that were recorded exactly, in a profile that is sampled at 1 MiB by
 * now: up to 3.84 samples may be missing. */
TEST(what_was_exact_may_have_gone_on)
{
    const struct sums total = {.values = {1000, 1 << 30, 10, 1000},
                               .variances = {0, (double)(1 << 30) * (1 << 20), 0, 0}};
    const struct sums row = {.values = {1000, 100000, 1000, 100000}};
    double interval = sums_interval(&total);
    CHECK(interval == 1 << 20);
    struct ht_range range = sums_range(&row, PROFILE_INUSE_SPACE, interval);
    CHECK(fabs(range.low - 100000) < 1);
    CHECK(fabs((range.high - 100000) / (3.8415 * (1 << 20)) - 1) < 1e-3);
    range = sums_range(&row, PROFILE_INUSE_OBJECTS, interval);
    CHECK(fabs(range.low - 1000) < 0.01);
    CHECK(fabs((range.high - 1000) / (3.8415 * (1 << 20) / 100) - 1) < 1e-3);
    /* What is not sampled at all has no such doubt, nor have blocks that are always seen. */
    range = sums_range(&row, PROFILE_INUSE_SPACE, 0);
    CHECK(range.high == 100000);
    const struct sums large = {.values = {0, 0, 3, 300 << 20}};
    range = sums_range(&large, PROFILE_INUSE_SPACE, interval);
    CHECK(range.high - range.low < 1);
}
