/* loops.c: programs of nothing but allocations, one for each row of compare.py's table.
 *
 *     loops ROW OPERATIONS
 *
 * Prints the CPU nanoseconds of an operation, of all threads: the start of the process, what is
 * live before the first operation, and a tenth of the operations as a warm-up are not counted. So
 * an expensive configuration may be given fewer operations than its baseline. The operations are
 * done in nine parts, and the median of them is printed: other work on the machine disturbs some.
 *
 * Sizes and choices are drawn from a fixed seed: each run asks for the same. It is built without
 * the compiler's knowledge of malloc, which would take pairs away (meson.build). */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof *(array))

static void die(const char *what)
{
    fprintf(stderr, "loops: %s\n", what);
    exit(1);
}

/* xorshift64: two nanoseconds, the same in every configuration. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The first byte is written, as every program does. */
static void *touched(char *block)
{
    if (block == NULL)
        die("no memory");
    *block = 1;
    return block;
}

/* --- what needs nothing to be live ------------------------------------------------------------ */

static void tight(unsigned long count)
{
    for (unsigned long i = 0; i < count; i++)
        free(touched(malloc(64)));
}

/* Sizes between 2 and 3 KiB are past glibc's thread cache, and a sample at 512 KiB comes every 200
 * of them. */
static void zeroed(unsigned long count)
{
    uint64_t seed = 1;
    for (unsigned long i = 0; i < count; i++)
        free(touched(calloc(1, 2048 + next_random(&seed) % 1024)));
}

static void aligned(unsigned long count)
{
    for (unsigned long i = 0; i < count; i += 2) {
        void *block = NULL;
        if (posix_memalign(&block, 64, 256) != 0)
            die("no aligned memory");
        void *other = touched(aligned_alloc(128, 512));
        free(touched(block));
        free(other);
    }
}

/* A buffer that grows by half as text is appended, up to 8 KiB: one operation is one realloc. */
static void growing(unsigned long count)
{
    unsigned long done = 0;
    while (done < count) {
        char *buffer = touched(malloc(16));
        for (size_t size = 16; size < 8192 && done < count; done++) {
            size += size / 2;
            buffer = touched(realloc(buffer, size));
        }
        free(buffer);
    }
}

/* --- what replaces live blocks ---------------------------------------------------------------- */

struct heap {
    void **blocks;
    size_t count, size_max;
    uint64_t seed;
};

static size_t drawn_size(struct heap *heap)
{
    return 16 + next_random(&heap->seed) % (heap->size_max - 15);
}

static void replace_one(struct heap *heap, size_t which)
{
    free(heap->blocks[which]);
    heap->blocks[which] = touched(malloc(drawn_size(heap)));
}

/* A heap in the state that it keeps: most blocks were replaced, however few operations follow. */
static void fill(struct heap *heap, size_t count, size_t size_max)
{
    *heap = (struct heap){.blocks = calloc(count, sizeof *heap->blocks),
                          .count = count,
                          .size_max = size_max,
                          .seed = UINT64_C(88172645463325252)};
    if (heap->blocks == NULL)
        die("no memory");
    for (size_t i = 0; i < count; i++)
        heap->blocks[i] = touched(malloc(drawn_size(heap)));
    for (size_t i = 0; i < 3 * count; i++)
        replace_one(heap, next_random(&heap->seed) % count);
}

static struct heap *live_heap(size_t count, size_t size_max)
{
    static struct heap heap;
    if (heap.blocks == NULL)
        fill(&heap, count, size_max);
    return &heap;
}

static void mixed(unsigned long count)
{
    struct heap *heap = live_heap(32768, 2048);
    for (unsigned long i = 0; i < count; i++)
        replace_one(heap, next_random(&heap->seed) % heap->count);
}

/* Live buffers get another size between 2 and 3 KiB: some in place, some by a copy. */
static void growing_3k(unsigned long count)
{
    struct heap *heap = live_heap(1000, 2048);
    for (unsigned long i = 0; i < count; i++) {
        void **block = &heap->blocks[next_random(&heap->seed) % heap->count];
        *block = touched(realloc(*block, 2048 + next_random(&heap->seed) % 1024));
    }
}

/* The three nearest calls of the leaf are to one of two functions each, as bits of the block's
 * number say: eight stacks, so that neither a walk nor its stack is always that of the last time.
 * The statement after the call keeps it from being a jump. */
static void descend_right(struct heap *heap, size_t which, unsigned depth);

#define AFTER_CALL() __asm__ volatile("" ::: "memory")

__attribute__((noinline)) static void replace(struct heap *heap, size_t which)
{
    replace_one(heap, which);
    AFTER_CALL();
}

