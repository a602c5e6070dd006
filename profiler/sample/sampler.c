#include "sample/sampler.h"

#include <errno.h>

#include "sys/os.h"

#include "sys/poison.h"

/* A thread that finds sampling switched off looks again after this many bytes. */
#define OFF_GAP (UINT64_C(16) << 20)

/* Ids are given once and never taken back; slot 0 is "off". A writer fills the slot before it
 * publishes the id as current. */
static uint64_t intervals[256] = {[HT_INTERVAL_EXACT] = 1};
static ht_interval_id current;

uint64_t ht_sampler_interval_of(ht_interval_id id)
{
    return __atomic_load_n(&intervals[id], __ATOMIC_RELAXED);
}

ht_interval_id ht_sampler_current(void)
{
    return __atomic_load_n(&current, __ATOMIC_ACQUIRE);
}

uint64_t ht_sampler_interval(void)
{
    return ht_sampler_interval_of(ht_sampler_current());
}

int ht_sampler_set_interval(uint64_t interval)
{
    if (interval > HT_INTERVAL_MAX)
        return -EINVAL;
    unsigned id = 0;
    if (interval != 0) {
        for (id = 1; id < HT_ARRAY_SIZE(intervals); id++) {
            /* A free slot is 0: claim it, unless another thread does so first. */
            uint64_t found = 0;
            if (__atomic_compare_exchange_n(&intervals[id], &found, interval, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ||
                found == interval)
                break;
        }
        if (id == HT_ARRAY_SIZE(intervals))
            return -ENOSPC;
    }
    __atomic_store_n(&current, (ht_interval_id)id, __ATOMIC_RELEASE);
    return 0;
}

uint64_t ht_sampler_seed(void)
{
    static uint64_t count;
    uint64_t seed = 0;
    /* Off: perhaps because the program may make no such system call any more (control/sandbox.h). */
    if (ht_sampler_interval() == 0)
        seed = (__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) ^ (uintptr_t)&seed) *
               UINT64_C(0x9e3779b97f4a7c15);
    else if (!ht_os_random(&seed, sizeof(seed)))
        seed = (uint64_t)ht_os_steady_nanos() * UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)&seed;
    return seed != 0 ? seed : 1;
}

/* xorshift64* (Vigna 2016): period 2^64 - 1, and the high bits that we use pass BigCrush. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* ln(x) = e ln 2 + ln(m) with m in [sqrt(1/2), sqrt(2)), and ln(m) = 2 artanh(t), t = (m-1)/(m+1),
 * |t| < 0.172: eleven terms of t^(2k+1)/(2k+1) leave less than 1e-17 (Abramowitz and Stegun
 * 4.1.27). */
double ht_sampler_log(double x)
{
    union {
        double value;
        uint64_t bits;
    } u = {x};
    int exponent = (int)(u.bits >> 52) - 1023;
    u.bits = (u.bits & ((UINT64_C(1) << 52) - 1)) | (UINT64_C(1023) << 52);
    if (u.value > 1.4142135623730951) {
        u.value *= 0.5;
        exponent++;
    }
    double t = (u.value - 1) / (u.value + 1);
    double square = t * t;
    double sum = 0;
    for (int odd = 21; odd >= 1; odd -= 2)
        sum = sum * square + 1.0 / odd;
    return exponent * 0.6931471805599453 + 2 * t * sum;
}

/* Small x: the Taylor series of -expm1(-x), where 1 - exp(-x) would lose digits. Otherwise exp(-x)
 * = 2^-k exp(-r) with r in [0, ln 2), the same series, and a subtraction that loses at most one
 * bit. Twenty terms leave 0.7^20 / 20! = 3e-22. */
double ht_sampler_hit_probability(double x)
{
    if (x > 40) /* exp(-40) is less than half a unit in the last place of 1 */
        return 1;
    int k = 0;
    double r = x;
    if (x >= 0.6931471805599453) {
        k = (int)(x * 1.4426950408889634);
        r = x - k * 0.6931471805599453;
    }
    double sum = 0;
    for (int n = 20; n >= 1; n--)
        sum = (sum + 1) * -r / n; /* exp(-r) - 1 by Horner's rule */
    if (k == 0)
        return -sum;
    return 1 - (1 + sum) / (double)(UINT64_C(1) << k);
}

uint64_t ht_sampler_draw(ht_interval_id id, uint64_t *random)
{
    uint64_t interval = ht_sampler_interval_of(id);
    if (interval == 0)
        return OFF_GAP;
    if (interval == 1)
        return 0;
    /* U in (0, 1]: the draw is finite, at most 36.7 intervals. */
    double u = (double)((next_random(random) >> 11) + 1) * 0x1p-53;
    return (uint64_t)(-ht_sampler_log(u) * (double)interval);
}

struct ht_weight ht_sampler_weight(size_t size, ht_interval_id id)
{
    uint64_t interval = ht_sampler_interval_of(id);
    if (interval <= 1)
        return (struct ht_weight){UINT64_C(1) << HT_OBJECTS_SHIFT,
                                  (uint64_t)size << HT_BYTES_SHIFT};
    double p = ht_sampler_hit_probability((double)size / (double)interval);
    return (struct ht_weight){
        .objects = (uint64_t)((double)(1 << HT_OBJECTS_SHIFT) / p + 0.5),
        .bytes = (uint64_t)((double)size * (1 << HT_BYTES_SHIFT) / p + 0.5),
    };
}
