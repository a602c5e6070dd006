/* own_malloc.c: a program with a malloc family of its own, which everything in the process uses;
 * or, as a library (-DLIBRARY), one that only the library itself uses. It knows its own blocks and
 * dies of any other. */
#include "truth.h"

#include <errno.h>
#include <malloc.h>

#define REGION ((size_t)64 << 20)
#define MARK   UINT64_C(0x6f776e206d616c6c)

static char *region;
static size_t used;
static long balance;

static void *take(size_t size, size_t alignment)
{
    if (size > REGION / 4) {
        errno = ENOMEM;
        return NULL;
    }
    if (region == NULL)
        region = off_heap(REGION);
    alignment = alignment < 16 ? 16 : alignment;
    uintptr_t at = __atomic_fetch_add(&used, size + alignment + 32, __ATOMIC_RELAXED);
    at = ((uintptr_t)region + at + 16 + alignment - 1) & ~(alignment - 1);
    if (at + size > (uintptr_t)region + REGION)
        die("own malloc: full");
    ((uint64_t *)at)[-1] = MARK ^ size;
    ((uint64_t *)at)[-2] = size;
    __atomic_fetch_add(&balance, 1, __ATOMIC_RELAXED);
    return (void *)at;
}

static size_t size_of(void *block)
{
    uint64_t *words = again(block);
    if (words[-1] != (MARK ^ words[-2]))
        die("own malloc: a stranger's block");
    return (size_t)words[-2];
}

void *malloc(size_t size)
{
    return take(size, 16);
}

void free(void *block)
{
    if (block == NULL)
        return;
    size_of(block);
    ((uint64_t *)again(block))[-1] = 0; /* once only */
    __atomic_fetch_sub(&balance, 1, __ATOMIC_RELAXED);
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    return __builtin_mul_overflow(count, size, &total) ? NULL : take(total, 16);
}

void *realloc(void *block, size_t size)
{
    void *moved = take(size, 16);
    if (moved == NULL || block == NULL)
        return moved;
    size_t old = size_of(block);
    memcpy(moved, block, old < size ? old : size);
    free(block);
    return moved;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return take(size, alignment);
}

void *memalign(size_t alignment, size_t size)
{
    return take(size, alignment);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = take(size, alignment);
    return *block == NULL ? ENOMEM : 0;
}

size_t malloc_usable_size(void *block)
{
    return block == NULL ? 0 : size_of(block);
}

/* What the library, or main, does: the result must be that of its own allocator. */
long own_work(void);
long own_work(void)
{
    for (size_t i = 0; i < 1000; i++) {
        char *block = malloc(i + 1);
        block = realloc(again(block), i + 200);
        size_t usable = malloc_usable_size(block);
        if (usable != i + 200)
            die("own malloc: usable size %zu", usable);
        free(block);
    }
    return balance;
}

#ifndef LIBRARY
int main(void)
{
    long before = balance;
    char *copy = strdup("the C library's own calls come here too");
    say("%s, balance %ld\n", copy, balance - before);
    free(copy);
    say("balance %ld\n", own_work() - before);
    return 0;
}
#endif
