/* bench_sample.c: what one sample costs, and the free of a sampled block, all tables warm.
 *
 *     bench_sample [--interval BYTES] [--depth FRAMES]
 *     bench_sample --count             under callgrind: a fixed number of samples, no times
 *
 * Stacks have 26 frames; the bits of a number choose one of two functions at each level, and each
 * sample is of another stack than the one before. 20,480 blocks are live; as many are freed as are
 * allocated, the oldest first. Times are of the thread's own CPU clock, for rounds of 1,024, less
 * the same calls without samples: the fastest round, and the median.
 *
 * Instructions of a sample and of a free, and of their parts:
 *
 *     for function in take_sample free_sample; do
 *         valgrind --tool=callgrind --toggle-collect=$function --callgrind-out-file=$function.out \
 *             build/tests/bench/bench_sample --count
 *         callgrind_annotate --inclusive=yes $function.out | head -40
 *     done */
#include <execinfo.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sample/hot.h"
#include "sample/record.h"
#include "sample/unwind.h"
#include "sys/arena.h"

#define ROUND       1024u
#define LIVE_BLOCKS (20 * ROUND)
#define ROUNDS      400u
#define THREADS_MAX 2u

static unsigned depth = 26, rounds = ROUNDS;

struct worker {
    unsigned stacks; /* different ones: a power of two, ROUND at most */
    unsigned first;  /* the number of the first */
    uintptr_t heap;  /* where its blocks would lie */
    uint64_t allocs, frees;
    unsigned frames; /* of a stack with no levels */
    double nanos[3][ROUNDS];
};

/* ---- what is measured ---- */

static const void *block_of(const struct worker *worker, uint64_t n)
{
    return (const void *)(worker->heap + n % (2 * LIVE_BLOCKS) * 272);
}

/* As a hook that has borrowed. */
__attribute__((always_inline)) static inline void sample(struct worker *worker)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    uint64_t n = worker->allocs++;
    size_t size = 16 + n % 16 * 250;
    ht_interval_id interval = ht_record_begin(size);
    if (interval != 0)
        ht_record_block(block_of(worker, n), size, interval, &caller);
}

__attribute__((noinline)) static void take_sample(struct worker *worker)
{
    sample(worker);
}

/* The same by another name, so that callgrind does not count it. */
__attribute__((noinline)) static void take_cold_sample(struct worker *worker)
{
    sample(worker);
}

__attribute__((noinline)) static void take_none(struct worker *worker)
{
    __asm__ volatile("" ::"r"(worker));
}

__attribute__((noinline)) static void free_sample(struct worker *worker)
{
    struct ht_live_block was;
    if (ht_record_forget(block_of(worker, worker->frees++), &was) == HT_LIVE_REMOVED)
        ht_record_freed(&was);
}

/* ---- the stacks ---- */

typedef void action(struct worker *worker);

static int even(struct worker *worker, action *act, unsigned number, unsigned levels);
static int odd(struct worker *worker, action *act, unsigned number, unsigned levels);

__attribute__((noinline)) static int leaf(struct worker *worker, action *act)
{
    act(worker); /* from one place, whatever it is: the stacks are the same */
    return 0;
}

static int go_on(struct worker *worker, action *act, unsigned number, unsigned levels)
{
    if (levels == 0)
        return leaf(worker, act);
    return number & 1 ? odd(worker, act, number >> 1, levels - 1)
                      : even(worker, act, number >> 1, levels - 1);
}

__attribute__((noinline)) static int even(struct worker *worker, action *act, unsigned number,
                                          unsigned levels)
{
    int result = go_on(worker, act, number, levels);
    /* Neither a tail call nor a loop, nor the same function as the other. */
    __asm__ volatile("# even" : "+r"(result));
    return result;
}

__attribute__((noinline)) static int odd(struct worker *worker, action *act, unsigned number,
                                         unsigned levels)
{
    int result = go_on(worker, act, number, levels);
    __asm__ volatile("# odd" : "+r"(result));
    return result;
}

static void count_frames(struct worker *worker)
{
    void *pcs[200];
    worker->frames = (unsigned)backtrace(pcs, 200) - 1; /* but for this one */
}

/* ---- rounds ---- */

enum what { FREE, CALL, ALLOC, COLD_ALLOC, LOOK };

