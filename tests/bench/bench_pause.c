/* bench_pause.c: how long allocations take while profiles are written, and what writing one costs,
 * with real tables.
 *
 *     bench_pause [--stacks N] [--interval BYTES] [--threads N] [--seconds N]
 *
 * Fills the tables with N different stacks of 30 frames (100,000), each of one block that is freed.
 * Then two threads allocate and free all the time, first alone, then while one profile after the
 * other is written, and take the time of each allocation. One in 64 comes from a stack that was
 * never seen before.
 *
 * The two threads and the writer share the CPUs there are, so that the wall clock also shows what
 * the scheduler does. The thread's own CPU clock does not, but not either that a thread waits: so
 * the times that a thread slept are counted, in an allocation of more than 20 us and in all. */
#include <fcntl.h>
#include <heaptap.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DEPTH       30
#define THREADS_MAX 2
#define BUCKETS     20 /* below 64 ns, 128 ns ... 16 ms, and what is above */
#define RING        64
#define SLOW        20000 /* ns */
#define TOO_SLOW    1000000

static unsigned long stack_count = 100000;
static unsigned long long interval = 1;
static double phase_seconds = 3;
static int thread_count = 2;

/* ---- stacks ---- */

typedef void *allocate(void *context, size_t size);

static void *even(unsigned long number, int levels, allocate *call, void *context, size_t size);
static void *odd(unsigned long number, int levels, allocate *call, void *context, size_t size);

static void *go_on(unsigned long number, int levels, allocate *call, void *context, size_t size)
{
    if (levels == 0)
        return call(context, size);
    return number & 1 ? odd(number >> 1, levels - 1, call, context, size)
                      : even(number >> 1, levels - 1, call, context, size);
}

static __attribute__((noinline)) void *even(unsigned long number, int levels, allocate *call,
                                            void *context, size_t size)
{
    void *block = go_on(number, levels, call, context, size);
    /* Neither a tail call nor a loop, nor the same function as the other. */
    __asm__ volatile("# even" : "+r"(block));
    return block;
}

static __attribute__((noinline)) void *odd(unsigned long number, int levels, allocate *call,
                                           void *context, size_t size)
{
    void *block = go_on(number, levels, call, context, size);
    __asm__ volatile("# odd" : "+r"(block));
    return block;
}

/* What calls even(), and is called. */
#define OTHER_FRAMES 5

static __attribute__((noinline)) void *plain_malloc(void *context, size_t size)
{
    void *block = malloc(size);
    __asm__ volatile("" : "+r"(block) : "r"(context));
    return block;
}

static void fill_tables(void)
{
    for (unsigned long number = 0; number < stack_count; number++)
        free(even(number, DEPTH - OTHER_FRAMES, plain_malloc, NULL, 100));
}

/* ---- clocks ---- */

