/* confidence.h: how far an estimate may be from the truth.
 *
 * An estimate X with the estimated variance V is a sum of independent samples, each of which stands
 * for more than itself. If the truth were T, the variance would be about c T, where c = V / X is
 * what a sample adds to it for each unit that it stands for: the same for all T, since it depends
 * on sizes and intervals alone. So the truths that fit X are those with
 *     (X - T)^2 <= z^2 c T,
 * between  X + z^2 c / 2 -+ z sqrt(V + (z c / 2)^2):  Wilson's interval (1927), for sampled sums.
 * It is wider above than below, never below 0, and near X -+ z sqrt(V) when there are many samples.
 * X -+ z sqrt(V) itself would miss the truth in 8 % of the cases at 10 samples, not in 5 %. */
#ifndef HT_REPORT_CONFIDENCE_H
#define HT_REPORT_CONFIDENCE_H

#include "sys/compiler.h"

#define HT_CONFIDENCE_Z 1.959963984540054 /* of the normal distribution, 95 % within */

struct ht_range {
    double low, high;
};

/* The 95 % interval of an estimate >= 0. `least_unit` is a lower bound for c, from elsewhere: where
 * the interval changed, what was recorded exactly, at first, says nothing of how much went unseen
 * later; 0 where V says it. Both ends are `value` when variance and bound are 0. */
struct ht_range ht_confidence_range(double value, double variance, double least_unit);

/* The square root of x >= 0, without libm, which the library must not depend on. */
double ht_confidence_sqrt(double x);

#endif
