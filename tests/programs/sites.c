/* sites.c: allocates at known places and prints the truth.
 *
 *     sites BYTES keep|free [THREADS] [NAME]
 *
 * Each site allocates about BYTES bytes (at least four blocks). With `keep` every second block is
 * freed and the rest is held to the end; with `free` nothing is held. With THREADS > 1 all threads
 * run all sites at once, and each frees the blocks of its neighbour. NAME runs one site only;
 * SITES_WITHOUT in the environment leaves one out (jemalloc has no pvalloc, and does not take back
 * what glibc's gives). */
#include "truth.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>

#define THREADS_MAX 16

/* One block from a site; the sites of one function are alike but for the size. */
typedef void *allocate(size_t size);

#define SITE(name, expression)                                                                     \
    NOINLINE static void *site_##name(size_t size)                                                 \
    {                                                                                              \
        void *block = (expression);                                                                \
        keep(block);                                                                               \
        return block;                                                                              \
    }

SITE(16, malloc(size))
SITE(24, malloc(size))
SITE(100, malloc(size))
SITE(1000, malloc(size))
SITE(4097, malloc(size))
SITE(65536, malloc(size))
SITE(262144, malloc(size))
SITE(1m, malloc(size))
SITE(4m, malloc(size))
SITE(mixed, malloc(size))
SITE(calloc, calloc(size / 8, 8))
SITE(realloc_null, realloc(NULL, size))
SITE(reallocarray, reallocarray(NULL, size / 4, 4))
SITE(aligned_alloc, aligned_alloc(256, size))
SITE(memalign, memalign(64, size))
SITE(valloc, valloc(size))
SITE(pvalloc, pvalloc(size))

NOINLINE static void *site_posix_memalign(size_t size)
{
    void *block = NULL;
    if (posix_memalign(&block, 4096, size) != 0)
        return NULL;
    keep(block);
    return block;
}

/* A string of size - 1 characters. */
NOINLINE static void *site_strdup(size_t size)
{
    static __thread char text[256];
    memset(text, 'x', size - 1);
    text[size - 1] = '\0';
    char *block = strdup(text);
    keep(block);
    return block;
}

/* The two sizes of the mixed site share one stack, and half of its bytes each. A sum taken over
 * both before the weights are would be far off. */
#define MIXED_SMALL 16u
#define MIXED_LARGE 65536u

static const struct site {
    const char *name;
    allocate *allocate;
    size_t size; /* 0: the mixed one */
    const char *how;
} sites[] = {
    {"site_16", site_16, 16, "leaf"},
    {"site_24", site_24, 24, "leaf"},
    {"site_100", site_100, 100, "leaf"},
    {"site_1000", site_1000, 1000, "leaf"},
    {"site_4097", site_4097, 4097, "leaf"},
    {"site_65536", site_65536, 65536, "leaf"},
    {"site_262144", site_262144, 262144, "leaf"},
    {"site_1m", site_1m, (1u << 20) + 1, "leaf"},
    {"site_4m", site_4m, 4u << 20, "leaf"},
    {"site_mixed", site_mixed, 0, "leaf"},
    {"site_calloc", site_calloc, 800, "leaf"},
    {"site_realloc_null", site_realloc_null, 300, "leaf"},
    {"site_reallocarray", site_reallocarray, 1200, "leaf"},
    {"site_posix_memalign", site_posix_memalign, 5000, "leaf"},
    {"site_aligned_alloc", site_aligned_alloc, 512, "leaf"},
    {"site_memalign", site_memalign, 333, "leaf"},
    {"site_valloc", site_valloc, 2000, "leaf"},
    {"site_pvalloc", site_pvalloc, 4096, "leaf"},
    {"site_strdup", site_strdup, 77, "through"},
};
#define SITES (sizeof(sites) / sizeof(sites[0]))

/* Sites that keep their own books. */
enum { GROW, SHRINK, MOVE_TO, FAIL, TO_ZERO, FREE_SIZED, ZERO, OWN };
static const char *const own_names[OWN] = {
    "site_realloc_grow",    "site_realloc_shrink", "site_realloc_moved", "site_realloc_fails",
    "site_realloc_to_zero", "site_free_sized",     "site_zero"};

struct worker {
    pthread_t thread;
    unsigned index;
    void **blocks[SITES];
    void *grown, *shrunk, *moved, *unharmed;
    struct truth truth[SITES], own[OWN];
};

static struct worker workers[THREADS_MAX];
static unsigned threads = 1;
static size_t budget_bytes;
static int free_all;
static const char *only;
static const char *without = "";
static pthread_barrier_t barrier;

