#include "change.h"

#include <math.h>
#include <stdlib.h>

/* Variances come as floats: six samples are six, all the same. */
#define ROUNDING 1e-3

/* What one sample stands for: V / X, of the values that were sampled. 0: all are exact. */
static double weight_of(double old_value, double old_variance, double new_value,
                        double new_variance)
{
    double value =
        (old_variance > 0 ? fabs(old_value) : 0) + (new_variance > 0 ? fabs(new_value) : 0);
    return value > 0 ? (old_variance + new_variance) / value : 0;
}

static double samples_of(double value, double variance)
{
    return variance > 0 ? value * value / variance : 0;
}

/* The range of a value; where nothing was sampled, something may be. */
static struct ht_range range_of(double value, double variance, double weight)
{
    if (value == 0)
        return (struct ht_range){0, HT_CONFIDENCE_Z * HT_CONFIDENCE_Z * weight};
    return ht_confidence_range(value, variance, 0);
}

static struct change increase_of(double value, double variance)
{
    struct change change = {.value = value, .variance = fmax(variance, 0)};
    change.range = ht_confidence_range(value, change.variance, 0);
    change.samples = change.variance > 0 ? samples_of(value, change.variance) : HUGE_VAL;
    if (value != 0)
        change.z = change.variance > 0 ? value / sqrt(change.variance) : copysign(HUGE_VAL, value);
    change.is_few = change.samples < CHANGE_SAMPLES_MIN - ROUNDING;
    return change;
}

struct change change_of(enum change_kind kind, double old_value, double old_variance,
                        double new_value, double new_variance)
{
    double value = new_value - old_value;
    if (kind == CHANGE_OF_NOTHING)
        return increase_of(value, 0);
    if (kind == CHANGE_OF_INCREASE)
        return increase_of(value, new_variance - old_variance);

    double weight = weight_of(old_value, old_variance, new_value, new_variance);
    if (weight == 0)
        return increase_of(value, 0);
    struct change change = {.value = value, .variance = old_variance + new_variance};
    struct ht_range old_range = range_of(old_value, old_variance, weight);
    struct ht_range new_range = range_of(new_value, new_variance, weight);
    change.range = (struct ht_range){
        value - hypot(new_value - new_range.low, old_range.high - old_value),
        value + hypot(new_range.high - new_value, old_value - old_range.low),
    };
    change.samples = samples_of(old_value, old_variance) + samples_of(new_value, new_variance);
    change.is_few = change.samples < CHANGE_SAMPLES_MIN - ROUNDING;
    change.z = copysign(fmax(fabs(value) - weight, 0) / sqrt(change.variance), value);
    return change;
}

double change_chance(const struct change *change)
{
    return change->is_few ? 1 : erfc(fabs(change->z) / M_SQRT2);
}

static int compare(const void *a_, const void *b_)
{
    const double *a = a_, *b = b_;
    return (*a > *b) - (*a < *b);
}

double change_limit(double *chances, size_t count)
{
    qsort(chances, count, sizeof(*chances), compare);
    for (size_t i = count; i-- > 0;) {
        if (chances[i] <= CHANGE_FALSE_RATE * (double)(i + 1) / (double)count)
            return chances[i];
    }
    return -1;
}
