/* lifetimes.c: blocks whose lives are known.
 *
 *     lifetimes MEGABYTES
 *
 * Each site allocates about so many: site_local frees each block itself, at once; site_made's are
 * freed by its caller, use_made(), at once; site_crossed's by another thread; site_slow's after 30 ms;
 * site_held's never. Prints the truth. */
#include "truth.h"

#include <pthread.h>
#include <time.h>

enum { LOCAL, MADE, CROSSED, SLOW, HELD, SITES };

static struct truth truths[SITES];
static size_t budget;

NOINLINE static void site_local(void)
{
    void *block = malloc(200);
    keep(block);
    truth_alloc(&truths[LOCAL], 200);
    free(block);
    truth_free(&truths[LOCAL], 200);
}

NOINLINE static void *site_made(void)
{
    void *block = malloc(3000);
    keep(block);
    truth_alloc(&truths[MADE], 3000);
    return block;
}

NOINLINE static void drop(void *block)
{
    free(block);
    STAY();
}

NOINLINE static void use_made(void)
{
    drop(site_made());
    truth_free(&truths[MADE], 3000);
}

/* In two rounds, so that the other thread, which a round waits for, lives. */
NOINLINE static void site_crossed(void **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(5000);
        keep(blocks[i]);
        truth_alloc(&truths[CROSSED], 5000);
    }
}

struct crossed {
    void **blocks;
    size_t count;
};

static void *free_all(void *argument)
{
    const struct crossed *crossed = argument;
    for (size_t i = 0; i < crossed->count; i++) {
        free(crossed->blocks[i]);
        truth_free(&truths[CROSSED], 5000);
    }
    return NULL;
}

static void cross(void)
{
    pthread_t thread;
    struct crossed crossed = {.count = budget / 5000};
    crossed.blocks = off_heap(crossed.count * sizeof(void *));
    site_crossed(crossed.blocks, crossed.count);
    if (pthread_create(&thread, NULL, free_all, &crossed) != 0)
        die("no thread");
    pthread_join(thread, NULL);
}

NOINLINE static void site_slow(void)
{
    const struct timespec a_while = {0, 30000000};
    size_t count = budget / 10000;
    void **blocks = off_heap(count * sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(10000);
        keep(blocks[i]);
        truth_alloc(&truths[SLOW], 10000);
    }
    nanosleep(&a_while, NULL);
    for (size_t i = 0; i < count; i++) {
        free(blocks[i]);
        truth_free(&truths[SLOW], 10000);
    }
}

NOINLINE static void site_held(void)
{
    void *block = malloc(2000);
    keep(block);
    truth_alloc(&truths[HELD], 2000);
}

int main(int argc, char **argv)
{
    static const char *const names[SITES] = {"site_local", "site_made", "site_crossed", "site_slow",
                                             "site_held"};
    budget = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
    if (budget == 0)
        die("usage: lifetimes MEGABYTES");
    for (size_t i = 0; i < budget / 2000; i++)
        site_held();
    for (size_t i = 0; i < budget / 200; i++)
        site_local();
    for (size_t i = 0; i < budget / 3000; i++)
        use_made();
    cross();
    site_slow();
    for (int i = 0; i < SITES; i++)
        truth_say(names[i], "leaf", &truths[i]);
    return 0;
}