static int wanted(const char *name)
{
    return (only == NULL || strcmp(only, name) == 0) && strcmp(without, name) != 0;
}

/* How many blocks a site allocates, and the size of the i-th. */
static size_t block_count(const struct site *site)
{
    size_t count = site->size ? budget_bytes / site->size
                              : budget_bytes / 2 / MIXED_LARGE + budget_bytes / 2 / MIXED_SMALL;
    return count < 4 ? 4 : count;
}

static size_t block_size(const struct site *site, size_t i)
{
    if (site->size)
        return site->size;
    return i % (MIXED_LARGE / MIXED_SMALL + 1) == 0 ? MIXED_LARGE : MIXED_SMALL;
}

/* Pairs, so that large blocks of the mixed site are kept and freed as well. */
static int is_kept(size_t i)
{
    return !free_all && (i / 2) % 2 == 0;
}

NOINLINE static void allocate_site(struct worker *worker, unsigned s)
{
    const struct site *site = &sites[s];
    size_t count = block_count(site);
    worker->blocks[s] = off_heap(count * sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        size_t size = block_size(site, i);
        void *block = site->allocate(size);
        if (!block)
            die("%s: no memory", site->name);
        truth_alloc(&worker->truth[s], size);
        worker->blocks[s][i] = block;
    }
}

NOINLINE static void release_site(struct worker *worker, unsigned s)
{
    const struct site *site = &sites[s];
    size_t count = block_count(site);
    for (size_t i = 0; i < count; i++) {
        if (is_kept(i))
            continue;
        free(worker->blocks[s][i]);
        truth_free(&worker->truth[s], block_size(site, i));
    }
}

/* One step of a realloc: the old block is gone and a new one is there, whether it moved or not. */
static void own_step(struct worker *worker, int own, size_t old_size, size_t size)
{
    if (old_size)
        truth_free(&worker->own[own], old_size);
    truth_alloc(&worker->own[own], size);
}

NOINLINE static void site_realloc_grow(struct worker *worker)
{
    size_t old_size = 0;
    for (size_t size = 16; size <= 256 * 1024; size = size * 3 / 2) {
        void *block = realloc(worker->grown, size);
        keep(block);
        worker->grown = block;
        own_step(worker, GROW, old_size, size);
        old_size = size;
    }
    if (free_all) {
        free(worker->grown);
        truth_free(&worker->own[GROW], old_size);
    }
}

/* In place on most allocators. */
NOINLINE static void site_realloc_shrink(struct worker *worker)
{
    size_t old_size = 0;
    for (size_t size = 5000; size >= 4000; size -= 100) {
        void *block = realloc(worker->shrunk, size);
        keep(block);
        worker->shrunk = block;
        own_step(worker, SHRINK, old_size, size);
        old_size = size;
    }
    if (free_all) {
        free(worker->shrunk);
        truth_free(&worker->own[SHRINK], old_size);
    }
}

/* A block of one site, reallocated by another: it belongs to the last. */
NOINLINE static void *site_realloc_moved(struct worker *worker, void *block, size_t size)
{
    block = realloc(block, size);
    keep(block);
    own_step(worker, MOVE_TO, 0, size);
    return block;
}

/* A realloc that fails leaves the block as it was: it is still in use. */
NOINLINE static void site_realloc_fails(struct worker *worker)
{
    volatile size_t absurd = SIZE_MAX / 2 + 2;
    worker->unharmed = malloc(555);
    own_step(worker, FAIL, 0, 555);
    if (realloc(worker->unharmed, absurd) || reallocarray(worker->unharmed, absurd, 2))
        die("an absurd realloc was granted");
    if (free_all) {
        free(worker->unharmed);
        truth_free(&worker->own[FAIL], 555);
    }
}

/* Freed, or a block of no bytes, as the allocator likes. */
NOINLINE static void site_realloc_to_zero(struct worker *worker)
{
    volatile size_t zero = 0;
    void *block = malloc(444);
    own_step(worker, TO_ZERO, 0, 444);
    free(realloc(block, zero));
    truth_free(&worker->own[TO_ZERO], 444);
}

/* C23; the profiler has them even where libc does not. */
extern void free_sized(void *block, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *block, size_t alignment, size_t size) __attribute__((weak));

