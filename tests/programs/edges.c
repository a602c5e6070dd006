/* edges.c: the edges of every allocation function: what came back, errno and the usable size.
 *
 *     edges [without_pvalloc]
 *
 * Prints the same with heaptap as without, over each allocator; everything is freed at the end.
 * What depends on where blocks happen to lie is left out. The edges come three times: in a fresh
 * process, when the profiler has seen them, and in a thread that has not allocated yet. */
#include "truth.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>

/* The compiler knows none of these. */
static volatile size_t zero = 0;
static volatile size_t largest = SIZE_MAX;
static volatile size_t half = (size_t)PTRDIFF_MAX;
static volatile size_t root = (size_t)1 << 32;
static volatile size_t three = 3, hundred = 100; /* no powers of two */
static volatile int error_before = 1234;

static bool with_pvalloc = true;
static void (*sized_free)(void *, size_t);
static void (*aligned_sized_free)(void *, size_t, size_t);

static void free_without_size(void *block, size_t size)
{
    (void)size;
    free(block);
}

static void free_without_alignment(void *block, size_t alignment, size_t size)
{
    (void)alignment, (void)size;
    free(block);
}

/* C23's two are not in every C library, and say nothing. */
static void find_sized(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, "free_sized");
    sized_free = free_without_size;
    if (symbol)
        memcpy(&sized_free, &symbol, sizeof(symbol));
    symbol = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    aligned_sized_free = free_without_alignment;
    if (symbol)
        memcpy(&aligned_sized_free, &symbol, sizeof(symbol));
}

/* Usable sizes of aligned blocks depend on where they lie. */
static void tell(const char *what, const void *block, size_t alignment, int error)
{
    if (!block) {
        say("%s: NULL, errno %d\n", what, error);
        return;
    }
    size_t usable = malloc_usable_size((void *)(uintptr_t)block);
    say("%s: a block, %s, errno %d", what,
        (uintptr_t)block % alignment == 0 ? "aligned" : "NOT aligned", error);
    if (alignment == 16)
        say(", usable %zu", usable);
    say("\n");
}

/* Calls, tells, and leaves the block in `to`. */
#define TELL(to, alignment, call)                                                                  \
    do {                                                                                           \
        errno = error_before;                                                                      \
        (to) = (call);                                                                             \
        int error_ = errno;                                                                        \
        tell(#call, (to), (alignment), error_);                                                    \
    } while (0)

/* The same, and frees it; free leaves errno alone. */
#define EDGE(alignment, call)                                                                      \
    do {                                                                                           \
        void *given;                                                                               \
        TELL(given, alignment, call);                                                              \
        errno = error_before;                                                                      \
        free(given);                                                                               \
        if (errno != error_before)                                                                 \
            say("free: errno %d\n", errno);                                                        \
    } while (0)

NOINLINE static void edges_of_malloc(void)
{
    EDGE(16, malloc(zero));
    EDGE(16, malloc(1));
    EDGE(16, malloc(24));
    EDGE(16, malloc(25));
    EDGE(16, malloc(4096));
    EDGE(16, malloc(1 << 20));
    EDGE(16, malloc(100 << 20));
    EDGE(16, malloc(half - 4096));
    EDGE(16, malloc(half));
    EDGE(16, malloc(half + 1));
    EDGE(16, malloc(half + 2));
    EDGE(16, malloc(half + 1 + 4096));
    EDGE(16, malloc(largest - 4096));
    EDGE(16, malloc(largest - 15));
    EDGE(16, malloc(largest));
    EDGE(16, malloc(100));
}

static bool is_zero(const char *block, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != 0)
            return false;
    return true;
}

