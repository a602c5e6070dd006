/* bump.c: the smallest allocator, which may be called at any time, from a signal handler too: one
 * atomic addition. What is freed is counted and lost. Preloaded behind heaptap, or alone. */
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define REGION ((size_t)16 << 30) /* touched only where there are blocks */

static uintptr_t next;

static void *bump(size_t size, size_t alignment)
{
    if (size > REGION / 4 || alignment > REGION / 4) {
        errno = ENOMEM;
        return NULL;
    }
    if (__atomic_load_n(&next, __ATOMIC_RELAXED) == 0) {
        void *region = mmap(NULL, REGION, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        uintptr_t none = 0;
        if (region == MAP_FAILED)
            return NULL;
        if (!__atomic_compare_exchange_n(&next, &none, (uintptr_t)region, 0, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
            munmap(region, REGION);
    }
    if (alignment < 16)
        alignment = 16;
    size_t room = 16 + ((size + 15) & ~(size_t)15) + alignment - 16;
    uintptr_t at = __atomic_fetch_add(&next, room, __ATOMIC_RELAXED);
    at = (at + 16 + alignment - 1) & ~(alignment - 1);
    ((size_t *)at)[-1] = size;
    return (void *)at;
}

void *malloc(size_t size)
{
    return bump(size, 16);
}

void free(void *block)
{
    (void)block;
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    return __builtin_mul_overflow(count, size, &total) ? NULL : bump(total, 16);
}

size_t malloc_usable_size(void *block)
{
    return block ? ((size_t *)block)[-1] : 0;
}

void *realloc(void *block, size_t size)
{
    void *moved = bump(size, 16);
    size_t old = malloc_usable_size(block);
    if (moved && block)
        memcpy(moved, block, old < size ? old : size);
    return moved;
}

void *reallocarray(void *block, size_t count, size_t size)
{
    size_t total;
    return __builtin_mul_overflow(count, size, &total) ? NULL : realloc(block, total);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return bump(size, alignment);
}

void *memalign(size_t alignment, size_t size)
{
    return bump(size, alignment);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = bump(size, alignment);
    return *block ? 0 : ENOMEM;
}

void *valloc(size_t size)
{
    return bump(size, 4096);
}

void *pvalloc(size_t size)
{
    return bump((size + 4095) & ~(size_t)4095, 4096);
}
