/* pace.h: the rule by which the interval follows the budget.
 *
 * What a sample costs hardly depends on the interval, and how many there are is inverse to it. So
 * if the share f of the CPU time went into samples where b may,
 *   f > b:      the interval times f / b is the right one, rounded up to a power of two;
 *   f < b / 2:  a shorter one would do: times f / b, but a sixteenth at the least, and only while all
 *               that was spent so far is within the budget. A program that is now quiet, now busy,
 *               so does not go beyond it in the long run, however often it changes: too much can be
 *               spent in one window between two looks only, and is saved before the next.
 *   An interval of 1 takes a quarter of the time for each block (exact.h), and blocks are some
 *   hundred bytes long: it costs what one of about 1,024 does. It is left for 1,024 f / b, and
 *   come back to from 4,096 or less. Intervals between 1 and 256 would record as many blocks, at
 *   four times the price: they are not used.
 *   Beyond 16 MiB a longer interval saves nothing: 100 GB/s are 6,000 samples a second there. */
#ifndef HT_SAMPLE_PACE_H
#define HT_SAMPLE_PACE_H

#include "sys/compiler.h"

#define HT_PACE_MAX (UINT64_C(16) << 20)

struct ht_pace {
    double debt; /* ns spent beyond the budget; below 0: not spent yet; of a second at most */
};

/* The interval to go on with, where `used` of `time` nanoseconds went into samples since the last
 * call, at the interval of now, and `budget` of each may. Context: any. */
uint64_t ht_pace_next(struct ht_pace *pace, uint64_t interval, double used, double time,
                      double budget);

#endif
