/* many_stacks: a million different stacks, each of one block. Bit i of a number says which of two
 * functions is called at level i. Prints what it allocated in all and what it holds at the end.
 *
 *     many_stacks BITS SIZE */
#include <stdio.h>
#include <stdlib.h>

static size_t size;
static void *sink;
static unsigned long kept;

static int even(unsigned long number, int bits);
static int odd(unsigned long number, int bits);

static int go_on(unsigned long number, int bits)
{
    if (bits > 0)
        return number & 1 ? odd(number >> 1, bits - 1) : even(number >> 1, bits - 1);
    sink = malloc(size);
    if (sink == NULL)
        exit(3);
    return 0;
}

static __attribute__((noinline)) int even(unsigned long number, int bits)
{
    int result = go_on(number, bits);
    /* Neither a tail call nor a loop, nor the same function as the other. */
    __asm__ volatile("# even" : "+r"(result));
    return result;
}

static __attribute__((noinline)) int odd(unsigned long number, int bits)
{
    int result = go_on(number, bits);
    __asm__ volatile("# odd" : "+r"(result));
    return result;
}

int main(int argc, char **argv)
{
    int bits = argc > 1 ? atoi(argv[1]) : 20;
    size = argc > 2 ? (size_t)atol(argv[2]) : 100;
    unsigned long count = 1ul << bits;
    for (unsigned long number = 0; number < count; number++) {
        even(number, bits);
        if (number % 2 == 0)
            free(sink);
        else
            kept++;
    }
    printf("%lu %lu %lu %lu\n", count, count * size, kept, kept * size);
    return 0;
}
