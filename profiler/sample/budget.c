#include "sample/budget.h"

#include "sample/clock.h"
#include "sample/pace.h"
#include "sample/sampler.h"
#include "sample/shadow.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

#define WINDOW_NANOS INT64_C(10000000)
/* Where the interval is short a program that becomes busy spends half of its time in samples until
 * the next look. A look takes 1 us. */
#define WINDOW_SHORT_NANOS INT64_C(2000000)
#define SHORT_INTERVAL     (UINT64_C(64) << 10)
#define WINDOW_FIRST       (UINT64_C(1) << 22) /* ticks; 1 to 4 ms at 1 to 4 GHz */
#define SHARE_DEFAULT      10000u              /* 1 % */
#define MILLION            1e6
/* Of fewer timed samples a window says little; a long one says that there are few. */
#define TIMED_MIN         16u
#define LONG_WINDOW_NANOS INT64_C(200000000)
#define OTHERS_WEIGHT     0.05
/* A process that sleeps most of the time is taken for one that needs this part of a processor: 1 %
 * of that is nothing, but 1 % of nearly nothing would have it sampled coarsely for no reason. */
#define IDLE_PART 20
/* Longer ones were interrupted, which is not the profiler's time: about 10 us for a sample, and 80
 * for a rule that is learnt. */
#define TICKS_MAX       (UINT64_C(1) << 15)
#define TICKS_APART_MAX (UINT64_C(1) << 18)
static uint32_t automatic;
static unsigned share_ppm = SHARE_DEFAULT;
static uint64_t cost_ticks;  /* estimated: of samples, */
static uint32_t timed;       /* samples that cost_ticks is made of */
static uint64_t other_ticks; /* and of what no longer interval would save */
static uint64_t start_bytes; /* recorded at an interval of 1, up to HT_BUDGET_START_BYTES */
static uint64_t least = 1;   /* interval that memory allows */

/* ---- what is spent ---- */

static uint64_t reading; /* ticks that pass between two readings of the clock */

static void start_clock(void)
{
    ht_clock_start();
    reading = TICKS_MAX;
    for (int i = 0; i < 16; i++) {
        uint64_t before = ht_clock_now();
        reading = ht_min(reading, ht_clock_now() - before);
    }
}

int64_t ht_budget_nanos(void)
{
    double rate = ht_clock_rate();
    double ticks = (double)(int64_t)(__atomic_load_n(&cost_ticks, __ATOMIC_RELAXED) +
                                     __atomic_load_n(&other_ticks, __ATOMIC_RELAXED));
    return rate > 0 && ticks > 0 ? (int64_t)(ticks / rate) : 0;
}

/* ---- a look ---- */

/* Guarded by `looking`, which nobody waits for. */
static uint32_t looking;
static uint64_t last_ticks; /* of the last look; atomic */
static uint64_t window_ticks = WINDOW_FIRST;
static struct {
    int64_t cost, others, cpu, nanos; /* at the last look; the last, of the steady clock */
    uint32_t timed;
    struct ht_pace pace;
    double others_share; /* of the time, a mean of some looks */
    bool is_under_way;   /* the start is over, and what was spent in it is forgotten */
} account;

/* What the interval does not change is paid first: samples have the rest of the budget, but a
 * quarter at the least. Of the last looks: what one sees is mostly chance. */
static double share_of_samples(double others)
{
    double share = share_ppm / MILLION;
    account.others_share += OTHERS_WEIGHT * (others - account.others_share);
    double rest = share - account.others_share;
    return rest > share / 4 ? rest : share / 4;
}

static void look_at(int64_t cost, int64_t others, int64_t cpu, int64_t nanos)
{
    double used = (double)(cost - account.cost), other = (double)(others - account.others);
    double time = (double)(cpu - account.cpu), idle = (double)(nanos - account.nanos) / IDLE_PART;
    bool is_start = __atomic_load_n(&start_bytes, __ATOMIC_RELAXED) < HT_BUDGET_START_BYTES;
    account.cost = cost;
    account.others = others;
    account.cpu = cpu;
    account.nanos = nanos;
    if (is_start)
        return;
    if (!account.is_under_way)
        account.pace.debt = -used;
    account.is_under_way = true;
    time = time > idle ? time : idle;
    ht_interval_id now = ht_sampler_current();
    uint64_t interval = ht_sampler_interval_of(now);
    uint64_t next =
        ht_pace_next(&account.pace, interval, used, time, share_of_samples(other / time));
    next = ht_max(next, __atomic_load_n(&least, __ATOMIC_RELAXED));
    if (interval != 0 && next != interval)
        ht_sampler_change(now, next);
}

