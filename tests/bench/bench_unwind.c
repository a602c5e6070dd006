/* bench_unwind.c: what a stack costs: time for each frame when its rule is known, time for a pc
 * that nobody has seen yet, memory and stack for each thread that samples.
 *
 *     bench_unwind [LIBRARY]
 *     bench_unwind walk LEVELS TIMES      nothing but walks, LEVELS frames deeper than main
 *     bench_unwind learn LIBRARY TIMES    nothing but new pcs, TIMES 10,000
 *
 * On a machine with other work the least of many is the figure to compare. The other forms are for
 * valgrind --tool=callgrind: the difference of two runs is what the walks take, in instructions
 * (tests/whole/check_hot_path.py does so); and for strace -c. New pcs are drawn from the code of
 * the C library and of LIBRARY, by default the largest of a few that are often installed. */
#include "sample/unwind.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample/frames.h"
#include "sample/hot.h"
#include "sample/record.h"
#include "sample/unwind_learn.h"
#include "sys/arena.h"
#include "sys/os.h"

#define DEPTH 1000
#define TURNS 41

static uintptr_t pcs[DEPTH + 1];
static unsigned depth;

/* Like a hook: starts at the frame that called it. */
__attribute__((noinline)) static void walks_from_caller(unsigned times)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    for (unsigned i = 0; i < times; i++)
        depth = ht_unwind_walk(&caller, pcs, DEPTH);
}

static double seconds(void)
{
    return (double)ht_os_steady_nanos() * 1e-9;
}

/* ---- frames whose rules are known ---- */

static double least; /* seconds of a walk */

static void take_least(unsigned times)
{
    walks_from_caller(100);
    least = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        double begin = seconds();
        walks_from_caller(times);
        double took = (seconds() - begin) / times;
        least = took < least ? took : least;
    }
}

/* The empty asm keeps the compiler from making a loop of it. Each second level has a frame pointer,
 * and the levels have many return addresses: the table is not asked for one again and again. */
__attribute__((noinline)) static unsigned descend(unsigned levels, void (*act)(unsigned),
                                                  unsigned argument);

__attribute__((noinline)) static unsigned descend_by_fp(unsigned levels, void (*act)(unsigned),
                                                        unsigned argument)
{
    volatile char *moving = __builtin_alloca(16 + levels % 32);
    moving[0] = 0;
    unsigned result = levels == 0 ? (act(argument), 0) : descend(levels - 1, act, argument);
    __asm__ volatile("" : "+r"(result));
    return result;
}

__attribute__((noinline)) static unsigned descend(unsigned levels, void (*act)(unsigned),
                                                  unsigned argument)
{
    unsigned result = 0;
    if (levels == 0)
        act(argument);
    else {
        switch (levels % 8) {
        case 0:
            result = descend(levels - 1, act, argument) + 1;
            break;
        case 1:
            result = descend(levels - 1, act, argument) + 2;
            break;
        case 2:
            result = descend_by_fp(levels - 1, act, argument) + 3;
            break;
        case 3:
            result = descend(levels - 1, act, argument) + 4;
            break;
        case 4:
            result = descend(levels - 1, act, argument) + 5;
            break;
        case 5:
            result = descend(levels - 1, act, argument) + 6;
            break;
        case 6:
            result = descend(levels - 1, act, argument) + 7;
            break;
        default:
            result = descend(levels - 1, act, argument) + 8;
            break;
        }
    }
    __asm__ volatile("" : "+r"(result));
    return result;
}

static void measure_warm(void)
{
    static const unsigned depths[] = {10, 30, 60, 128};
    descend(0, walks_from_caller, 1);
    unsigned root = depth;
    for (size_t i = 0; i < HT_ARRAY_SIZE(depths); i++) {
        descend(depths[i] - root - 1, take_least, 200000 / depths[i]); /* which is a frame, too */
        printf("warm walk, %3u frames: %6.1f ns, %.1f a frame\n", depth, least * 1e9,
               least * 1e9 / depth);
    }
}

/* ---- new pcs ---- */

struct code {
    const char *name;
    uintptr_t start, size;
};

