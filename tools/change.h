/* change.h: what changed between two estimates, and whether noise explains it.
 *
 * Two processes are sampled independently, so the variances of an old and a new value add. Of one
 * process, what was allocated until the new profile is what was until the old one, and more: the
 * change is a sampled sum itself, with the variance V_new - V_old. What is in use is not like that:
 * a block that lives in both profiles is in both values, with the same error, which cancels; the
 * profiles do not say how much of it. There, V_old + V_new is more than the truth, and the change
 * surer than it looks.
 *
 * Range. The ranges of both values, which confidence.h makes, are combined by the square roots of
 *   the sums of squares of their sides (Newcombe 1998; Zou and Donner 2008). Where there is nothing
 *   in one profile, its range goes up to z^2 c, c being what a sample stands for in the other one:
 *   as much may be there when nothing was sampled. Or, of large blocks, up to as many as are all
 *   missed in one of 20 cases.
 *
 * z. A change of nothing looks like |new - old| only by chance when that is less than some standard
 *   deviations. Samples come one by one, so the distance is taken from half-way to the next one:
 *       z = (|new - old| - c) / sqrt(V_old + V_new),
 *   the correction for continuity. Without it, 4 samples in one profile and none in the other would
 *   have z = 2, p = 0.05; in truth p = 2 / 2^4 = 0.13. With it, p is 0.13, 0.07, 0.04 for 4, 5 and
 *   6 samples and none; exact are 0.13, 0.06, 0.03. Fewer than 6 in both together cannot tell
 *   anything.
 *   Of blocks as large as the interval or larger there are few, and most are sampled; there, V / X
 *   is less than a block, and this is no good: with 1 - p = 0.05, one block that was missed would
 *   have z = 4.4. If all blocks are alike, 1 - p = N V / (X^2 + N V) for N objects, of which Poisson
 *   many are missed, N (1 - p) on average, here and there. When the chance that so many more are
 *   missed on one side is larger than what z says, z is taken from it.
 *
 * Many rows. At 95 %, one of 20 rows that did not change would pass for changed. So the p values
 *   of all rows are judged together (Benjamini and Hochberg 1995): of the rows that are called
 *   changed, about one in 20 is not. */
#ifndef HT_TOOL_CHANGE_H
#define HT_TOOL_CHANGE_H

#include "report/confidence.h"

#define CHANGE_SAMPLES_MIN 6
#define CHANGE_FALSE_RATE  0.05

enum change_kind {
    CHANGE_INDEPENDENT,
    CHANGE_OF_INCREASE, /* of what only grows, in one process */
    CHANGE_OF_NOTHING,  /* the same profile twice */
};

struct change {
    double value, variance;
    struct ht_range range;
    double samples; /* that both values have, about; infinite when both are exact */
    double z;       /* with the sign of the change; infinite for an exact change */
    bool is_few;    /* too few samples to tell */
};

/* A value, and how many objects it consists of: both are estimates. */
struct change_side {
    double value, variance, objects;
};

struct change change_of(enum change_kind kind, const struct change_side *old,
                        const struct change_side *new);

/* How likely noise alone has such a z or a larger one, either way; 1 for too few samples. */
double change_chance(const struct change *change);

/* The largest p of those that together keep CHANGE_FALSE_RATE; below 0 when none does. The array is
 * sorted. */
double change_limit(double *chances, size_t count);

#endif