static void look(void)
{
    double rate = ht_clock_rate();
    int64_t cpu = ht_os_cpu_nanos(), nanos = ht_os_steady_nanos();
    int64_t window = ht_sampler_interval() < SHORT_INTERVAL ? WINDOW_SHORT_NANOS : WINDOW_NANOS;
    int64_t by_clock = IDLE_PART * window;
    uint32_t count = __atomic_load_n(&timed, __ATOMIC_RELAXED);
    if (count - account.timed < TIMED_MIN) {
        window = LONG_WINDOW_NANOS;
        by_clock = 2 * LONG_WINDOW_NANOS;
    }
    if (rate <= 0 || nanos <= account.nanos ||
        (cpu - account.cpu < window / 2 && nanos - account.nanos < by_clock))
        return;
    account.timed = count;
    window_ticks = (uint64_t)((double)ht_min(window, WINDOW_NANOS) * rate);
    look_at((int64_t)((double)(int64_t)__atomic_load_n(&cost_ticks, __ATOMIC_RELAXED) / rate),
            (int64_t)((double)(int64_t)__atomic_load_n(&other_ticks, __ATOMIC_RELAXED) / rate), cpu,
            nanos);
}

void ht_budget_look(void)
{
    uint64_t ticks = ht_clock_now();
    uint64_t last = __atomic_load_n(&last_ticks, __ATOMIC_RELAXED);
    if (HT_LIKELY(ticks - last < __atomic_load_n(&window_ticks, __ATOMIC_RELAXED)) ||
        __atomic_load_n(&automatic, __ATOMIC_RELAXED) == 0 || ht_sampler_current() == 0 ||
        __atomic_exchange_n(&looking, 1, __ATOMIC_ACQUIRE) != 0)
        return;
    __atomic_store_n(&last_ticks, ticks, __ATOMIC_RELAXED);
    look();
    __atomic_store_n(&looking, 0, __ATOMIC_RELEASE);
}

void ht_budget_add(uint64_t began, uint32_t weight)
{
    uint64_t took = ht_budget_clock() - began;
    took = ht_min(took - ht_min(took, reading), TICKS_MAX);
    __atomic_fetch_add(&cost_ticks, took * weight, __ATOMIC_RELAXED);
    __atomic_fetch_add(&timed, 1, __ATOMIC_RELAXED);
    ht_budget_look();
}

void ht_budget_add_free(uint64_t began, int32_t weight, bool can_be_saved)
{
    uint64_t took = ht_min(ht_budget_clock() - began, TICKS_MAX);
    __atomic_fetch_add(can_be_saved ? &cost_ticks : &other_ticks,
                       (uint64_t)((int64_t)took * weight), __ATOMIC_RELAXED);
    ht_budget_look();
}

void ht_budget_add_apart(uint64_t began)
{
    uint64_t took = ht_clock_now() - began;
    ht_thread.apart += took;
    __atomic_fetch_add(&other_ticks, ht_min(took, TICKS_APART_MAX), __ATOMIC_RELAXED);
}

void ht_budget_tell(uint64_t bytes)
{
    if (__atomic_load_n(&start_bytes, __ATOMIC_RELAXED) < HT_BUDGET_START_BYTES)
        __atomic_fetch_add(&start_bytes, bytes, __ATOMIC_RELAXED);
}

/* ---- settings ---- */

bool ht_budget_is_auto(void)
{
    return __atomic_load_n(&automatic, __ATOMIC_RELAXED) != 0;
}

void ht_budget_set_share(unsigned new_share_ppm)
{
    share_ppm = new_share_ppm;
}

int ht_budget_set_interval(uint64_t interval)
{
    if (reading == 0)
        start_clock();
    bool is_auto = interval == HT_INTERVAL_AUTO;
    uint64_t first = is_auto ? __atomic_load_n(&least, __ATOMIC_RELAXED) : interval;
    int r = ht_sampler_set_interval(first);
    if (r == 0 && is_auto)
        __atomic_store_n(&ht_shadow_is_thinned, true, __ATOMIC_RELAXED);
    if (r == 0)
        __atomic_store_n(&automatic, is_auto, __ATOMIC_RELEASE);
    return r;
}

/* ---- memory ---- */

/* An interval below 64 would slow nothing down, since hardly a block is that small. */
#define EASE_FROM      (HT_ARENA_FULL * 7 / 16)
#define EASE_STEP      2u
#define EASED_INTERVAL 64u

static unsigned eased;

void ht_budget_ease(void)
{
    unsigned fullness = ht_arena_table_fullness();
    unsigned done = __atomic_load_n(&eased, __ATOMIC_RELAXED);
    if (HT_LIKELY(fullness < EASE_FROM + done * EASE_STEP))
        return;
    ht_interval_id now = ht_sampler_current();
    uint64_t interval = ht_sampler_interval_of(now);
    uint64_t next = ht_min(ht_max(interval * 2, EASED_INTERVAL), HT_INTERVAL_MAX);
    if (interval == 0 || !__atomic_compare_exchange_n(&eased, &done, done + 1, false,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    ht_sampler_change(now, next);
    __atomic_store_n(&least, next, __ATOMIC_RELAXED);
}

unsigned ht_budget_eased(void)
{
    return __atomic_load_n(&eased, __ATOMIC_RELAXED);
}

void ht_budget_fork_child(void)
{
    cost_ticks = 0;
    other_ticks = 0;
    account.cost = 0;
    account.others = 0;
    account.cpu = 0;
    account.pace.debt = 0;
    looking = 0;
}
