/* resolver.c: allocates before and after everything else: in an IFUNC resolver, which the loader
 * calls while it relocates; in constructors of each priority; in destructors and atexit handlers,
 * after the profile at exit. What was allocated in one is freed in another. */
#include "truth.h"

static void *blocks[8];
static unsigned resolved;

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    return block;
}

static int one(void)
{
    return 1;
}

__attribute__((used)) static int (*resolve(void))(void)
{
    blocks[0] = malloc(100);
    blocks[1] = realloc(calloc(3, 30), 900);
    resolved++;
    return one;
}

int resolved_function(void) __attribute__((ifunc("resolve")));

__attribute__((constructor(101))) static void first(void)
{
    blocks[2] = site(200);
    free(blocks[0]);
}

__attribute__((constructor)) static void last(void)
{
    blocks[3] = site(300);
    blocks[1] = realloc(blocks[1], 5000);
}

static void at_exit_after(void)
{
    free(blocks[1]);
    blocks[4] = site(400);
    for (size_t i = 1; i < 500; i++)
        free(site(i));
}

static void at_exit_before(void)
{
    free(blocks[2]);
    blocks[5] = realloc(blocks[3], 100000);
}

__attribute__((destructor)) static void at_end(void)
{
    free(blocks[4]);
    free(blocks[5]);
    free(site(600));
    say("destructor\n");
}

__attribute__((destructor(101))) static void at_very_end(void)
{
    for (size_t i = 1; i < 500; i++)
        free(realloc(site(i), i * 3));
    say("last destructor\n");
}

int main(void)
{
    atexit(at_exit_after);
    atexit(at_exit_before);
    say("resolved %u, %d\n", resolved, resolved_function());
    return 0;
}
