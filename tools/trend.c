#include "trend.h"

#include <math.h>
#include <stdlib.h>

#define INCREMENTS_MIN 16        /* that a stride leaves */
#define SPAN_MIN       4         /* increments of a part of the run that is tested alone */
#define HALF_CHANCE    0.05      /* of the second half */
#define HALF_SHARE     0.5       /* of the pace before */
#define QUARTER_SHARE  (1.0 / 3) /* of the mean pace */

/* Increments of a row: increment k leads from point at(k) to point at(k + 1). */
struct series {
    const struct trend_point *points;
    size_t skipped, stride, increments;
};

static struct series make_series(const struct trend_point *points, size_t count)
{
    struct series series = {.points = points, .stride = (count - 1) / INCREMENTS_MIN};
    if (series.stride == 0)
        series.stride = 1;
    series.increments = (count - 1) / series.stride;
    series.skipped = count - 1 - series.increments * series.stride;
    return series;
}

static size_t at(const struct series *series, size_t k)
{
    return series->skipped + k * series->stride;
}

static double bytes_at(const struct series *series, size_t k)
{
    return series->points[at(series, k)].bytes;
}

/* Samples behind a point, or objects where those are fewer: large blocks are sampled for sure. */
static double samples_of(const struct trend_point *point)
{
    if (!(point->variance > 0))
        return point->objects;
    return fmin(point->bytes * point->bytes / point->variance, point->objects);
}

bool trend_counts(const struct trend_point *points, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (samples_of(&points[i]) >= TREND_SAMPLES_MIN)
            return true;
    }
    return false;
}

/* The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double fraction = d;
    for (int m = 1; m < 500; m++) {
        double terms[2] = {m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                           -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))};
        double change = 1;
        for (int i = 0; i < 2; i++) {
            d = 1 + terms[i] * d;
            c = 1 + terms[i] / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            change *= c * d;
        }
        fraction *= change;
        if (fabs(change - 1) < 1e-14)
            break;
    }
    return fraction;
}

double trend_student_tail(double t, double freedom)
{
    if (t < 0)
        return 1 - trend_student_tail(-t, freedom);
    double a = freedom / 2, b = 0.5, x = freedom / (freedom + t * t);
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (!(x > 0))
        return 0;
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a / 2;
    return (1 - front * beta_fraction(b, a, 1 - x) / b) / 2;
}

double trend_student_quantile(double chance, double freedom)
{
    double low = 0, high = 1;
    while (trend_student_tail(high, freedom) > chance && high < 1e15)
        high *= 2;
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (trend_student_tail(middle, freedom) > chance)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* The least that sampling adds to the variance of a growth. */
static double sampling_variance(const struct trend_point *start, const struct trend_point *last)
{
    double growth = last->bytes - start->bytes;
    return fmax(last->variance / last->bytes * growth, fabs(last->variance - start->variance));
}

/* The drift of the increments from `first` on. */
struct drift {
    double growth, error; /* standard error of the growth */
    double p;
    size_t increments;
};

static struct drift drift_from(const struct series *series, size_t first)
{
    size_t n = series->increments - first;
    const struct trend_point *last = &series->points[at(series, series->increments)];
    struct drift drift = {.p = 1, .increments = n};
    drift.growth = last->bytes - bytes_at(series, first);
    if (!(drift.growth > 0))
        return drift;

    double mean = drift.growth / (double)n, squares = 0;
    for (size_t k = first; k < series->increments; k++) {
        double rest = bytes_at(series, k + 1) - bytes_at(series, k) - mean;
        squares += rest * rest;
    }
    double variance = n > 1 ? squares / (double)(n - 1) * (double)n : INFINITY;
    drift.error = sqrt(fmax(variance, sampling_variance(&series->points[at(series, first)], last)));
    if (n > 1)
        drift.p = trend_student_tail(drift.growth / drift.error, (double)(n - 1));
    return drift;
}

