/* estimator.c: sites that try the estimate of a sampled profile, and the truth about them.
 *
 *     estimator INTERVAL [SAMPLES]
 *
 * Each site allocates as many blocks as have about SAMPLES samples at INTERVAL, the one that the
 * profiler was started with: 24 if not given. Where the interval may be changed, by heaptap, some
 * allocate at others. One thread runs at a time, so the n-th gap of a thread is the same in every
 * run with the same seed.
 *
 * Beside the lines of truth.h it says of which blocks they are the sums:
 *
 *     blocks NAME SIZE INTERVAL COUNT HELD NUMBER
 *
 * COUNT blocks of SIZE bytes, of which HELD are in use at the end, were allocated at INTERVAL. With
 * `late` for `blocks` their thread had not noticed the interval when the first of them came: it
 * goes on with the gap that it has, from one such line to the one with the next NUMBER, and every
 * second block is held. A child of fork says the same of itself; `pid PID` precedes the lines of
 * each process. */
#include "truth.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/wait.h>

#define GROUPS_MAX 8

/* Not there under other profilers. */
extern int heaptap_set_interval(uint64_t bytes) __attribute__((weak));

typedef void *allocate(void *old, size_t size);

struct group {
    size_t size;
    uint64_t interval, count, held;
    unsigned number;
};

/* A block that is to be freed leads to the next, so the lists need no memory: 16 bytes are enough. */
struct waiting {
    struct waiting *next;
    struct group *group;
};

struct site {
    const char *name;
    allocate *allocate;
    const char *what; /* the word of its lines */
    struct site *next;
    struct waiting *waiting;
    unsigned groups;
    struct group group[GROUPS_MAX];
};

static struct site *sites, **last_site = &sites; /* in the order of their first blocks */
static unsigned all_groups;
static uint64_t interval; /* in force now */
static uint64_t samples = 24;

#define SITE(name, expression)                                                                     \
    NOINLINE static void *site_##name(void *old, size_t size)                                      \
    {                                                                                              \
        (void)old;                                                                                 \
        void *block = (expression);                                                                \
        keep(block);                                                                               \
        return block;                                                                              \
    }                                                                                              \
    static struct site of_##name = {"site_" #name, site_##name, .what = "blocks"};

SITE(16, malloc(size))
SITE(48, malloc(size))
SITE(200, malloc(size))
SITE(1000, malloc(size))
SITE(4097, malloc(size))
SITE(30000, malloc(size))
SITE(64k, malloc(size))
SITE(256k, malloc(size))
SITE(1m, malloc(size))
SITE(4m, malloc(size))
SITE(16_and_64k, malloc(size))
SITE(64_and_1m, malloc(size))
SITE(hot, malloc(size))
SITE(freed, malloc(size))
SITE(calloc, calloc(size / 8, 8))
SITE(aligned_alloc, aligned_alloc(64, size))
SITE(memalign, memalign(256, size))
SITE(reallocarray, reallocarray(NULL, size / 4, 4))
SITE(grown, realloc(old, size))
SITE(moved, malloc(size))
SITE(moved_to, realloc(old, size))
SITE(freed_by_thread, malloc(size))
SITE(in_thread, malloc(size))
SITE(late_finer, malloc(size))
SITE(late_coarser, malloc(size))
SITE(finer, malloc(size))
SITE(coarser, malloc(size))
SITE(exact, malloc(size))
SITE(again, malloc(size))
SITE(changing, malloc(size))
SITE(before_fork, malloc(size))
SITE(in_parent, malloc(size))
SITE(in_child, malloc(size))

/* So many blocks have `samples` samples, or are that many where nearly all are sampled. */
static uint64_t count_for(uint64_t size)
{
    return samples * (interval > size ? interval : size) / size;
}

/* A new group of blocks, or the one of blocks like these. */
static struct group *group_of(struct site *site, size_t size)
{
    for (unsigned i = 0; i < site->groups; i++)
        if (site->group[i].size == size && site->group[i].interval == interval)
            return &site->group[i];
    if (site->groups == GROUPS_MAX)
        die("%s: too many groups", site->name);
    if (site->groups == 0) {
        *last_site = site;
        last_site = &site->next;
    }
    struct group *group = &site->group[site->groups++];
    *group = (struct group){.size = size, .interval = interval, .number = ++all_groups};
    return group;
}

/* `old` is NULL, or a block for realloc. */
NOINLINE static struct waiting *take(struct site *site, struct group *group, void *old)
{
    struct waiting *block = site->allocate(old, group->size);
    if (block == NULL)
        die("%s: no memory", site->name);
    group->count++;
    group->held++;
    return block;
}

