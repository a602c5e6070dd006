#include "sample/pace.h"

#include <math.h>

#include "test.h"

/* A program that allocates at a steady rate, of which a look is taken every 10 ms, or 2. */
struct program {
    double blocks_a_second, block_bytes;
};

#define WINDOW       10e6
#define WINDOW_SHORT 2e6
#define SAMPLE_NANOS 500.0
#define EXACT_NANOS  130.0
#define BUDGET       0.01

static double spent_in(const struct program *program, uint64_t interval, double seconds)
{
    double blocks = program->blocks_a_second * seconds;
    if (interval == 1)
        return blocks * EXACT_NANOS;
    return blocks * (1 - exp(-program->block_bytes / (double)interval)) * SAMPLE_NANOS;
}

struct course {
    uint64_t interval;
    double spent, time;
    struct ht_pace pace;
};

static void go_on(struct course *course, const struct program *program, double seconds)
{
    double window;
    for (double t = 0; t < seconds; t += window * 1e-9) {
        window = course->interval < 65536 ? WINDOW_SHORT : WINDOW;
        double used = spent_in(program, course->interval, window * 1e-9);
        used = used < window ? used : window;
        course->spent += used;
        course->time += window;
        course->interval = ht_pace_next(&course->pace, course->interval, used, window, BUDGET);
        CHECK(course->interval == 1 || course->interval >= 256);
        CHECK(course->interval <= HT_PACE_MAX);
    }
}

static const struct program quiet = {1e4, 100}, usual = {2e6, 200}, busy = {2e7, 500},
                            large = {1e4, 1 << 20};

TEST(a_quiet_program_stays_exact)
{
    struct course course = {.interval = 1};
    go_on(&course, &quiet, 10);
    CHECK_EQ(course.interval, 1);
}

/* 10 GB/s: 512 KiB would be right. */
TEST(a_busy_program_settles)
{
    struct course course = {.interval = 1};
    go_on(&course, &busy, 60);
    CHECK(course.interval >= 512 << 10 && course.interval <= 2 << 20);
    CHECK(course.spent <= BUDGET * course.time);
    course = (struct course){.interval = 1};
    go_on(&course, &usual, 60);
    CHECK(course.interval >= 16 << 10 && course.interval <= 128 << 10);
    CHECK(course.spent <= BUDGET * course.time);
}

/* An interval that is too long is made shorter in half a second. */
TEST(it_comes_back_when_the_program_is_quiet)
{
    struct course course = {.interval = 1};
    go_on(&course, &busy, 60);
    go_on(&course, &quiet, 0.5);
    CHECK_EQ(course.interval, 1);
}

/* Steady rates end at one interval, or go between two neighbours. */
TEST(it_does_not_swing)
{
    const struct program *programs[] = {&usual, &busy, &large};
    for (size_t i = 0; i < HT_ARRAY_SIZE(programs); i++) {
        struct course course = {.interval = 1};
        go_on(&course, programs[i], 20);
        uint64_t shortest = course.interval, longest = shortest;
        for (int second = 0; second < 100; second++) {
            go_on(&course, programs[i], 0.1);
            shortest = ht_min(shortest, course.interval);
            longest = ht_max(longest, course.interval);
        }
        CHECK(longest <= 4 * shortest);
    }
}

/* Whatever the rhythm: in the long run no more than the budget, and one window's too much. */
TEST(changes_do_not_break_the_budget)
{
    for (double period = 0.02; period < 5; period *= 1.7) {
        struct course course = {.interval = 1};
        while (course.time < 200e9) {
            go_on(&course, &busy, period);
            go_on(&course, &quiet, period);
        }
        CHECK(course.spent <= 1.05 * BUDGET * course.time + WINDOW_SHORT);
    }
}