static long nanos(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How often the thread gave up the CPU because it had to wait. */
static long sleeps(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

/* ---- the threads ---- */

struct latency {
    unsigned long buckets[BUCKETS];
    unsigned long too_slow, count;
    long longest;
};

struct worker {
    struct latency wall, cpu;
    long slept;                         /* in all */
    unsigned long slow_slept, slow_ran; /* allocations above SLOW, in which it did, or not */
    long longest_sleeping;              /* of the former */
};

static bool is_over;

static void note(struct latency *latency, long took)
{
    int bucket = 0;
    for (long limit = 64; took >= limit && bucket < BUCKETS - 1; limit *= 2)
        bucket++;
    latency->buckets[bucket]++;
    latency->count++;
    latency->too_slow += took > TOO_SLOW;
    if (took > latency->longest)
        latency->longest = took;
}

static __attribute__((noinline)) void *timed_malloc(void *worker_, size_t size)
{
    struct worker *worker = worker_;
    long cpu = nanos(CLOCK_THREAD_CPUTIME_ID), wall = nanos(CLOCK_MONOTONIC);
    void *block = malloc(size);
    wall = nanos(CLOCK_MONOTONIC) - wall;
    cpu = nanos(CLOCK_THREAD_CPUTIME_ID) - cpu;
    note(&worker->wall, wall);
    note(&worker->cpu, cpu);
    if (wall > SLOW) {
        long now = sleeps();
        if (now != worker->slept) {
            worker->slow_slept++;
            if (wall > worker->longest_sleeping)
                worker->longest_sleeping = wall;
        } else {
            worker->slow_ran++;
        }
        worker->slept = now;
    }
    return block;
}

static void *work(void *worker_)
{
    static unsigned long new_stacks;
    struct worker *worker = worker_;
    void *ring[RING] = {0};
    uint64_t random = (uintptr_t)&random | 1;
    worker->slept = sleeps();
    long slept_before = worker->slept;
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned long number = random % 64 != 0
                                   ? random >> 8 & 255
                                   : 256 + __atomic_add_fetch(&new_stacks, 1, __ATOMIC_RELAXED);
        void **slot = &ring[random >> 16 & (RING - 1)];
        free(*slot);
        *slot =
            even(number, DEPTH - OTHER_FRAMES, timed_malloc, worker, 16 + (random >> 32) % 1000);
    }
    worker->slept = sleeps() - slept_before;
    for (int i = 0; i < RING; i++)
        free(ring[i]);
    return NULL;
}

/* ---- profiles ---- */

static double dump(double *ret_cpu)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/bench_pause.%d", (int)getpid());
    long wall = nanos(CLOCK_MONOTONIC), cpu = nanos(CLOCK_THREAD_CPUTIME_ID);
    int r = heaptap_snapshot(path);
    wall = nanos(CLOCK_MONOTONIC) - wall;
    cpu = nanos(CLOCK_THREAD_CPUTIME_ID) - cpu;
    unlink(path);
    if (r < 0) {
        fprintf(stderr, "no profile: %s\n", strerror(-r));
        exit(1);
    }
    *ret_cpu = (double)cpu * 1e-6;
    return (double)wall * 1e-6;
}

struct memory {
    uint64_t mapped, resident; /* by the profiler; of the whole process */
};

static struct memory memory_now(void)
{
    struct heaptap_statistics statistics;
    char text[128] = "";
    unsigned long size = 0, pages = 0;
    heaptap_statistics(&statistics);
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
        sscanf(text, "%lu %lu", &size, &pages);
    close(fd);
    return (struct memory){statistics.memory_bytes, pages * 4096};
}