static void free_later(struct site *site, struct group *group, struct waiting *block)
{
    *block = (struct waiting){site->waiting, group};
    site->waiting = block;
}

static void free_waiting(struct site *site)
{
    while (site->waiting != NULL) {
        struct waiting *block = site->waiting;
        site->waiting = block->next;
        block->group->held--;
        free(block);
    }
}

/* Every `share`-th block is to be freed. */
NOINLINE static void fill(struct site *site, size_t size, uint64_t count, unsigned share)
{
    struct group *group = group_of(site, size);
    for (uint64_t i = 1; i <= count; i++) {
        struct waiting *block = take(site, group, NULL);
        if (i % share == 0)
            free_later(site, group, block);
    }
}

static void fill_half(struct site *site, size_t size)
{
    fill(site, size, count_for(size), 2);
}

NOINLINE static void fill_and_free(struct site *site, size_t size)
{
    fill_half(site, size);
    free_waiting(site);
}

/* Two sizes in turns, from one place in the code: their stacks are the same. */
static void fill_two(struct site *site, size_t small, size_t large)
{
    uint64_t turns = count_for(large), each = count_for(small) / turns;
    const size_t sizes[] = {large, small};
    const uint64_t counts[] = {2, each < 1 ? 2 : 2 * each};
    for (uint64_t i = 0; i < turns; i++)
        fill(site, sizes[i % 2], counts[i % 2], 2);
    free_waiting(site);
}

static void fill_hot(struct site *site, size_t size)
{
    struct group *group = group_of(site, size);
    for (uint64_t count = count_for(size); count > 0; count--) {
        free(take(site, group, NULL));
        group->held--;
    }
}

/* Each step of a chain is a block of its own, and the end of the one before it. */
static void fill_chains(struct site *site, size_t size, size_t last)
{
    for (uint64_t i = 1, count = count_for(last); i <= count; i++) {
        struct group *group = NULL;
        struct waiting *block = NULL;
        for (size_t now = size; now <= last; now *= 2) {
            struct group *next = group_of(site, now);
            block = take(site, next, block);
            if (group != NULL)
                group->held--;
            group = next;
        }
        if (i % 2 == 0)
            free_later(site, group, block);
    }
    free_waiting(site);
}

/* A block that realloc() takes from the site of its malloc() belongs to that of realloc(). */
static void fill_moved(struct site *from, size_t from_size, struct site *to, size_t size)
{
    struct group *old = group_of(from, from_size), *group = group_of(to, size);
    for (uint64_t i = 1, count = count_for(from_size); i <= count; i++) {
        void *block = take(from, old, NULL);
        old->held--;
        block = take(to, group, block);
        if (i % 2 == 0)
            free_later(to, group, block);
    }
    free_waiting(to);
}

static void change_interval(uint64_t bytes)
{
    if (heaptap_set_interval == NULL)
        return;
    if (heaptap_set_interval(bytes) != 0)
        die("no interval of %llu", (unsigned long long)bytes);
    interval = bytes;
}

/* ---- threads, which take turns ---- */

static sem_t its_turn, our_turn;

static void hand_over(sem_t *to, sem_t *back)
{
    if (to != NULL)
        sem_post(to);
    while (sem_wait(back) != 0)
        continue;
}

/* A thread notices an interval at its next sample, and weighs that sample with the old one. */
#define LATE_ROUNDS 4u
#define LATE_SIZE   1000u

static uint64_t late_bytes;

static void *first_thread(void *argument)
{
    fill_half(&of_freed_by_thread, 120);
    hand_over(&our_turn, &its_turn);
    for (unsigned round = 0; round < LATE_ROUNDS; round++) {
        fill(&of_late_finer, LATE_SIZE, late_bytes / LATE_SIZE, 2);
        hand_over(&our_turn, &its_turn);
        fill(&of_late_coarser, LATE_SIZE, late_bytes / LATE_SIZE, 2);
        hand_over(&our_turn, &its_turn);
    }
    return argument;
}

static void *second_thread(void *argument)
{
    free_waiting(&of_freed_by_thread);
    fill_half(&of_in_thread, 2500);
    return argument;
}

