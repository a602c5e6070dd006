#include "../../tools/churn.h"

#include "test.h"

#define WITHIN 2 /* 1ms */

/* Frames 0, 1, 2 ... are the functions f0, f1, f2 ...: the stack of every sample below. */
static struct frames frames;
static const uint32_t stack[] = {0, 1, 2, 3, 4};

static void make_frames(void)
{
    if (frames.count > 0)
        return;
    frames = frames_empty();
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof(name), "f%d", i);
        frames_find(&frames, name, "", 0, "");
    }
}

/* `parting`: the frame below which both are, 0 being the function that allocates. */
static void add(struct churn_row *row, int64_t objects, int64_t size, const char *lifetime,
                const char *freed_by, uint32_t parting)
{
    struct profile_label labels[] = {{"lifetime", lifetime, 0, ""}, {"freed_by", freed_by, 0, ""}};
    struct profile_sample sample = {
        .frames = stack,
        .frame_count = HT_ARRAY_SIZE(stack),
        .labels = labels,
        .label_count = freed_by ? 2 : 1,
        .values = {objects, objects * size, freed_by ? 0 : objects, freed_by ? 0 : objects * size},
        .freed_index = parting,
        .freed_frame = freed_by ? 4 : FRAMES_NONE,
        .is_freed_by_same = true,
    };
    make_frames();
    churn_add(row, &sample, &frames, WITHIN);
}

TEST(buckets)
{
    CHECK_EQ(churn_bucket("<10us"), 0);
    CHECK_EQ(churn_bucket("<1ms"), WITHIN);
    CHECK_EQ(churn_bucket("<1000s"), 8);
    CHECK_EQ(churn_bucket(">=1000s"), 9);
    CHECK_EQ(churn_bucket("1ms"), CHURN_BUCKETS);
    CHECK_EQ(churn_bucket(""), CHURN_BUCKETS);
    CHECK_STR_EQ(churn_bound(8), "1000s");
    CHECK(churn_bound(9) == NULL);
}

TEST(sums)
{
    struct churn_row row = {0};
    add(&row, 30, 100, "<10us", "same thread", 0);
    add(&row, 20, 300, "<1s", "other thread", 3);
    add(&row, 50, 100, "<100s", NULL, 0);
    CHECK(row.objects == 100 && row.bytes == 14000);
    CHECK(row.freed == 50 && row.within == 30 && row.freed_bytes_within == 3000);
    CHECK(row.same_thread == 30 && row.other_thread == 20);
    CHECK(row.same_function == 30 && row.close_caller == 30);
    CHECK_EQ(churn_median(&row), 5);
    CHECK_STR_EQ(frames_name(&frames, churn_common(&row)->function_id), "f0");
    add(&row, 1, 100, "<100s", NULL, 0);
    CHECK_EQ(churn_median(&row), CHURN_BUCKETS);
    free(row.partings);
}

/* Where the functions differ, both are below the next caller. */
TEST(parting_of_two_functions)
{
    struct churn_row row = {0};
    struct profile_label label = {"lifetime", "<10us", 0, ""};
    struct profile_sample sample = {.frames = stack,
                                    .frame_count = 2,
                                    .labels = &label,
                                    .label_count = 1,
                                    .values = {1, 1, 0, 0},
                                    .freed_index = 0,
                                    .freed_frame = 3};
    make_frames();
    churn_add(&row, &sample, &frames, WITHIN);
    CHECK(row.same_function == 0 && row.close_caller == 1);
    CHECK_STR_EQ(frames_name(&frames, churn_common(&row)->function_id), "f1");
    sample.freed_index = 1; /* at the root: there is none */
    churn_add(&row, &sample, &frames, WITHIN);
    CHECK_EQ(row.parting_count, 1);
    free(row.partings);
}

static const char *candidate(int64_t objects, int64_t size, int64_t other_size,
                             const char *lifetime, const char *freed_by, uint32_t parting)
{
    struct churn_row row = {0};
    add(&row, objects / 2, size, lifetime, freed_by, parting);
    add(&row, objects / 2, other_size, lifetime, freed_by, parting);
    const char *result = churn_candidate(&row);
    free(row.partings);
    return result;
}

TEST(candidates)
{
    CHECK_STR_EQ(candidate(100, 64, 64, "<10us", "same thread", 0), "stack");
    CHECK_STR_EQ(candidate(100, 2000, 2000, "<10us", "same thread", 0), "");
    CHECK_STR_EQ(candidate(2000, 2000, 2000, "<10us", "same thread", 0), "reuse buffer");
    CHECK_STR_EQ(candidate(2000, 64, 5000, "<10us", "same thread", 2), "reuse buffer");
    CHECK_STR_EQ(candidate(2000, 64, 5000, "<10us", "same thread", 3), "");
    CHECK_STR_EQ(candidate(2000, 64, 64, "<10us", "same thread", 3), "pool");
    CHECK_STR_EQ(candidate(2000, 64, 64, "<1ms", "other thread", 3), "pool");
    CHECK_STR_EQ(candidate(2000, 64, 5000, "<1ms", "other thread", 3), "");
    CHECK_STR_EQ(candidate(2000, 64, 64, "<10ms", "other thread", 3), "");
    CHECK_STR_EQ(candidate(2000, 64, 64, "<10us", NULL, 0), "");
    CHECK_STR_EQ(candidate(8, 64, 64, "<10us", "same thread", 0), "?");
}

TEST(too_few_samples)
{
    struct churn_row row = {0};
    add(&row, 5000, 64, "<10us", "same thread", 0);
    row.objects_variance = 5000.0 * 5000 / (CHURN_SAMPLES_MIN + 0.1);
    CHECK_STR_EQ(churn_candidate(&row), "stack");
    row.objects_variance = 5000.0 * 5000 / (CHURN_SAMPLES_MIN - 0.1);
    CHECK_STR_EQ(churn_candidate(&row), "?");
    free(row.partings);
}
