#include "sample/clock.h"

#include "sys/os.h"

#include "sys/poison.h"

#define NANOS_MIN 100000

uint64_t ht_clock_origin;
static int64_t origin_nanos;

/* As bits: written by whoever measures. */
static uint64_t known_rate;
static uint64_t valid_until; /* ticks */

/* What the counter said when it was forbidden, and when that was. */
uint32_t ht_clock_is_forbidden;
static uint64_t last_ticks;
static int64_t last_nanos;
static double last_rate;

bool ht_clock_forbid(void)
{
    if (__atomic_load_n(&ht_clock_is_forbidden, __ATOMIC_ACQUIRE) != 0)
        return false;
    double rate = ht_clock_rate();
    last_rate = rate > 0 ? rate : 1;
    last_nanos = ht_os_steady_nanos();
    last_ticks = ht_arch_ticks();
    __atomic_store_n(&ht_clock_is_forbidden, 1, __ATOMIC_RELEASE);
    return true;
}

void ht_clock_allow(void)
{
    __atomic_store_n(&ht_clock_is_forbidden, 0, __ATOMIC_RELEASE);
}

uint64_t ht_clock_now_slowly(void)
{
    return last_ticks + (uint64_t)((double)(ht_os_steady_nanos() - last_nanos) * last_rate);
}

void ht_clock_start(void)
{
    if (origin_nanos != 0)
        return;
    ht_clock_origin = ht_clock_now();
    origin_nanos = ht_os_steady_nanos();
}

union bits {
    double value;
    uint64_t bits;
};

double ht_clock_known_rate(void)
{
    union bits rate = {.bits = __atomic_load_n(&known_rate, __ATOMIC_RELAXED)};
    return rate.value;
}

/* The longer the time, the less do the two readings matter that are not of one moment: measured
 * again when it is four times as long. */
double ht_clock_rate(void)
{
    union bits rate;
    uint64_t ticks = ht_clock_ticks();
    if (ticks < __atomic_load_n(&valid_until, __ATOMIC_ACQUIRE))
        return ht_clock_known_rate();
    int64_t nanos = ht_os_steady_nanos() - origin_nanos;
    if (origin_nanos == 0 || nanos < NANOS_MIN)
        return 0;
    rate.value = (double)ticks / (double)nanos;
    __atomic_store_n(&known_rate, rate.bits, __ATOMIC_RELAXED);
    __atomic_store_n(&valid_until, ticks * 4, __ATOMIC_RELEASE);
    return rate.value;
}