NOINLINE static void site_free_sized(struct worker *worker)
{
    void *block = malloc(333);
    void *aligned = aligned_alloc(64, 640);
    own_step(worker, FREE_SIZED, 0, 333);
    own_step(worker, FREE_SIZED, 0, 640);
    free_sized ? free_sized(block, 333) : free(block);
    free_aligned_sized ? free_aligned_sized(aligned, 64, 640) : free(aligned);
    truth_free(&worker->own[FREE_SIZED], 333);
    truth_free(&worker->own[FREE_SIZED], 640);
}

/* Blocks of no bytes weigh nothing and leave no trace; nor do requests that fail. */
NOINLINE static void site_zero(void)
{
    void *none[] = {malloc(0), calloc(0, 8), calloc(8, 0), realloc(NULL, 0)};
    for (size_t i = 0; i < 4; i++) {
        keep(none[i]);
        free(none[i]);
    }
    volatile size_t absurd = SIZE_MAX / 2 + 2;
    void *failed = malloc(absurd);
    void *block = (void *)1;
    if (failed || calloc(absurd, 3) || realloc(NULL, absurd) || reallocarray(NULL, absurd, 3) ||
        aligned_alloc(16, absurd) || memalign(16, absurd) ||
        posix_memalign(&block, 16, absurd) == 0)
        die("an absurd request was granted");
    if (posix_memalign(&block, 3, 16) != EINVAL || block != (void *)1)
        die("posix_memalign with a bad alignment touched its result");
    free(NULL);
}

NOINLINE static void own_sites(struct worker *worker)
{
    if (wanted("site_realloc_grow"))
        site_realloc_grow(worker);
    if (wanted("site_realloc_shrink"))
        site_realloc_shrink(worker);
    if (wanted("site_realloc_moved")) {
        worker->moved = site_realloc_moved(worker, site_100(100), 70000);
        for (unsigned s = 0; s < SITES; s++)
            if (sites[s].allocate == site_100) {
                truth_alloc(&worker->truth[s], 100);
                truth_free(&worker->truth[s], 100);
            }
        if (free_all) {
            free(worker->moved);
            truth_free(&worker->own[MOVE_TO], 70000);
        }
    }
    if (wanted("site_realloc_fails"))
        site_realloc_fails(worker);
    if (wanted("site_realloc_to_zero"))
        site_realloc_to_zero(worker);
    if (wanted("site_free_sized"))
        site_free_sized(worker);
    if (wanted("site_zero"))
        site_zero();
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (unsigned s = 0; s < SITES; s++)
        if (wanted(sites[s].name))
            allocate_site(worker, s);
    own_sites(worker);
    if (threads > 1)
        pthread_barrier_wait(&barrier);
    struct worker *neighbour = &workers[(worker->index + 1) % threads];
    for (unsigned s = 0; s < SITES; s++)
        if (wanted(sites[s].name))
            release_site(neighbour, s);
    return NULL;
}

static void run_threads(void)
{
    if (pthread_barrier_init(&barrier, NULL, threads) != 0)
        die("no barrier");
    for (unsigned t = 0; t < threads; t++)
        if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0)
            die("no thread");
    for (unsigned t = 0; t < threads; t++)
        pthread_join(workers[t].thread, NULL);
}

static void say_sum(const char *name, const char *how, size_t offset)
{
    struct truth sum = {0};
    for (unsigned t = 0; t < threads; t++) {
        const struct truth *one = (const void *)((const char *)&workers[t] + offset);
        sum.alloc_objects += one->alloc_objects;
        sum.alloc_bytes += one->alloc_bytes;
        sum.inuse_objects += one->inuse_objects;
        sum.inuse_bytes += one->inuse_bytes;
    }
    truth_say(name, how, &sum);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: sites BYTES keep|free [THREADS] [NAME]");
    budget_bytes = strtoull(argv[1], NULL, 10);
    free_all = strcmp(argv[2], "free") == 0;
    threads = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    only = argc > 4 ? argv[4] : NULL;
    if (getenv("SITES_WITHOUT"))
        without = getenv("SITES_WITHOUT");
    if (threads < 1 || threads > THREADS_MAX)
        die("1 to %d threads", THREADS_MAX);
    for (unsigned t = 0; t < threads; t++)
        workers[t].index = t;
    if (threads > 1)
        run_threads();
    else
        work(&workers[0]);
    for (unsigned s = 0; s < SITES; s++)
        if (wanted(sites[s].name))
            say_sum(sites[s].name, sites[s].how, offsetof(struct worker, truth[s]));
    for (unsigned o = 0; o < OWN; o++)
        if (wanted(own_names[o]))
            say_sum(own_names[o], "leaf", offsetof(struct worker, own[o]));
    return 0;
}