__attribute__((noinline)) static void descend_left(struct heap *heap, size_t which, unsigned depth)
{
    if (depth == 0)
        replace(heap, which);
    else if (depth > 3 || (which >> depth & 1) == 0)
        descend_left(heap, which, depth - 1);
    else
        descend_right(heap, which, depth - 1);
    AFTER_CALL();
}

__attribute__((noinline)) static void descend_right(struct heap *heap, size_t which, unsigned depth)
{
    if (depth == 0)
        replace(heap, which);
    else if ((which >> depth & 1) == 0)
        descend_left(heap, which, depth - 1);
    else
        descend_right(heap, which, depth - 1);
    AFTER_CALL();
}

static void churn(struct heap *heap, unsigned depth, unsigned long count)
{
    for (unsigned long i = 0; i < count; i++)
        descend_left(heap, next_random(&heap->seed) % heap->count, depth);
}

static void churn_10(unsigned long count)
{
    churn(live_heap(20000, 512), 10, count);
}

static void churn_40(unsigned long count)
{
    churn(live_heap(20000, 512), 40, count);
}

static void churn_100k(unsigned long count)
{
    churn(live_heap(100000, 512), 10, count);
}

/* --- threads ---------------------------------------------------------------------------------- */

static pthread_t start_thread(void *(*run)(void *), void *context)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, context) != 0)
        die("no thread");
    return thread;
}

struct share {
    struct heap heap;
    unsigned long count;
};

static void *churn_share(void *context)
{
    struct share *share = context;
    churn(&share->heap, 10, share->count);
    return NULL;
}

static void two_threads(unsigned long count)
{
    static struct share shares[2];
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        if (shares[i].heap.blocks == NULL)
            fill(&shares[i].heap, 20000, 512);
        shares[i].count = count / 2;
        threads[i] = start_thread(churn_share, &shares[i]);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* One thread allocates a batch, the other frees it, and so on. They never run at once: how often
 * they then meet at the arena's lock, which differs fivefold, depends on who else is running. */
#define BATCH_BLOCKS 5000u

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool full;
    unsigned long count; /* of all blocks, set before the second thread starts */
    void *blocks[BATCH_BLOCKS];
} batch = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void await_batch(bool full)
{
    pthread_mutex_lock(&batch.lock);
    while (batch.full != full)
        pthread_cond_wait(&batch.changed, &batch.lock);
    pthread_mutex_unlock(&batch.lock);
}

static void pass_batch(bool full)
{
    pthread_mutex_lock(&batch.lock);
    batch.full = full;
    pthread_cond_signal(&batch.changed);
    pthread_mutex_unlock(&batch.lock);
}

static void *free_batches(void *context)
{
    for (unsigned long done = 0; done < batch.count;) {
        await_batch(true);
        for (size_t k = 0; k < BATCH_BLOCKS && done < batch.count; k++, done++)
            free(batch.blocks[k]);
        pass_batch(false);
    }
    return context;
}

static void cross_thread(unsigned long count)
{
    uint64_t seed = 1;
    batch.count = count;
    pthread_t consumer = start_thread(free_batches, NULL);
    for (unsigned long done = 0; done < count;) {
        await_batch(false);
        for (size_t k = 0; k < BATCH_BLOCKS && done < count; k++, done++)
            batch.blocks[k] = touched(malloc(16 + next_random(&seed) % 496));
        pass_batch(true);
    }
    pthread_join(consumer, NULL);
}

/* --- the rows --------------------------------------------------------------------------------- */

static const struct row {
    const char *name;
    void (*run)(unsigned long count);
} rows[] = {
    {"tight", tight},        {"mixed", mixed},           {"churn-10", churn_10},
    {"churn-40", churn_40},  {"churn-100k", churn_100k}, {"threads", two_threads},
    {"cross", cross_thread}, {"realloc", growing},       {"realloc-3k", growing_3k},
    {"calloc-3k", zeroed},   {"aligned", aligned},
};

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#define PARTS 9

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double nanoseconds(const struct row *row, unsigned long count)
{
    double parts[PARTS];
    unsigned long part_count = count / PARTS + 1;
    row->run(count / 10 + 1);
    for (size_t i = 0; i < PARTS; i++) {
        double begin = cpu_seconds();
        row->run(part_count);
        parts[i] = (cpu_seconds() - begin) * 1e9 / (double)part_count;
    }
    qsort(parts, PARTS, sizeof *parts, compare_doubles);
    return parts[PARTS / 2];
}

int main(int argc, char **argv)
{
    unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    for (size_t i = 0; count != 0 && i < ARRAY_SIZE(rows); i++) {
        if (strcmp(argv[1], rows[i].name) != 0)
            continue;
        printf("%.4f\n", nanoseconds(&rows[i], count));
        return 0;
    }
    fputs("usage: loops ROW OPERATIONS, where ROW is one of", stderr);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        fprintf(stderr, " %s", rows[i].name);
    fputs("\n", stderr);
    return 2;
}
