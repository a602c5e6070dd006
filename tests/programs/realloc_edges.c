/* realloc_edges.c: prints what the allocator answers to odd requests, and errno. The lines are the
 * same with and without a profiler. */
#include "truth.h"

#include <errno.h>
#include <malloc.h>

static volatile size_t huge = SIZE_MAX / 2 + 2;
static volatile size_t zero, alignment = 100;

#define TELL(expression)                                                                           \
    do {                                                                                           \
        errno = 1234;                                                                              \
        void *result_ = (expression);                                                              \
        int error_ = errno;                                                                        \
        say("%s: %s, errno %d\n", #expression, result_ ? "a block" : "NULL", error_);              \
        last = result_;                                                                            \
    } while (0)

static void *last;

static void check_content(const char *block, size_t size, const char *what)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != (char)i)
            die("%s: byte %zu has changed", what, i);
}

static void fill(char *block, size_t size)
{
    for (size_t i = 0; i < size; i++)
        block[i] = (char)i;
}

int main(void)
{
    free(malloc(1)); /* at its first call an allocator may do to errno what it likes */
    TELL(malloc(zero));
    free(last);
    TELL(malloc(huge));
    TELL(malloc(SIZE_MAX - zero));
    TELL(calloc(huge, 2));
    TELL(calloc(zero, huge));
    free(last);
    TELL(calloc(huge, zero));
    free(last);
    TELL(reallocarray(NULL, huge, 2));
    TELL(aligned_alloc(64, huge));
    TELL(aligned_alloc(64, 65));
    free(last);
    TELL(memalign(alignment, 10));
    free(last);
    TELL(valloc(huge));
    TELL(pvalloc(huge));

    /* realloc: NULL, 0, more, less, and a failure that leaves the block as it is. */
    TELL(realloc(NULL, 100));
    fill(last, 100);
    char *block = last;
    TELL(realloc(again(block), 100000));
    block = last;
    check_content(block, 100, "grown");
    TELL(realloc(again(block), 50));
    block = last;
    check_content(again(block), 50, "shrunk");
    TELL(realloc(again(block), huge));
    check_content(again(block), 50, "refused");
    TELL(reallocarray(again(block), huge, 3));
    check_content(again(block), 50, "refused array");
    TELL(reallocarray(again(block), 20, 5));
    block = last;
    check_content(again(block), 50, "array");
    TELL(realloc(again(block), zero));
    TELL(realloc(NULL, zero));
    free(last);

    /* posix_memalign leaves errno and, when it fails, the pointer alone. */
    void *pointer = (void *)0x55;
    errno = 1234;
    int r = posix_memalign(&pointer, 3, 10);
    say("posix_memalign alignment 3: %d, errno %d, pointer %p\n", r, errno, pointer);
    r = posix_memalign(&pointer, 64, huge);
    say("posix_memalign huge: %d, errno %d, pointer %p\n", r, errno, pointer);
    r = posix_memalign(&pointer, 64, 100);
    say("posix_memalign: %d, errno %d, aligned %d\n", r, errno, (uintptr_t)pointer % 64 == 0);
    say("usable %d\n", malloc_usable_size(pointer) >= 100);
    memset(pointer, 1, malloc_usable_size(pointer));
    free(pointer);
    say("usable of NULL %zu\n", malloc_usable_size(NULL));

    errno = 1234;
    free(NULL);
    free(malloc(1000000)); /* munmap */
    for (int i = 0; i < 1000; i++)
        free(malloc((size_t)i * 100));
    say("errno after free %d\n", errno);
    return 0;
}