static double cpu_nanos(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void free_all(struct worker *worker)
{
    for (unsigned i = 0; i < ROUND; i++)
        free_sample(worker);
}

/* Neighbours have different leaves: 389 is prime. */
static void call_all(struct worker *worker, action *act)
{
    for (unsigned i = 0; i < ROUND; i++)
        even(worker, act, worker->first + i * 389 % worker->stacks, depth - worker->frames);
}

/* Nanoseconds of one. */
__attribute__((noinline)) static double do_round(struct worker *worker, enum what what)
{
    static action *const actions[] = {
        [CALL] = take_none, [ALLOC] = take_sample, [COLD_ALLOC] = take_cold_sample};
    double begin = cpu_nanos();
    if (what == FREE)
        free_all(worker);
    else if (what == LOOK)
        even(worker, count_frames, 0, 0);
    else
        call_all(worker, actions[what]);
    return (cpu_nanos() - begin) / ROUND;
}

static pthread_barrier_t together;

static void *work(void *worker_)
{
    struct worker *worker = worker_;
    const unsigned warm = 1 + LIVE_BLOCKS / ROUND + 1;
    worker->frames = depth;
    for (unsigned i = 0; i < warm + 3 * rounds; i++) {
        enum what what = i == 0 ? LOOK : i < warm ? COLD_ALLOC : (enum what)((i - warm) % 3);
        if (i == warm)
            pthread_barrier_wait(&together);
        double took = do_round(worker, what);
        if (i >= warm)
            worker->nanos[what][(i - warm) / 3] = took;
    }
    pthread_barrier_wait(&together);
    return NULL;
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct figures {
    double least, median;
};

static struct figures figures_of(double *values)
{
    qsort(values, rounds, sizeof(*values), compare);
    return (struct figures){values[0], values[rounds / 2]};
}

static struct worker workers[THREADS_MAX];

static void run(unsigned threads, unsigned stacks, bool same)
{
    static unsigned runs;
    pthread_t ids[THREADS_MAX];
    pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.stacks = stacks,
                                     .first = same ? 0 : i * ROUND,
                                     .heap = (uintptr_t)0x500000000000 + ((uintptr_t)++runs << 32)};
        if (pthread_create(&ids[i], NULL, work, &workers[i]) != 0)
            exit(1);
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

static void measure(const char *name, unsigned threads, unsigned stacks, bool same)
{
    run(threads, stacks, same);
    for (unsigned i = 0; i < threads; i++) {
        struct figures call = figures_of(workers[i].nanos[CALL]);
        struct figures alloc = figures_of(workers[i].nanos[ALLOC]);
        struct figures freed = figures_of(workers[i].nanos[FREE]);
        printf("%-38s sample %5.0f ns (median %5.0f), free %4.0f ns (median %4.0f)\n",
               i == 0 ? name : "", alloc.least - call.least, alloc.median - call.median,
               freed.least, freed.median);
    }
}

/* Parts that can be had by themselves. The rest is the walk, the stack's site and the table. */
static void measure_parts(void)
{
    double draw = 1e9, weight[3] = {1e9, 1e9, 1e9};
    static const size_t sizes[] = {64, 16384, 400000};
    ht_interval_id id = ht_sampler_current();
    uint64_t random = 88172645463325252u, sum = 0;
    for (unsigned round = 0; round < ROUNDS; round++) { /* each waits for the one before */
        double begin = cpu_nanos();
        for (unsigned i = 0; i < ROUND; i++)
            random += ht_sampler_draw(id, &random) & 1;
        draw = ht_min((uint64_t)draw, (uint64_t)(cpu_nanos() - begin));
        for (unsigned k = 0; k < HT_ARRAY_SIZE(sizes); k++) {
            begin = cpu_nanos();
            for (unsigned i = 0; i < ROUND; i++)
                sum += ht_sampler_weight(sizes[k] + (sum & 1), id).objects;
            weight[k] = ht_min((uint64_t)weight[k], (uint64_t)(cpu_nanos() - begin));
        }
    }
    printf("of it: draw %.1f ns, weight %.1f ns (64 B), %.1f ns (16 KiB), %.1f ns (400 KB)%s\n",
           draw / ROUND, weight[0] / ROUND, weight[1] / ROUND, weight[2] / ROUND,
           sum == 1 ? "!" : "");
}

static void __attribute__((noreturn)) usage(void)
{
    fprintf(stderr, "usage: bench_sample [--interval BYTES] [--depth FRAMES] [--count]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t interval = 524288;
    bool count = false;
    const char *reason = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--count") == 0)
            count = true;
        else if (strcmp(argv[i], "--interval") == 0 && i + 1 < argc)
            interval = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--depth") == 0 && i + 1 < argc)
            depth = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            usage();
    }
    ht_arena_set_limit((size_t)1 << 30);
    if (interval == 0 || ht_sampler_set_interval(interval) < 0 || !ht_unwind_start(&reason)) {
        fprintf(stderr, "no samples: %s\n", reason != NULL ? reason : "the interval");
        return 1;
    }
    if (count) {
        rounds = 16;
        run(1, ROUND, false);
        printf("%u samples, %u frees\n", rounds * ROUND, rounds * ROUND);
        return 0;
    }
    printf("interval %llu, depth %u\n", (unsigned long long)interval, depth);
    measure("1 thread, 1,024 stacks", 1, ROUND, false);
    measure("1 thread, 1 stack", 1, 1, false);
    measure("2 threads, 1,024 stacks each", 2, ROUND, false);
    measure("2 threads, the same 1,024 stacks", 2, ROUND, true);
    measure("2 threads, the same stack", 2, 1, true);
    measure_parts();
    return 0;
}