static int find_code(struct dl_phdr_info *info, size_t size, void *context)
{
    struct code *code = context;
    (void)size;
    if (strstr(info->dlpi_name, code->name) == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) {
            code->start = info->dlpi_addr + segment->p_vaddr;
            code->size = segment->p_memsz;
        }
    }
    return 1;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static int by_value(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static void measure_new(const char *name)
{
    enum { GROUPS = 100, GROUP = 100 };
    static double group[GROUPS];
    struct code code = {.name = name};
    dl_iterate_phdr(find_code, &code);
    if (code.size == 0)
        return;
    unsigned kinds[HT_RULE_NO_CFI + 1] = {0};
    uint64_t n = 1;
    for (int i = 0; i < GROUPS; i++) {
        double begin = seconds();
        for (int j = 0; j < GROUP; j++)
            kinds[ht_learn_rule(code.start + mix(n++) % code.size).kind]++;
        group[i] = (seconds() - begin) / GROUP;
    }
    qsort(group, GROUPS, sizeof(*group), by_value);
    printf("new pc, %s: %.2f us (of %d hundreds the median; least %.2f, most %.2f); %u%% have a "
           "rule\n",
           name, group[GROUPS / 2] * 1e6, GROUPS, group[0] * 1e6, group[GROUPS - 1] * 1e6,
           (kinds[HT_RULE_SP] + kinds[HT_RULE_FP] + kinds[HT_RULE_SP_DEREF] +
            kinds[HT_RULE_FP_DEREF]) *
               100 / (GROUPS * GROUP));
}

/* ---- a thread that samples ---- */

#define STACK   (64 * 1024)
#define PAINT   0x5a
#define THREADS 64

static pthread_barrier_t all_have_sampled;

/* What is below this frame is painted, the deepest word that `act` wrote is found. */
__attribute__((noinline)) static size_t stack_of(void (*act)(unsigned), unsigned argument)
{
    char *here = __builtin_frame_address(0);
    char *low = here - STACK / 2;
    /* Not by memset(), which has a frame of its own there. */
    for (volatile char *byte = low; byte < here - 256; byte++)
        *byte = PAINT;
    act(argument);
    const volatile char *byte = low;
    while (byte < here && *byte == PAINT)
        byte++;
    return (size_t)(here - byte);
}

__attribute__((noinline)) static void sample(unsigned size)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    static uintptr_t block = 0x100000;
    uintptr_t mine = __atomic_add_fetch(&block, 64, __ATOMIC_RELAXED);
    ht_interval_id interval = ht_record_begin(size);
    if (interval != 0)
        ht_record_block((void *)mine, size, interval, &caller);
}

static void *sample_in_thread(void *ret_stack)
{
    size_t *stack = ret_stack;
    stack[0] = stack_of(sample, 100); /* each thread's first sample finds its stack */
    stack[1] = stack_of(sample, 100);
    pthread_barrier_wait(&all_have_sampled);
    return NULL;
}

static void measure_threads(void)
{
    static size_t stack[THREADS][2];
    pthread_t threads[THREADS];
    ht_sampler_set_interval(1);
    pthread_barrier_init(&all_have_sampled, NULL, 1);
    if (pthread_create(&threads[0], NULL, sample_in_thread, stack[0]) != 0)
        return;
    pthread_join(threads[0], NULL);
    printf("stack of a sample: %zu B with new pcs, %zu without\n", stack[0][0], stack[0][1]);
    size_t before = ht_arena_used();
    pthread_barrier_destroy(&all_have_sampled);
    pthread_barrier_init(&all_have_sampled, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, sample_in_thread, stack[i]) != 0)
            abort();
    }
    size_t most = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        most = stack[i][0] > most ? stack[i][0] : most;
    }
    printf("a thread that samples: %zu B of its own, %zu of tables and buffers (%d threads), at "
           "most %zu of stack\n",
           sizeof(struct ht_thread), (ht_arena_used() - before) / THREADS, THREADS, most);
}

int main(int argc, char **argv)
{
    const char *reason = NULL;
    if (!ht_unwind_start(&reason)) {
        fprintf(stderr, "%s\n", reason);
        return 1;
    }
    if (argc == 4 && strcmp(argv[1], "learn") == 0) {
        dlopen(argv[2], RTLD_LAZY);
        for (int i = 0; i < atoi(argv[3]); i++)
            measure_new(argv[2]);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "walk") == 0) {
        descend((unsigned)atoi(argv[2]), walks_from_caller, (unsigned)atoi(argv[3]));
        printf("%u frames\n", depth);
        return 0;
    }
    measure_warm();
    static const char *const large[] = {"libLLVM-14.so.1", "libLLVM-15.so.1", "libcrypto.so.3",
                                        "libstdc++.so.6"};
    const char *library = argc > 1 ? argv[1] : NULL;
    if (library != NULL && dlopen(library, RTLD_LAZY) == NULL)
        fprintf(stderr, "%s\n", dlerror());
    for (size_t i = 0; i < HT_ARRAY_SIZE(large) && library == NULL; i++)
        library = dlopen(large[i], RTLD_LAZY) != NULL ? large[i] : NULL;
    measure_new("libc.so.6");
    if (library != NULL)
        measure_new(library);
    measure_threads();
    return 0;
}
