/* sums.h: the four values of a row, how sure they are, and how both are written.
 *
 * Errors are the 95 % ranges of confidence.h. They stand in the unit of the value beside them:
 * "33.3 MiB" and "±3.1", or "-2.9 +4.1" where the two sides differ. */
#ifndef HT_TOOL_SUMS_H
#define HT_TOOL_SUMS_H

#include "profile.h"
#include "report/confidence.h"

/* A sum of fewer samples says next to nothing: of 5, its range goes from 0.4 to 2.3 times the value. */
#define SUMS_SAMPLES_MIN 5

struct sums {
    int64_t values[PROFILE_COLUMNS]; /* that would be too large stay at the largest */
    double variances[PROFILE_COLUMNS];
};

void sums_add(struct sums *sums, const int64_t values[PROFILE_COLUMNS],
              const double variances[PROFILE_COLUMNS]);

/* The interval that a byte was sampled with, on average over what they stand for, in the whole of a
 * profile: 0 when all is exact. */
double sums_interval(const struct sums *total);

/* The 95 % range of a column, in a profile with that interval. It matters where the interval has
 * changed: what was recorded exactly, at first, seems sure, but more may have come since and gone
 * unseen (profiler/sample/README.md). */
struct ht_range sums_range(const struct sums *sums, enum profile_column column, double interval);

/* How many samples a value with this variance is worth; infinite for an exact one but 0. */
double sums_samples(double value, double variance);

/* The unit to write a value of `magnitude` in. */
struct sums_unit {
    double size;
    const char *name; /* " MiB", "" */
    int decimals;     /* up to 2 */
};

struct sums_unit sums_unit(enum profile_column column, double magnitude);

#define SUMS_TEXT_SIZE 64

/* "33.3 MiB"; with a sign, "+33.3 MiB". */
void sums_value_text(char text[SUMS_TEXT_SIZE], struct sums_unit unit, double value, bool has_sign);

/* "±3.1" or "-2.9 +4.1": how far the truth may be below and above, in the unit, both >= 0. Empty
 * when both are 0. `plus_minus` is the sign as the terminal can show it. */
void sums_error_text(char text[SUMS_TEXT_SIZE], struct sums_unit unit, double below, double above,
                     const char *plus_minus);

#endif
