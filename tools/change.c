#include "change.h"

#include <math.h>
#include <stdlib.h>

/* Variances come as floats: six samples are six, all the same. */
#define ROUNDING 1e-3

/* Where most blocks are sampled (a block of the interval's size is missed in 37 % of the cases) and
 * few are missed, those that are missed are counted. Elsewhere the normal distribution is as good. */
#define MISS_MAX     0.4
#define MISSED_MAX   30
#define MISSED_TERMS 128

/* What one sample stands for: V / X, of the values that were sampled. 0: all are exact. */
static double weight_of(const struct change_side *old, const struct change_side *new)
{
    double value =
        (old->variance > 0 ? fabs(old->value) : 0) + (new->variance > 0 ? fabs(new->value) : 0);
    return value > 0 ? (old->variance + new->variance) / value : 0;
}

static double samples_of(const struct change_side *side)
{
    return side->variance > 0 ? side->value * side->value / side->variance : 0;
}

/* The chance that a block is not sampled, if all are alike. */
static double miss_of(const struct change_side *side)
{
    double square = side->value * side->value, spread = fabs(side->objects) * side->variance;
    return spread > 0 ? spread / (square + spread) : 0;
}

/* The range of a value; where nothing was sampled, something may be, like what `other` has. */
static struct ht_range range_of(const struct change_side *side, const struct change_side *other,
                                double weight)
{
    if (side->value != 0)
        return ht_confidence_range(side->value, side->variance, 0);
    double miss = miss_of(other), high = HT_CONFIDENCE_Z * HT_CONFIDENCE_Z * weight;
    if (miss > 0 && miss < 1 && other->objects != 0)
        high = fmax(high, floor(log(CHANGE_FALSE_RATE) / log(miss)) *
                              fabs(other->value / other->objects));
    return (struct ht_range){0, high};
}

/* The z that has a chance, either way, by halving; chance_of_z() falls. */
static double chance_of_z(double z)
{
    return erfc(fabs(z) / M_SQRT2);
}

static double z_of_chance(double chance)
{
    double low = 0, high = 40;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (chance_of_z(middle) > chance)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static struct change increase_of(double value, double variance)
{
    struct change_side side = {.value = value, .variance = fmax(variance, 0)};
    struct change change = {.value = value, .variance = side.variance};
    change.range = ht_confidence_range(value, change.variance, 0);
    change.samples = change.variance > 0 ? samples_of(&side) : HUGE_VAL;
    if (value != 0)
        change.z = change.variance > 0 ? value / sqrt(change.variance) : copysign(HUGE_VAL, value);
    change.is_few = change.samples < CHANGE_SAMPLES_MIN - ROUNDING;
    return change;
}

/* The chance that as many blocks as differ, or more, were missed in one profile and not in the
 * other, when `mean` are missed in each: the difference of two Poisson variables. */
static double chance_of_missing(double mean, double blocks)
{
    double terms[MISSED_TERMS], rest[MISSED_TERMS + 1]; /* of m, and of m or more */
    terms[0] = exp(-mean);
    for (int m = 1; m < MISSED_TERMS; m++)
        terms[m] = terms[m - 1] * mean / m;
    rest[MISSED_TERMS] = 0;
    for (int m = MISSED_TERMS; m-- > 0;)
        rest[m] = rest[m + 1] + terms[m];
    double sum = 0;
    int step = (int)fmin(fmax(round(blocks), 1), MISSED_TERMS);
    for (int m = 0; m + step < MISSED_TERMS; m++)
        sum += terms[m] * rest[m + step];
    return fmin(2 * sum, 1);
}

static double independent_z(const struct change_side *old, const struct change_side *new,
                            double weight)
{
    double distance = fabs(new->value - old->value);
    double z = fmax(distance - weight, 0) / sqrt(old->variance + new->variance);
    double miss = fmax(miss_of(old), miss_of(new));
    double missed = miss * fmax(fabs(old->objects), fabs(new->objects));
    if (distance > 0 && miss < MISS_MAX && missed < MISSED_MAX) {
        double chance = chance_of_missing(missed, fabs(new->objects - old->objects) * (1 - miss));
        if (chance > chance_of_z(z))
            z = z_of_chance(chance);
    }
    return copysign(z, new->value - old->value);
}

struct change change_of(enum change_kind kind, const struct change_side *old,
                        const struct change_side *new)
{
    double value = new->value - old->value;
    double weight = weight_of(old, new);
    if (kind == CHANGE_OF_INCREASE)
        return increase_of(value, new->variance - old->variance);
    if (kind == CHANGE_OF_NOTHING || weight == 0)
        return increase_of(value, 0);

    struct change change = {.value = value, .variance = old->variance + new->variance};
    struct ht_range old_range = range_of(old, new, weight);
    struct ht_range new_range = range_of(new, old, weight);
    change.range = (struct ht_range){
        value - hypot(new->value - new_range.low, old_range.high - old->value),
        value + hypot(new_range.high - new->value, old->value - old_range.low),
    };
    change.samples = samples_of(old) + samples_of(new);
    change.is_few = change.samples < CHANGE_SAMPLES_MIN - ROUNDING;
    change.z = independent_z(old, new, weight);
    return change;
}

double change_chance(const struct change *change)
{
    return change->is_few ? 1 : chance_of_z(change->z);
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
