/* clock.h: time by the processor's counter, which takes 8 ns and no system call. */
#ifndef HT_SAMPLE_CLOCK_H
#define HT_SAMPLE_CLOCK_H

#include "sys/arch.h"

/* Counts from now on; the first call alone does something. Context: start. */
void ht_clock_start(void);

extern HT_HIDDEN uint32_t ht_clock_is_forbidden;
HT_COLD uint64_t ht_clock_now_slowly(void);

/* The counter, or what goes on like it where it must not be read any more. */
static inline uint64_t ht_clock_now(void)
{
    return HT_LIKELY(__atomic_load_n(&ht_clock_is_forbidden, __ATOMIC_ACQUIRE) == 0)
               ? ht_arch_ticks()
               : ht_clock_now_slowly();
}

/* Since the start, in units of the counter. */
static inline uint64_t ht_clock_ticks(void)
{
    extern HT_HIDDEN uint64_t ht_clock_origin;
    return ht_clock_now() - ht_clock_origin;
}

/* A thread is about to forbid itself to read the counter, prctl(PR_SET_TSC): from now on no thread
 * reads it, and it takes a system call to know the time. True if that is new. Context: any. */
bool ht_clock_forbid(void);
/* It came to nothing. */
void ht_clock_allow(void);

/* Ticks of a nanosecond, from the time that has passed so far; 0 within 100 us of the start.
 * Measured again now and then: two system calls. Context: any. */
double ht_clock_rate(void);
/* As it was measured last, which is right to a part in a thousand; no system call. 0: never. */
double ht_clock_known_rate(void);

#endif