static void *watch_memory(void *most_)
{
    struct memory *most = most_;
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        struct memory now = memory_now();
        most->mapped = now.mapped > most->mapped ? now.mapped : most->mapped;
        most->resident = now.resident > most->resident ? now.resident : most->resident;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

static void dump_alone(void)
{
    struct heaptap_statistics statistics;
    heaptap_statistics(&statistics);
    pthread_t watcher;
    double cpu, best_wall = 1e9, best_cpu = 1e9;
    dump(&cpu); /* code pages, and the sampler's own state */
    struct memory before = memory_now(), most = before;
    is_over = false;
    pthread_create(&watcher, NULL, watch_memory, &most);
    for (int i = 0; i < 5; i++) {
        double wall = dump(&cpu);
        best_wall = wall < best_wall ? wall : best_wall;
        best_cpu = cpu < best_cpu ? cpu : best_cpu;
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    pthread_join(watcher, NULL);
    printf(
        "%lu stacks, tables of %.1f MiB: a profile takes %.1f ms (CPU %.1f) and %lu KiB of memory, "
        "%lu KiB mapped\n",
        (unsigned long)statistics.stacks, (double)before.mapped / 1048576, best_wall, best_cpu,
        (unsigned long)(most.resident - before.resident) / 1024,
        (unsigned long)(most.mapped - before.mapped) / 1024);
}

static struct worker phase(bool with_dumps, unsigned *ret_dumps, double *ret_longest)
{
    static struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    memset(workers, 0, sizeof(workers));
    is_over = false;
    for (int i = 0; i < thread_count; i++)
        pthread_create(&threads[i], NULL, work, &workers[i]);
    long until = nanos(CLOCK_MONOTONIC) + (long)(phase_seconds * 1e9);
    if (!with_dumps)
        nanosleep(&(struct timespec){.tv_sec = (time_t)phase_seconds}, NULL);
    while (with_dumps && nanos(CLOCK_MONOTONIC) < until) {
        double cpu, wall = dump(&cpu);
        *ret_longest = wall > *ret_longest ? wall : *ret_longest;
        ++*ret_dumps;
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    struct worker sum = {0};
    for (int i = 0; i < thread_count; i++) {
        const struct worker *one = &workers[i];
        pthread_join(threads[i], NULL);
        for (int k = 0; k < 2; k++) {
            struct latency *to = k ? &sum.cpu : &sum.wall;
            const struct latency *from = k ? &one->cpu : &one->wall;
            for (int b = 0; b < BUCKETS; b++)
                to->buckets[b] += from->buckets[b];
            to->count += from->count;
            to->too_slow += from->too_slow;
            to->longest = from->longest > to->longest ? from->longest : to->longest;
        }
        sum.slept += one->slept;
        sum.slow_slept += one->slow_slept;
        sum.slow_ran += one->slow_ran;
        if (one->longest_sleeping > sum.longest_sleeping)
            sum.longest_sleeping = one->longest_sleeping;
    }
    return sum;
}

static void print_row(const char *name, unsigned long a, unsigned long b, unsigned long c,
                      unsigned long d)
{
    printf("%-22s %11lu %11lu   %11lu %11lu\n", name, a, b, c, d);
}

static void print_histogram(const struct worker *without, const struct worker *with)
{
    printf("%-22s %11s %11s   %11s %11s\n", "allocations", "wall: alone", "dumps", "CPU: alone",
           "dumps");
    for (int b = 0; b < BUCKETS; b++) {
        char name[32];
        if (b == BUCKETS - 1)
            snprintf(name, sizeof(name), "  longer");
        else
            snprintf(name, sizeof(name), "  below %10.2f us", 64e-3 * (double)(1l << b));
        print_row(name, without->wall.buckets[b], with->wall.buckets[b], without->cpu.buckets[b],
                  with->cpu.buckets[b]);
    }
    print_row("longer than 1 ms", without->wall.too_slow, with->wall.too_slow,
              without->cpu.too_slow, with->cpu.too_slow);
    print_row("longest, us", (unsigned long)without->wall.longest / 1000,
              (unsigned long)with->wall.longest / 1000, (unsigned long)without->cpu.longest / 1000,
              (unsigned long)with->cpu.longest / 1000);
    print_row("slept, times", (unsigned long)without->slept, (unsigned long)with->slept, 0, 0);
    print_row("above 20 us, slept", without->slow_slept, with->slow_slept, 0, 0);
    print_row("above 20 us, did not", without->slow_ran, with->slow_ran, 0, 0);
    print_row("longest that slept, us", (unsigned long)without->longest_sleeping / 1000,
              (unsigned long)with->longest_sleeping / 1000, 0, 0);
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--stacks") == 0)
            stack_count = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--interval") == 0)
            interval = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            phase_seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--threads") == 0)
            thread_count = atoi(argv[i + 1]);
    }
    if (thread_count < 1 || thread_count > THREADS_MAX)
        return 2;
    if (getenv("HEAPTAP_MEMORY") == NULL) { /* settings are read before main */
        setenv("HEAPTAP_MEMORY", "2G", 1);
        setenv("HEAPTAP_INTERVAL", "1", 1);
        execv("/proc/self/exe", argv);
    }
    fill_tables();
    heaptap_set_interval(interval);
    dump_alone();
    unsigned dumps = 0;
    double longest = 0;
    struct worker without = phase(false, NULL, NULL);
    struct worker with = phase(true, &dumps, &longest);
    printf("interval %llu, %d threads, %u profiles of %.0f ms at most\n", interval, thread_count,
           dumps, longest);
    print_histogram(&without, &with);
    return 0;
}
