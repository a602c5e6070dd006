/* trend.h: does what a stack holds grow, or does it only fluctuate?
 *
 * A stack (a row) has x_1 ... x_K bytes in use in K snapshots of one process, with n = K - 1
 * increments d_k = x_{k+1} - x_k. A leak is a drift of the increments. Three things look like one:
 *
 * Chance. In-use memory is not scattered around a line: a table of sessions that grew by chance
 *   stays so for a while. The worst of that kind is a random walk, whose increments are independent
 *   and as often down as up. A regression of x on time takes a walk for a trend in most cases; so
 *   we ask of the increments alone whether their mean is above 0:
 *       t = mean(d) / (sd(d) / sqrt(n)),
 *   against Student's distribution with n - 1 degrees of freedom. For increments that are as often
 *   down as up, however much their size changes from one to the next, its tail is no heavier than
 *   Student's (Efron, "Student's t-test under symmetry conditions", 1969), so neither the time nor
 *   the load between two snapshots need be the same. Where x is scattered around a level, as with
 *   the chance of sampling, the truth is about sqrt(n) safer: a sum of increments is then only the
 *   difference of two ends, while sd(d) says how far each is off.
 *   That is also why there is a stride: of many snapshots only every so manieth is taken, such that
 *   16 to 31 increments remain. A walk has the same t then, and a leak below scatter a larger one.
 *
 * Few samples. The growth D = x_K - x_1 is what came less what went, N - G, each with a variance of
 *   its own, while what lives in both snapshots cancels. So Var(D) = Var(N) + Var(G) is at least
 *   their difference, V_K - V_1 (V: of the estimate of x, from the profile), and at least c D, where
 *   c = V_K / x_K is what a byte adds. The larger of both is a floor for the variance that is seen in
 *   the increments, so t is at most the root of the number of samples in the growth; and below
 *   TREND_SAMPLES_MIN samples, or objects, nothing is said. The upper bound V_1 + V_K would be too
 *   much: a leak beside a large table that stays would not be seen.
 *
 * What ends. A start makes everything grow once; a cache fills and then stands still.
 *   One large increment has t = 1, whatever its size. A start that lasts is left out: the test is
 *   made of the whole run, of its last three quarters and of its last half, and the smallest p
 *   counts three times. What fills comes to its end, often ever more slowly. So each of the three
 *   must go on: its second half grows at least half as fast as its first, the last quarter of the
 *   run a third as fast as all of it, and the second half of the run alone has a drift (p below
 *   0.05).
 *
 * Many rows. With a hundred rows one of them has p < 0.01 by chance. Holm's method (1979) adjusts p
 *   so that in a process of nothing but random walks all rows together are silent in 99 of 100
 *   runs. Rows that never had TREND_SAMPLES_MIN samples cannot be named and do not count; this
 *   choice does not prefer rows that grow, since it takes the largest of the snapshots.
 *
 * tests/unit/test_trend.c simulates all of that and has the rates of false alarms and of leaks
 * found. */
#ifndef HT_TOOL_TREND_H
#define HT_TOOL_TREND_H

#include "sys/compiler.h"

#define TREND_CHANCE      0.01 /* of a false alarm in a whole report */
#define TREND_SAMPLES_MIN 8
#define TREND_SNAPSHOTS   3 /* at least: two increments */

/* A row in one snapshot. All 0 when it is not there. */
struct trend_point {
    double bytes, variance; /* in use */
    double objects;
};

struct trend {
    double p;         /* that it only fluctuates and looks like this; 1: it does not grow */
    double growth;    /* bytes, from snapshot `first` to the last one */
    double low, high; /* the 95 % interval of that, when it grows */
    double samples;   /* that it consists of, about */
    size_t first;     /* 0: the whole run */
};

/* Whether a row is in the test at all: it had enough samples at some time. */
bool trend_counts(const struct trend_point *points, size_t count);

/* Judges a row of `count` >= TREND_SNAPSHOTS points, in their order in time. */
void trend_judge(const struct trend_point *points, size_t count, struct trend *ret_trend);

/* Holm's: p of each of `count` rows becomes the chance that any of them would look so. `rows` are
 * those that were tested, of which the others have larger p. Sorts by p. */
void trend_adjust(struct trend **trends, size_t count, size_t rows);

/* How many samples (bytes / interval, for small blocks) a steady leak must have left between the
 * first and the last snapshot to be named nine times out of ten. */
double trend_samples_needed(size_t count, size_t rows);

/* Student's distribution: the chance of a value above t, and the t above which there is such a
 * chance (below 0.5). */
double trend_student_tail(double t, double freedom);
double trend_student_quantile(double chance, double freedom);

#endif
