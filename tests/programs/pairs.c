/* pairs.c: `pairs malloc|calloc|realloc N`: N times a block of 64 bytes and its free, or N times a
 * realloc in place. Prints nothing; its instructions are counted. */
#include "truth.h"

int main(int argc, char **argv)
{
    if (argc != 3)
        die("usage: pairs malloc|calloc|realloc N");
    unsigned long count = strtoul(argv[2], NULL, 10);
    void *moved = again(malloc(64));
    for (unsigned long i = 0; i < count; i++) {
        if (argv[1][0] == 'm')
            free(again(malloc(64)));
        else if (argv[1][0] == 'c')
            free(again(calloc(1, 64)));
        else
            moved = again(realloc(moved, 60 + i % 4));
    }
    free(moved);
    return 0;
}