/* Samples, or objects, that a growth consists of. */
static double samples_since(const struct series *series, size_t first)
{
    const struct trend_point *start = &series->points[at(series, first)];
    const struct trend_point *last = &series->points[at(series, series->increments)];
    double growth = last->bytes - start->bytes, objects = last->objects - start->objects;
    if (!(growth > 0) || !(sampling_variance(start, last) > 0))
        return objects;
    return fmin(growth * growth / sampling_variance(start, last), objects);
}

static double pace(const struct series *series, size_t from, size_t to)
{
    return (bytes_at(series, to) - bytes_at(series, from)) / (double)(to - from);
}

/* Whether the growth from `first` on has not come to its end, nor slows down on its way there. */
static bool goes_on(const struct series *series, size_t first)
{
    size_t n = series->increments, quarter = n - (n >= 8 ? n / 4 : 1);
    size_t middle = first + (n - first) / 2;
    if (pace(series, quarter, n) < QUARTER_SHARE * pace(series, first, n))
        return false;
    if (middle > first && pace(series, middle, n) < HALF_SHARE * pace(series, first, middle))
        return false;
    struct drift second = drift_from(series, n / 2);
    return second.increments < SPAN_MIN ? second.growth > 0 : second.p <= HALF_CHANCE;
}

void trend_judge(const struct trend_point *points, size_t count, struct trend *ret_trend)
{
    struct series series = make_series(points, count);
    size_t n = series.increments, firsts[] = {0, n / 4, n / 2};
    struct drift best = drift_from(&series, 0);
    size_t first = 0, spans = 0;
    bool grows = false;
    for (size_t i = 0; i < HT_ARRAY_SIZE(firsts); i++) {
        if (i > 0 && (firsts[i] == firsts[i - 1] || n - firsts[i] < SPAN_MIN))
            break;
        spans++;
        struct drift drift = drift_from(&series, firsts[i]);
        if (drift.growth > 0 && samples_since(&series, firsts[i]) >= TREND_SAMPLES_MIN &&
            goes_on(&series, firsts[i]) && (!grows || drift.p < best.p)) {
            best = drift;
            first = firsts[i];
            grows = true;
        }
    }
    double reach = 0;
    if (grows && best.increments > 1)
        reach = trend_student_quantile(0.025, (double)(best.increments - 1)) * best.error;
    *ret_trend = (struct trend){
        .p = grows ? fmin(1, best.p * (double)spans) : 1,
        .growth = best.growth,
        .low = fmax(0, best.growth - reach),
        .high = best.growth + reach,
        .samples = samples_since(&series, first),
        .first = first == 0 ? 0 : at(&series, first),
    };
}

static int by_p(const void *a, const void *b)
{
    double p = (*(struct trend *const *)a)->p, q = (*(struct trend *const *)b)->p;
    return (p > q) - (p < q);
}

void trend_adjust(struct trend **trends, size_t count, size_t rows)
{
    double worst = 0;
    qsort(trends, count, sizeof(trends[0]), by_p);
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, fmin(1, trends[i]->p * (double)(rows - i)));
        trends[i]->p = worst;
    }
}

/* Of a leak of N samples in all, t is about sqrt(N), with the spread of the noncentral Student
 * distribution: (t - sqrt(N)) / sqrt(1 + t^2 / 2f) is nearly normal. */
double trend_samples_needed(size_t count, size_t rows)
{
    struct series series = make_series(NULL, count);
    size_t n = series.increments, spans = 1;
    spans += n / 4 > 0 && n - n / 4 >= SPAN_MIN;
    spans += n / 4 > 0 && n - n / 2 >= SPAN_MIN;
    double freedom = (double)(n - 1),
           chance = TREND_CHANCE / (double)spans / (double)(rows + !rows);
    double t = trend_student_quantile(chance, freedom);
    double root = t + 1.2816 * sqrt(1 + t * t / (2 * freedom));
    return fmax(root * root, 2 * TREND_SAMPLES_MIN);
}
