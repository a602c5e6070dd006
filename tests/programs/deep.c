/* deep.c: `deep N` allocates at the bottom of a recursion of N. */
#include "truth.h"

static struct truth truth;

NOINLINE static void *site_bottom(void)
{
    void *block = malloc(1234);
    keep(block);
    return block;
}

NOINLINE static void *site_recursion(unsigned depth)
{
    void *block = depth > 1 ? site_recursion(depth - 1) : site_bottom();
    STAY();
    return block;
}

int main(int argc, char **argv)
{
    unsigned depth = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    for (int i = 0; i < 10; i++) {
        site_recursion(depth);
        truth_alloc(&truth, 1234);
    }
    truth_say("site_bottom", "leaf", &truth);
    return 0;
}
