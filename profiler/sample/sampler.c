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
static bool was_exact;

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

void ht_sampler_range(uint64_t *ret_shortest, uint64_t *ret_longest)
{
    *ret_shortest = *ret_longest = 0;
    for (unsigned id = 1; id < HT_ARRAY_SIZE(intervals); id++) {
        uint64_t interval = ht_sampler_interval_of((ht_interval_id)id);
        if (interval == 0 ||
            (id == HT_INTERVAL_EXACT && !__atomic_load_n(&was_exact, __ATOMIC_RELAXED)))
            continue;
        *ret_shortest = *ret_shortest == 0 ? interval : ht_min(*ret_shortest, interval);
        *ret_longest = ht_max(*ret_longest, interval);
    }
}

/* An id of this interval, or -errno. */
static int id_of(uint64_t interval)
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
        if (id == HT_INTERVAL_EXACT)
            __atomic_store_n(&was_exact, true, __ATOMIC_RELAXED);
    }
    return (int)id;
}

int ht_sampler_set_interval(uint64_t interval)
{
    int id = id_of(interval);
    if (id < 0)
        return id;
    __atomic_store_n(&current, (ht_interval_id)id, __ATOMIC_RELEASE);
    return 0;
}

bool ht_sampler_change(ht_interval_id from, uint64_t interval)
{
    int id = id_of(interval);
    return id >= 0 && __atomic_compare_exchange_n(&current, &from, (ht_interval_id)id, false,
                                                  __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static uint64_t seed_given; /* 0: none */
static uint64_t seeds;      /* given so far */

/* Any two different numbers give different, unrelated ones (splitmix64; Steele, Lea and Flood
 * 2014). */
static uint64_t mixed(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void ht_sampler_set_seed(uint64_t seed)
{
    seed_given = seed;
}

void ht_sampler_fork_prepare(void)
{
    __atomic_add_fetch(&seeds, 1, __ATOMIC_RELAXED);
}

void ht_sampler_fork_child(void)
{
    if (seed_given != 0)
        seed_given = mixed(seed_given + seeds) | 1;
}

uint64_t ht_sampler_seed(void)
{
    uint64_t count = __atomic_add_fetch(&seeds, 1, __ATOMIC_RELAXED), seed = 0;
    if (seed_given != 0)
        return mixed(mixed(seed_given) + count) | 1;
    /* Off: perhaps because the program may make no such system call any more
     * (control/sandbox.h). */
    if (ht_sampler_interval() == 0)
        seed = mixed(count ^ (uintptr_t)&seed);
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

/* Both series below are evaluated as two of half the length, in the square of their argument: each
 * step of Horner's rule waits for the one before it, two sums run at the same time. With a division
 * in each step, as written at first, a weight took 117 ns; now it takes 25 to 45. */

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
    double t2 = t * t, t4 = t2 * t2;
    double even = 1.0 / 21, odd = 1.0 / 19;
    even = even * t4 + 1.0 / 17;
    odd = odd * t4 + 1.0 / 15;
    even = even * t4 + 1.0 / 13;
    odd = odd * t4 + 1.0 / 11;
    even = even * t4 + 1.0 / 9;
    odd = odd * t4 + 1.0 / 7;
    even = even * t4 + 1.0 / 5;
    odd = odd * t4 + 1.0 / 3;
    even = even * t4 + 1;
    return exponent * 0.6931471805599453 + 2 * t * (even + t2 * odd);
}

/* 1 - exp(-r) = r (1/1! + r^2/3! + r^4/5! ... - r (1/2! + r^2/4! + r^4/6! ...)). Nine terms of each
 * leave 0.7^18 / 19! = 1e-20 for r < ln 2; four leave as little below 1/64, where most blocks are
 * at the default interval. */
static double one_minus_exp(double r)
{
    static const double odd_factorial[] = {1.0,
                                           1.0 / 6,
                                           1.0 / 120,
                                           1.0 / 5040,
                                           1.0 / 362880,
                                           1.0 / 39916800,
                                           1.0 / 6227020800,
                                           1.0 / 1307674368000,
                                           1.0 / 355687428096000};
    static const double even_factorial[] = {1.0 / 2,
                                            1.0 / 24,
                                            1.0 / 720,
                                            1.0 / 40320,
                                            1.0 / 3628800,
                                            1.0 / 479001600,
                                            1.0 / 87178291200,
                                            1.0 / 20922789888000,
                                            1.0 / 6402373705728000};
    double square = r * r, odd = 0, even = 0;
    for (int i = r < 1.0 / 64 ? 3 : 8; i >= 0; i--) {
        odd = odd * square + odd_factorial[i];
        even = even * square + even_factorial[i];
    }
    return r * (odd - r * even);
}

/* Small x: a series, where 1 - exp(-x) would lose digits. Otherwise exp(-x) = 2^-k exp(-r) with r
 * in [0, ln 2), the same series, and a subtraction that loses at most one bit. */
double ht_sampler_hit_probability(double x)
{
    if (x > 40) /* exp(-40) is less than half a unit in the last place of 1 */
        return 1;
    if (x < 0.6931471805599453)
        return one_minus_exp(x);
    int k = (int)(x * 1.4426950408889634);
    double r = x - k * 0.6931471805599453;
    return 1 - (1 - one_minus_exp(r)) / (double)(UINT64_C(1) << k);
}

double ht_sampler_uniform(uint64_t *random)
{
    return (double)((next_random(random) >> 11) + 1) * 0x1p-53;
}

/* The draw is finite, at most 36.7 intervals. */
uint64_t ht_sampler_gap(uint64_t interval, uint64_t *random)
{
    return (uint64_t)(-ht_sampler_log(ht_sampler_uniform(random)) * (double)interval);
}

uint64_t ht_sampler_draw(ht_interval_id id, uint64_t *random)
{
    uint64_t interval = ht_sampler_interval_of(id);
    if (interval == 0)
        return OFF_GAP;
    if (interval == 1)
        return 0;
    return ht_sampler_gap(interval, random);
}

struct ht_weight ht_sampler_weight(size_t size, ht_interval_id id)
{
    return ht_sampler_weight_at(size, ht_sampler_interval_of(id));
}

struct ht_weight ht_sampler_weight_at(size_t size, uint64_t interval)
{
    if (interval <= 1)
        return (struct ht_weight){.objects = UINT64_C(1) << HT_OBJECTS_SHIFT,
                                  .bytes = (uint64_t)size << HT_BYTES_SHIFT};
    double p = ht_sampler_hit_probability((double)size / (double)interval);
    double variance = (1 - p) / (p * p);
    return (struct ht_weight){
        .objects = (uint64_t)((double)(1 << HT_OBJECTS_SHIFT) / p + 0.5),
        .bytes = (uint64_t)((double)size * (1 << HT_BYTES_SHIFT) / p + 0.5),
        .objects_variance = variance,
        .bytes_variance = variance * (double)size * (double)size,
    };
}
