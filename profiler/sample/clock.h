/* clock.h: time by the processor's counter, which takes 8 ns and no system call. */
#ifndef HT_SAMPLE_CLOCK_H
#define HT_SAMPLE_CLOCK_H

#include "sys/arch.h"

/* Counts from now on; the first call alone does something. Context: start. */
void ht_clock_start(void);

/* Since the start, in units of the counter. */
static inline uint64_t ht_clock_ticks(void)
{
    extern HT_HIDDEN uint64_t ht_clock_origin;
    return ht_arch_ticks() - ht_clock_origin;
}

/* Ticks of a nanosecond, from the time that has passed so far; 0 within 100 us of the start.
 * Measured again now and then: two system calls. Context: any. */
double ht_clock_rate(void);

#endif
