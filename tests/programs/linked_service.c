/* linked_service.c: a service that links heaptap and knows nothing of it but heaptap.pc.
 *
 * It obeys lines on standard input and answers each with what it holds:
 *     +N   take N more blocks of 1000 bytes      -N   give N back      ?   just say
 *     sleep MS
 * It leaves SIGUSR1 alone. A read or a write that the signal interrupts is the end of it: a
 * profiler that takes a signal has to restart what it interrupts. */
#include "truth.h"

#include <errno.h>
#include <time.h>

#define BLOCK_BYTES 1000u
#define BLOCKS_MAX  1000000u

static void **blocks;
static size_t held;
static struct truth truth;

NOINLINE static void *site_hold(void)
{
    void *block = malloc(BLOCK_BYTES);
    keep(block);
    return block;
}

NOINLINE static void take(size_t count)
{
    for (; count > 0 && held < BLOCKS_MAX; count--) {
        blocks[held++] = site_hold();
        truth_alloc(&truth, BLOCK_BYTES);
    }
}

NOINLINE static void give(size_t count)
{
    for (; count > 0 && held > 0; count--) {
        free(blocks[--held]);
        truth_free(&truth, BLOCK_BYTES);
    }
}

/* A line without stdio; 0 at the end. */
static int read_line(char *line, size_t size)
{
    size_t length = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, line + length, 1);
        if (n < 0)
            die("read: %s", strerror(errno));
        if (n == 0)
            return 0;
        if (line[length] == '\n') {
            line[length] = '\0';
            return 1;
        }
        if (++length == size)
            die("line too long");
    }
}

int main(void)
{
    blocks = off_heap(BLOCKS_MAX * sizeof(void *));
    truth_say("site_hold", "leaf", &truth);
    char line[64];
    while (read_line(line, sizeof(line))) {
        if (line[0] == '+')
            take(strtoul(line + 1, NULL, 10));
        else if (line[0] == '-')
            give(strtoul(line + 1, NULL, 10));
        else if (strncmp(line, "sleep ", 6) == 0) {
            long ms = strtol(line + 6, NULL, 10);
            nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
        }
        truth_say("site_hold", "leaf", &truth);
    }
    return 0;
}