NOINLINE static void edges_of_calloc(void)
{
    EDGE(16, calloc(zero, zero));
    EDGE(16, calloc(zero, 100));
    EDGE(16, calloc(100, zero));
    EDGE(16, calloc(zero, largest));
    EDGE(16, calloc(largest, zero));
    EDGE(16, calloc(1, half + 1));
    EDGE(16, calloc(1, largest));
    EDGE(16, calloc(largest, largest));
    EDGE(16, calloc(root, root));
    EDGE(16, calloc(root, root + 1));
    EDGE(16, calloc(2, half + 1));
    EDGE(16, calloc(half / 4 + 1, 5));
    for (size_t size = 1; size < 5000000; size = size * 3 + 1) {
        void *dirty = malloc(size);
        memset(dirty, 0xff, size);
        free(again(dirty));
        char *block = calloc(size, 1);
        if (!block || !is_zero(block, size))
            say("calloc(%zu, 1) is not zero\n", size);
        free(block);
    }
}

static void fill(char *block, size_t size)
{
    for (size_t i = 0; i < size; i++)
        block[i] = (char)(i * 7);
}

static void check_content(const char *block, size_t size, const char *what)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != (char)(i * 7))
            die("%s: byte %zu has changed", what, i);
}

NOINLINE static void failing_realloc(void *block, size_t size)
{
    void *last;
    TELL(last, 16, realloc(again(block), half + 1));
    TELL(last, 16, realloc(again(block), half - 4096));
    TELL(last, 16, realloc(again(block), largest));
    TELL(last, 16, realloc(again(block), largest - 15));
    TELL(last, 16, reallocarray(again(block), root, root));
    TELL(last, 16, reallocarray(again(block), largest, 2));
    TELL(last, 16, reallocarray(again(block), 1, largest));
    check_content(again(block), size, "after failures");
    say("usable %zu\n", malloc_usable_size(block));
}

NOINLINE static void edges_of_realloc(void)
{
    void *last;
    EDGE(16, realloc(NULL, zero));
    EDGE(16, realloc(NULL, 100));
    EDGE(16, realloc(NULL, half + 1));
    EDGE(16, realloc(NULL, largest));
    EDGE(16, reallocarray(NULL, zero, 10));
    EDGE(16, reallocarray(NULL, 10, zero));
    EDGE(16, reallocarray(NULL, 10, 10));
    EDGE(16, reallocarray(NULL, largest, 2));
    EDGE(16, reallocarray(NULL, root, root));

    for (size_t size = 100; size < 3000000; size = size * 40) {
        char *block = malloc(size);
        fill(block, size);
        failing_realloc(block, size);
        TELL(last, 16, realloc(again(block), size));
        say("same size: %s\n", last == block ? "the same block" : "another");
        block = last;
        check_content(block, size, "same size");
        TELL(last, 16, realloc(again(block), size * 10));
        block = last;
        check_content(block, size, "grown");
        TELL(last, 16, realloc(again(block), size / 2));
        block = last;
        check_content(block, size / 2, "shrunk");
        TELL(last, 16, reallocarray(again(block), size, 2));
        block = last;
        check_content(block, size / 2, "array");
        EDGE(16, realloc(again(block), zero));
    }
    EDGE(16, reallocarray(malloc(100), zero, 10));
    EDGE(16, reallocarray(malloc(100), 10, zero));
    EDGE(16, realloc(memalign(4096, 100), 5000));
    EDGE(16, realloc(aligned_alloc(64, 640), zero));
    EDGE(16, realloc(malloc(zero), 100));
    EDGE(16, realloc(malloc(zero), zero));
}

NOINLINE static void one_posix_memalign(const char *what, size_t alignment, size_t size)
{
    void *pointer = (void *)0x55;
    errno = error_before;
    int r = posix_memalign(&pointer, alignment, size);
    int error = errno;
    if (r != 0) {
        say("posix_memalign %s: %d, errno %d, pointer %p\n", what, r, error, pointer);
        return;
    }
    say("posix_memalign %s: 0, ", what);
    tell("", pointer, pointer ? alignment : 1, error);
    free(pointer);
}

