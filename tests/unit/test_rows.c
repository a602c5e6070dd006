#include "../../tools/rows.h"

#include "test.h"

#define FRAMES  6
#define SAMPLES 2000
#define DEPTH   8

static struct frames frames;
static uint32_t frame_ids[FRAMES];
static uint32_t stacks[SAMPLES][DEPTH];
static struct profile_sample samples[SAMPLES];
static struct profile profile = {.name = "test", .samples = samples, .sample_count = SAMPLES};

/* Six frames of three functions; stacks of 0 to 8 of them. */
static void make(unsigned seed)
{
    static const char *const functions[] = {"a", "b", "c"};
    frames = frames_empty();
    for (unsigned i = 0; i < FRAMES; i++)
        frame_ids[i] = frames_find(&frames, functions[i / 2], "x.c", i, "prog");
    srandom(seed);
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct profile_sample *sample = &samples[i];
        *sample = (struct profile_sample){.frames = stacks[i],
                                          .frame_count = (uint32_t)random() % (DEPTH + 1)};
        for (unsigned k = 0; k < sample->frame_count; k++)
            stacks[i][k] = frame_ids[random() % FRAMES];
        for (int k = 0; k < PROFILE_COLUMNS; k++) {
            sample->values[k] = random() % 1000;
            sample->variances[k] = (double)(random() % 1000);
        }
    }
}

static bool is_in(enum rows_by by, const struct profile_sample *sample, uint32_t i, uint32_t key)
{
    uint32_t frame = sample->frames[i];
    return by == ROWS_BY_FUNCTION ? frames.all[frame].function_id == key : frame == key;
}

static void check_row(const struct rows *rows, const struct row *row)
{
    struct sums flat = {0}, cum = {0};
    for (size_t i = 0; i < SAMPLES; i++) {
        const struct profile_sample *sample = &samples[i];
        bool holds = false;
        for (uint32_t k = 0; k < sample->frame_count; k++)
            holds = holds || is_in(rows->by, sample, k, row->key);
        if (holds)
            sums_add(&cum, sample->values, sample->variances);
        if (holds && is_in(rows->by, sample, 0, row->key))
            sums_add(&flat, sample->values, sample->variances);
    }
    CHECK(memcmp(&flat, &row->flat[1], sizeof(flat)) == 0);
    CHECK(memcmp(&cum, &row->cum[1], sizeof(cum)) == 0);
    CHECK_EQ(row->flat[0].values[0], 0);
}

TEST(functions_and_lines)
{
    make(1);
    for (enum rows_by by = ROWS_BY_FUNCTION; by <= ROWS_BY_LINE; by++) {
        struct rows rows = {.by = by, .frames = &frames};
        unsigned known = 0;
        CHECK(rows_add(&rows, &profile, 1));
        for (size_t i = 0; i < rows.count; i++) {
            if (strcmp(rows_name(&rows, &rows.all[i]), "[no stack]") == 0)
                continue;
            known++;
            check_row(&rows, &rows.all[i]);
        }
        CHECK_EQ(known, by == ROWS_BY_FUNCTION ? 3 : 6);
        CHECK_EQ(rows.count, known + 1);
        rows_free(&rows);
    }
    frames_free(&frames);
}

TEST(whole_stacks)
{
    make(2);
    struct rows rows = {.by = ROWS_BY_STACK, .frames = &frames};
    CHECK(rows_add(&rows, &profile, 0) && rows_add(&rows, &profile, 1));
    struct sums total = {0};
    for (size_t i = 0; i < rows.count; i++) {
        const struct row *row = &rows.all[i];
        struct sums flat = {0};
        for (size_t k = 0; k < SAMPLES; k++) {
            if (samples[k].frame_count == row->stack_count &&
                memcmp(stacks[k], row->stack, row->stack_count * sizeof(uint32_t)) == 0)
                sums_add(&flat, samples[k].values, samples[k].variances);
        }
        if (row->stack[0] != rows.no_stack)
            CHECK(memcmp(&flat, &row->flat[0], sizeof(flat)) == 0);
        CHECK(memcmp(&row->flat[0], &row->flat[1], sizeof(flat)) == 0);
        CHECK(memcmp(&row->flat[0], &row->cum[0], sizeof(flat)) == 0);
        sums_add(&total, row->flat[0].values, row->flat[0].variances);
    }
    CHECK(memcmp(&total, &rows.total[0], sizeof(total)) == 0);
    rows_free(&rows);
    frames_free(&frames);
}

TEST(frames_have_one_number)
{
    frames = frames_empty();
    uint32_t first = frames_find(&frames, "f", "a.c", 1, "x");
    CHECK_EQ(frames_find(&frames, "f", "a.c", 1, "y"), first);
    CHECK_STR_EQ(frames.all[first].mapping, "x");
    CHECK(frames_find(&frames, "f", "a.c", 2, "x") != first);
    CHECK(frames_find(&frames, "f", "b.c", 1, "x") != first);
    CHECK(frames_find(&frames, "g", "a.c", 1, "x") != first);
    char name[16];
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "f%d", i % 10000);
        uint32_t id = frames_find(&frames, name, "", i % 10000, "");
        CHECK_STR_EQ(frames.all[id].function, name);
        CHECK_STR_EQ(frames_name(&frames, frames.all[id].function_id), name);
    }
    CHECK_EQ(frames.count, 10004);
    frames_free(&frames);
}
