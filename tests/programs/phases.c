/* phases.c: now busy, now quiet.
 *
 *     phases busy:BLOCKS|quiet:STEPS|exact:BYTES|wait ...
 *
 * busy: allocates so many blocks of 16 to 1,024 bytes, of which one in 64 takes the place of an
 * older one in a ring, and the others are freed at once. quiet: so many steps of 5 ms sleep and 4
 * blocks of 100 bytes, freed at once. exact: about so many bytes, in all sizes. wait: says "waiting"
 * and goes on when it is sent a line. Prints the truth at the end. */
#include "truth.h"

#include <time.h>

#define RING 10000

static struct truth busy_truth, held_truth, quiet_truth, small_truth;
static void *ring[RING];
static size_t ring_sizes[RING];
static unsigned ring_next;

static uint64_t next_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t random_size(void)
{
    return 16 + next_random() % 1009;
}

NOINLINE static void site_busy(void)
{
    size_t size = random_size();
    void *block = malloc(size);
    keep(block);
    truth_alloc(&busy_truth, size);
    free(block);
    truth_free(&busy_truth, size);
}

NOINLINE static void site_held(void)
{
    unsigned i = ring_next++ % RING;
    if (ring[i]) {
        free(ring[i]);
        truth_free(&held_truth, ring_sizes[i]);
    }
    ring_sizes[i] = random_size();
    ring[i] = malloc(ring_sizes[i]);
    keep(ring[i]);
    truth_alloc(&held_truth, ring_sizes[i]);
}

NOINLINE static void site_quiet(void)
{
    void *block = malloc(100);
    keep(block);
    truth_alloc(&quiet_truth, 100);
    free(block);
    truth_free(&quiet_truth, 100);
}

/* Half of it is held. */
NOINLINE static void site_small(uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes;) {
        size_t size = 1 + next_random() % 2000;
        void *block = malloc(size);
        keep(block);
        truth_alloc(&small_truth, size);
        done += size;
        if (next_random() % 2)
            continue;
        free(block);
        truth_free(&small_truth, size);
    }
}

static void be_busy(uint64_t blocks)
{
    for (uint64_t i = 0; i < blocks; i++) {
        if (i % 64 == 0)
            site_held();
        else
            site_busy();
    }
}

static void be_quiet(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        const struct timespec step = {0, 5000000};
        nanosleep(&step, NULL);
        for (int j = 0; j < 4; j++)
            site_quiet();
    }
}

static void wait_for_line(void)
{
    char byte;
    say("waiting\n");
    while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n')
        continue;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *colon = strchr(argv[i], ':');
        uint64_t number = colon ? strtoull(colon + 1, NULL, 10) : 0;
        if (strncmp(argv[i], "busy:", 5) == 0)
            be_busy(number);
        else if (strncmp(argv[i], "quiet:", 6) == 0)
            be_quiet(number);
        else if (strncmp(argv[i], "exact:", 6) == 0)
            site_small(number);
        else if (strcmp(argv[i], "wait") == 0)
            wait_for_line();
        else
            die("usage: phases busy:BLOCKS|quiet:STEPS|exact:BYTES|wait ...");
    }
    truth_say("site_busy", "leaf", &busy_truth);
    truth_say("site_held", "leaf", &held_truth);
    truth_say("site_quiet", "leaf", &quiet_truth);
    truth_say("site_small", "leaf", &small_truth);
    return 0;
}
