/* empty.c: an interposer that does nothing, as a yardstick: what no preloaded profiler can be
 * cheaper than.
 *
 * Each hook is one jump through a pointer, which is set up so that the first call finds the real
 * function. Built without the compiler's knowledge of malloc (meson.build). */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

static void *first_malloc(size_t size);
static void first_free(void *block);
static void *first_calloc(size_t count, size_t size);
static void *first_realloc(void *block, size_t size);
static int first_posix_memalign(void **ret_block, size_t alignment, size_t size);
static void *first_aligned_alloc(size_t alignment, size_t size);
static void *first_memalign(size_t alignment, size_t size);

static void *(*next_malloc)(size_t) = first_malloc;
static void (*next_free)(void *) = first_free;
static void *(*next_calloc)(size_t, size_t) = first_calloc;
static void *(*next_realloc)(void *, size_t) = first_realloc;
static int (*next_posix_memalign)(void **, size_t, size_t) = first_posix_memalign;
static void *(*next_aligned_alloc)(size_t, size_t) = first_aligned_alloc;
static void *(*next_memalign)(size_t, size_t) = first_memalign;

#define FIND(name) (next_##name = (__typeof__(next_##name))dlsym(RTLD_NEXT, #name))

static void *first_malloc(size_t size)
{
    return FIND(malloc)(size);
}

static void first_free(void *block)
{
    FIND(free)(block);
}

static void *first_calloc(size_t count, size_t size)
{
    return FIND(calloc)(count, size);
}

static void *first_realloc(void *block, size_t size)
{
    return FIND(realloc)(block, size);
}

static int first_posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    return FIND(posix_memalign)(ret_block, alignment, size);
}

static void *first_aligned_alloc(size_t alignment, size_t size)
{
    return FIND(aligned_alloc)(alignment, size);
}

static void *first_memalign(size_t alignment, size_t size)
{
    return FIND(memalign)(alignment, size);
}

void *malloc(size_t size)
{
    return next_malloc(size);
}

void free(void *block)
{
    next_free(block);
}

void *calloc(size_t count, size_t size)
{
    return next_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return next_realloc(block, size);
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    return next_posix_memalign(ret_block, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return next_aligned_alloc(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    return next_memalign(alignment, size);
}