NOINLINE static void edges_of_posix_memalign(void)
{
    one_posix_memalign("0, 10", zero, 10);
    one_posix_memalign("1, 10", 1, 10);
    one_posix_memalign("4, 10", 4, 10);
    one_posix_memalign("8, 10", 8, 10);
    one_posix_memalign("12, 10", 12, 10);
    one_posix_memalign("24, 10", 24, 10);
    one_posix_memalign("64, 0", 64, zero);
    one_posix_memalign("64, 1", 64, 1);
    one_posix_memalign("4096, 100", 4096, 100);
    one_posix_memalign("1 MiB, 100", 1 << 20, 100);
    one_posix_memalign("64, half + 1", 64, half + 1);
    one_posix_memalign("64, largest", 64, largest);
    one_posix_memalign("64, largest - 64", 64, largest - 64);
    one_posix_memalign("half + 1, 100", half + 1, 100);
    one_posix_memalign("largest, 100", largest, 100);
}

NOINLINE static void edges_of_aligned(void)
{
    EDGE(64, aligned_alloc(64, 64));
    EDGE(64, aligned_alloc(64, 65));
    EDGE(64, aligned_alloc(64, zero));
    EDGE(1, aligned_alloc(zero, 64));
    EDGE(1, aligned_alloc(three, 64));
    EDGE(64, aligned_alloc(64, half + 1));
    EDGE(64, aligned_alloc(64, largest));
    EDGE(64, aligned_alloc(64, largest - 63));
    EDGE(1, aligned_alloc(half + 1, 64));
    EDGE(1, aligned_alloc(largest, 64));
    EDGE(8192, aligned_alloc(8192, 8192));

    EDGE(128, memalign(128, 10));
    EDGE(128, memalign(128, zero));
    EDGE(1, memalign(zero, 10));
    EDGE(1, memalign(three, 10));
    EDGE(1, memalign(hundred, 10));
    EDGE(1, memalign(half + 1, 10));
    EDGE(1, memalign(half + 2, 10));
    EDGE(1, memalign(largest, 10));
    EDGE(16, memalign(64, largest));
    EDGE(16, memalign(64, half + 1));

    EDGE(4096, valloc(100));
    EDGE(4096, valloc(zero));
    EDGE(4096, valloc(largest));
    EDGE(4096, valloc(half + 1));
    if (with_pvalloc) {
        EDGE(4096, pvalloc(100));
        EDGE(4096, pvalloc(4097));
        EDGE(4096, pvalloc(zero));
        EDGE(4096, pvalloc(half + 1));
        EDGE(4096, pvalloc(largest));
        EDGE(4096, pvalloc(largest - 4096));
    }
}

NOINLINE static void edges_of_free(void)
{
    say("usable of NULL: %zu\n", malloc_usable_size(NULL));
    errno = error_before;
    free(NULL);
    sized_free(NULL, 0);
    sized_free(NULL, 10);
    aligned_sized_free(NULL, 64, 0);
    sized_free(malloc(100), 100);
    sized_free(calloc(10, 10), 100);
    sized_free(realloc(NULL, 100), 100);
    aligned_sized_free(aligned_alloc(64, 640), 64, 640);
    free(malloc(20 << 20)); /* munmap */
    for (size_t i = 0; i < 1000; i++)
        free(malloc(i * 100));
    say("errno after frees: %d\n", errno);
    /* Users of the usable size write all of it. */
    for (size_t size = 0; size < 100000; size = size * 2 + 1) {
        void *block = malloc(size);
        memset(block, 0xa5, malloc_usable_size(block));
        free(again(block));
    }
}

static void *edges(void *unused)
{
    edges_of_malloc();
    edges_of_calloc();
    edges_of_realloc();
    edges_of_posix_memalign();
    edges_of_aligned();
    edges_of_free();
    return unused;
}

int main(int argc, char **argv)
{
    with_pvalloc = argc < 2 || strcmp(argv[1], "without_pvalloc") != 0;
    find_sized();
    free(malloc(1)); /* at its first call an allocator may do to errno what it likes */
    edges(NULL);
    edges(NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, edges, NULL) != 0 || pthread_join(thread, NULL) != 0)
        die("no thread");
    return 0;
}
