#include "sums.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is written with one sign must not differ more. */
#define SIDES_DIFFER_MAX 0.1

static int64_t add_bounded(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

void sums_add(struct sums *sums, const int64_t values[PROFILE_COLUMNS],
              const double variances[PROFILE_COLUMNS])
{
    for (int i = 0; i < PROFILE_COLUMNS; i++) {
        sums->values[i] = add_bounded(sums->values[i], values[i]);
        sums->variances[i] += variances[i];
    }
}

double sums_interval(const struct sums *total)
{
    double value = (double)total->values[PROFILE_ALLOC_SPACE];
    return value > 0 ? total->variances[PROFILE_ALLOC_SPACE] / value : 0;
}

/* What a sample of blocks of their mean size adds to the variance, for each unit it stands for. */
static double unit_of(const struct sums *sums, enum profile_column column, double interval)
{
    bool is_alloc = column == PROFILE_ALLOC_OBJECTS || column == PROFILE_ALLOC_SPACE;
    bool is_space = column == PROFILE_ALLOC_SPACE || column == PROFILE_INUSE_SPACE;
    double bytes = (double)sums->values[is_alloc ? PROFILE_ALLOC_SPACE : PROFILE_INUSE_SPACE];
    double objects = (double)sums->values[is_alloc ? PROFILE_ALLOC_OBJECTS : PROFILE_INUSE_OBJECTS];
    if (!(interval > 0) || !(bytes > 0) || !(objects > 0))
        return 0;
    double size = bytes / objects, p = -expm1(-size / interval);
    return (is_space ? size : 1) * (1 - p) / p;
}

struct ht_range sums_range(const struct sums *sums, enum profile_column column, double interval)
{
    return ht_confidence_range((double)sums->values[column], sums->variances[column],
                               unit_of(sums, column, interval));
}

double sums_samples(double value, double variance)
{
    if (value == 0)
        return 0;
    return variance > 0 ? value * value / variance : HUGE_VAL;
}

struct sums_unit sums_unit(enum profile_column column, double magnitude)
{
    static const char *const bytes[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    static const char *const counts[] = {"", " M", " G", " T", " P", " E"};
    bool is_space = column == PROFILE_ALLOC_SPACE || column == PROFILE_INUSE_SPACE;
    const char *const *names = is_space ? bytes : counts;
    size_t last = (is_space ? HT_ARRAY_SIZE(bytes) : HT_ARRAY_SIZE(counts)) - 1;
    double step = is_space ? 1024 : 1000, size = 1;
    size_t i = 0;
    magnitude = fabs(magnitude);
    if (!is_space && magnitude >= 999999.5) { /* up to there, all digits */
        i = 1;
        size = 1e6;
    }
    while (is_space || i > 0) {
        if (magnitude / size < step - 0.05 || i == last)
            break;
        size *= step;
        i++;
    }
    /* Three digits, so that an error of a hundredth is seen beside the value. */
    return (struct sums_unit){size, names[i], i == 0 ? 0 : magnitude / size < 9.995 ? 2 : 1};
}

void sums_value_text(char text[SUMS_TEXT_SIZE], struct sums_unit unit, double value, bool has_sign)
{
    if (value == 0)
        snprintf(text, SUMS_TEXT_SIZE, "0");
    else
        snprintf(text, SUMS_TEXT_SIZE, has_sign ? "%+.*f%s" : "%.*f%s", unit.decimals,
                 value / unit.size, unit.name);
}

/* A side of a range, never 0 when it is not. */
static void side_text(char text[SUMS_TEXT_SIZE], struct sums_unit unit, double reach)
{
    static const double leasts[] = {1, 0.1, 0.01};
    double least = leasts[unit.decimals];
    if (reach > 0 && reach / unit.size < least / 2)
        snprintf(text, SUMS_TEXT_SIZE, "<%.*f", unit.decimals, least);
    else
        snprintf(text, SUMS_TEXT_SIZE, "%.*f", unit.decimals, reach / unit.size);
}

void sums_error_text(char text[SUMS_TEXT_SIZE], struct sums_unit unit, double below, double above,
                     const char *plus_minus)
{
    char sides[2][SUMS_TEXT_SIZE];
    *text = 0;
    if (!(below > 0) && !(above > 0))
        return;
    double larger = fmax(below, above);
    if (fabs(above - below) <= SIDES_DIFFER_MAX * larger)
        below = above = larger;
    side_text(sides[0], unit, below);
    side_text(sides[1], unit, above);
    if (strcmp(sides[0], sides[1]) == 0)
        snprintf(text, SUMS_TEXT_SIZE, "%s%.30s", plus_minus, sides[0]);
    else
        snprintf(text, SUMS_TEXT_SIZE, "-%.28s +%.28s", sides[0], sides[1]);
}