static void run_threads(void)
{
    uint64_t first = interval;
    late_bytes = 2 * first;
    of_late_finer.what = of_late_coarser.what = "late";
    pthread_t threads[2];
    if (sem_init(&its_turn, 0, 0) != 0 || sem_init(&our_turn, 0, 0) != 0 ||
        pthread_create(&threads[0], NULL, first_thread, NULL) != 0)
        die("no thread");
    hand_over(NULL, &our_turn);
    if (pthread_create(&threads[1], NULL, second_thread, NULL) != 0)
        die("no second thread");
    pthread_join(threads[1], NULL);
    free_waiting(&of_in_thread);
    for (unsigned round = 0; round < LATE_ROUNDS; round++) {
        change_interval(first / (16 + round)); /* no two lines of one interval */
        hand_over(&its_turn, &our_turn);
        change_interval(first + round);
        hand_over(&its_turn, &our_turn);
    }
    sem_post(&its_turn);
    pthread_join(threads[0], NULL);
    free_waiting(&of_late_finer);
    free_waiting(&of_late_coarser);
    change_interval(first);
}

/* ---- all of it ---- */

static void run_sites(void)
{
    fill_and_free(&of_16, 16);
    fill_and_free(&of_48, 48);
    fill_and_free(&of_200, 200);
    fill_and_free(&of_1000, 1000);
    fill_and_free(&of_4097, 4097);
    fill_and_free(&of_30000, 30000);
    fill_and_free(&of_64k, 64 << 10);
    fill_and_free(&of_256k, 256 << 10);
    fill_and_free(&of_1m, 1 << 20);
    fill_and_free(&of_4m, 4 << 20);
    fill_two(&of_16_and_64k, 16, 64 << 10);
    fill_two(&of_64_and_1m, 64, 1 << 20);
    fill_hot(&of_hot, 80);
    fill(&of_freed, 3000, count_for(3000), 1);
    free_waiting(&of_freed);
    fill_and_free(&of_calloc, 800);
    fill_and_free(&of_aligned_alloc, 640);
    fill_and_free(&of_memalign, 5000);
    fill_and_free(&of_reallocarray, 1200);
    fill_chains(&of_grown, 128, 8192);
    fill_moved(&of_moved, 300, &of_moved_to, 700);
}

/* This thread notices at once. One site goes on through all intervals, with one stack. */
static void change_intervals(void)
{
    const uint64_t first = interval;
    const struct {
        uint64_t interval;
        struct site *site;
        size_t size, size_of_changing;
    } steps[] = {{first / 4, &of_finer, 400, 1500},
                 {first * 4, &of_coarser, 20000, 20000},
                 {1, &of_exact, 50, 1500},
                 {first, &of_again, 7000, 1500}};
    /* volatile: unrolled, the loop would have four places, and four stacks. */
    for (volatile unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        change_interval(steps[i].interval);
        fill_and_free(steps[i].site, steps[i].size);
        fill_and_free(&of_changing, steps[i].size_of_changing);
    }
}

static void say_all(void)
{
    say("pid %d\n", (int)getpid());
    for (const struct site *site = sites; site != NULL; site = site->next) {
        struct truth truth = {0};
        for (unsigned i = 0; i < site->groups; i++) {
            const struct group *group = &site->group[i];
            say("%s %s %zu %llu %llu %llu %u\n", site->what, site->name, group->size,
                (unsigned long long)group->interval, (unsigned long long)group->count,
                (unsigned long long)group->held, group->number);
            truth.alloc_objects += group->count;
            truth.alloc_bytes += group->count * group->size;
            truth.inuse_objects += group->held;
            truth.inuse_bytes += group->held * group->size;
        }
        truth_say(site->name, "leaf", &truth);
    }
}

/* What the parent holds at the fork is the child's as well: it frees half of one site's. */
static void run_child(void)
{
    fill_half(&of_before_fork, 600);
    pid_t pid = fork();
    if (pid == 0) {
        free_waiting(&of_before_fork);
        fill_and_free(&of_in_child, 900);
        say_all();
        exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("the child failed");
    fill_and_free(&of_in_parent, 900);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: estimator INTERVAL [SAMPLES]");
    interval = strtoull(argv[1], NULL, 10);
    samples = argc > 2 ? strtoull(argv[2], NULL, 10) : samples;
    if (interval < 512 || interval > UINT64_C(64) << 20 || samples < 2)
        die("the interval is 512 bytes to 64 MiB");
    /* Large blocks from the heap, which grows in large steps: nobody touches them. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
    mallopt(M_TOP_PAD, 256 << 20);
    mallopt(M_ARENA_MAX, 1);
    run_sites();
    run_threads();
    change_intervals();
    run_child();
    say_all();
    return 0;
}
