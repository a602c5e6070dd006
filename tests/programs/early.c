/* early.c: allocates before any constructor of a library has run, in a constructor, in main, and in
 * a destructor that runs after the profile at exit may already be written. */
#include "truth.h"

static void *early[3][10];
static struct truth preinit, constructor;

NOINLINE static void site_preinit(void)
{
    for (int i = 0; i < 10; i++) {
        early[0][i] = malloc(111);
        truth_alloc(&preinit, 111);
    }
    /* Every function that may be the first. */
    early[1][0] = calloc(1, 50);
    early[1][1] = realloc(NULL, 51);
    early[1][2] = aligned_alloc(64, 64);
    if (posix_memalign(&early[1][3], 64, 65) != 0 || !early[1][0] || !early[1][1] || !early[1][2])
        die("no memory");
    truth_alloc(&preinit, 50);
    truth_alloc(&preinit, 51);
    truth_alloc(&preinit, 64);
    truth_alloc(&preinit, 65);
    free(early[0][0]);
    truth_free(&preinit, 111);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const at_preinit)(void) = site_preinit;

__attribute__((constructor(101))) NOINLINE static void site_constructor(void)
{
    for (int i = 0; i < 10; i++) {
        early[2][i] = malloc(222);
        truth_alloc(&constructor, 222);
    }
    free(early[2][0]);
    truth_free(&constructor, 222);
}

__attribute__((destructor)) static void at_end(void)
{
    for (int i = 0; i < 100; i++)
        free(malloc(1000));
}

int main(void)
{
    free(early[0][1]); /* sampled then, freed now */
    truth_free(&preinit, 111);
    truth_say("site_preinit", "leaf", &preinit);
    truth_say("site_constructor", "leaf", &constructor);
    return 0;
}
