/* malloc.c: the C allocation functions, as the program calls them.
 *
 * Each is a test (sample/hot.h) and a tail call to the real one; what a sample needs is out of
 * line. A function that is told "slow" may have nothing to record: the page shadow counts
 * neighbours, and the counter wraps at absurd sizes. Result and errno are the real allocator's,
 * always. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "hooks/early.h"
#include "hooks/next.h"
#include "sample/hot.h"
#include "sample/record.h"

/* Without these the compiler takes our malloc for the C library's and reasons about it. */
HT_EXPORT void *malloc(size_t size);
HT_EXPORT void *calloc(size_t count, size_t size);
HT_EXPORT void *realloc(void *block, size_t size);
HT_EXPORT void *reallocarray(void *block, size_t count, size_t size);
HT_EXPORT void free(void *block);
HT_EXPORT int posix_memalign(void **ret_block, size_t alignment, size_t size);
HT_EXPORT void *aligned_alloc(size_t alignment, size_t size);
HT_EXPORT void *memalign(size_t alignment, size_t size);
HT_EXPORT void *valloc(size_t size);
HT_EXPORT void *pvalloc(size_t size);
HT_EXPORT void free_sized(void *block, size_t size);
HT_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size);
HT_EXPORT size_t malloc_usable_size(void *block);

/* A sampled allocation: draw the next gap, call the real function, record what it gave to the
 * function's caller. A macro, because the caller's frame is that of the function it is used in. */
#define RECORD_ALLOCATION(size, call)                                                              \
    do {                                                                                           \
        struct ht_frame caller = HT_ARCH_CALLER_FRAME();                                           \
        ht_interval_id interval = ht_record_begin(size);                                           \
        void *block = (call);                                                                      \
        if (interval != 0 && block != NULL)                                                        \
            ht_record_block(block, size, interval, &caller);                                       \
        return block;                                                                              \
    } while (0)

/* ---- malloc, calloc ---- */

HT_COLD static void *malloc_slow(size_t size)
{
    RECORD_ALLOCATION(size, ht_next.malloc(size));
}

void *malloc(size_t size)
{
    if (HT_UNLIKELY(ht_hot_alloc(size)))
        return malloc_slow(size);
    return ht_next.malloc(size);
}

HT_COLD static void *calloc_slow(size_t count, size_t size)
{
    RECORD_ALLOCATION(count * size, ht_next.calloc(count, size));
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    if (HT_UNLIKELY(__builtin_mul_overflow(count, size, &total)))
        return ht_next.calloc(count, size); /* fails in its own way */
    if (HT_UNLIKELY(ht_hot_alloc(total)))
        return calloc_slow(count, size);
    return ht_next.calloc(count, size);
}

/* ---- free ---- */

/* True if the block is one of ours from before the allocator was known: it is never given back. */
static bool forget(void *block)
{
    if (HT_UNLIKELY(ht_early_owns(block)))
        return true;
    ht_record_free(block);
    return false;
}

HT_COLD static void free_slow(void *block)
{
    if (!forget(block))
        ht_next.free(block);
}

void free(void *block)
{
    if (HT_UNLIKELY(ht_hot_is_live(block))) {
        free_slow(block);
        return;
    }
    ht_next.free(block);
}

HT_COLD static void free_sized_slow(void *block, size_t size)
{
    if (!forget(block))
        ht_next.free_sized(block, size);
}

void free_sized(void *block, size_t size)
{
    if (HT_UNLIKELY(ht_hot_is_live(block))) {
        free_sized_slow(block, size);
        return;
    }
    ht_next.free_sized(block, size);
}

HT_COLD static void free_aligned_sized_slow(void *block, size_t alignment, size_t size)
{
    if (!forget(block))
        ht_next.free_aligned_sized(block, alignment, size);
}

void free_aligned_sized(void *block, size_t alignment, size_t size)
{
    if (HT_UNLIKELY(ht_hot_is_live(block))) {
        free_aligned_sized_slow(block, alignment, size);
        return;
    }
    ht_next.free_aligned_sized(block, alignment, size);
}

/* ---- realloc ---- */

static void *realloc_early(void *block, size_t size)
{
    void *moved = ht_next.malloc(size);
    if (moved != NULL)
        memcpy(moved, block, ht_min(ht_early_size(block), size));
    return moved;
}

/* `borrowed` is what the subtraction said. The counter does not tell any more: a signal handler may
 * have asked for a new gap since. */
HT_COLD static void *realloc_slow(void *block, size_t size, bool borrowed)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    ht_interval_id interval = borrowed ? ht_record_begin(size) : 0;
    struct ht_live_block was;
    /* Before the call: afterwards another thread may own the old address. */
    enum ht_live_result known = block != NULL ? ht_record_forget(block, &was) : HT_LIVE_UNKNOWN;
    void *moved = HT_UNLIKELY(ht_early_owns(block)) ? realloc_early(block, size)
                                                    : ht_next.realloc(block, size);
    /* realloc(p, 0) frees and returns NULL in glibc; any other NULL is a failure that freed
     * nothing. */
    bool failed = moved == NULL && size != 0;
    if (failed && (known == HT_LIVE_REMOVED || known == HT_LIVE_DEFERRED))
        ht_record_restore(block, known == HT_LIVE_REMOVED ? &was : NULL);
    else if (known == HT_LIVE_REMOVED)
        ht_record_freed(&was);
    if (interval != 0 && moved != NULL)
        ht_record_block(moved, size, interval, &caller);
    return moved;
}

void *realloc(void *block, size_t size)
{
    bool borrowed = ht_hot_alloc(size);
    if (HT_UNLIKELY(borrowed | ht_hot_is_live(block)))
        return realloc_slow(block, size, borrowed);
    return ht_next.realloc(block, size);
}

/* Not next's: glibc's calls realloc(), which is ours, and would be counted twice. But what cannot
 * succeed fails as next's does: mimalloc's realloc() leaves errno alone then, its reallocarray()
 * does not. */
void *reallocarray(void *block, size_t count, size_t size)
{
    size_t total;
    if (HT_UNLIKELY(__builtin_mul_overflow(count, size, &total) || total > PTRDIFF_MAX))
        return ht_next.reallocarray(block, count, size); /* fails in its own way */
    bool borrowed = ht_hot_alloc(total);
    if (HT_UNLIKELY(borrowed | ht_hot_is_live(block)))
        return realloc_slow(block, total, borrowed);
    return ht_next.realloc(block, total);
}

/* ---- aligned ---- */

HT_COLD static int posix_memalign_slow(void **ret_block, size_t alignment, size_t size)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    ht_interval_id interval = ht_record_begin(size);
    int r = ht_next.posix_memalign(ret_block, alignment, size);
    if (interval != 0 && r == 0 && *ret_block != NULL)
        ht_record_block(*ret_block, size, interval, &caller);
    return r;
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    if (HT_UNLIKELY(ht_hot_alloc(size)))
        return posix_memalign_slow(ret_block, alignment, size);
    return ht_next.posix_memalign(ret_block, alignment, size);
}

HT_COLD static void *aligned_alloc_slow(size_t alignment, size_t size)
{
    RECORD_ALLOCATION(size, ht_next.aligned_alloc(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (HT_UNLIKELY(ht_hot_alloc(size)))
        return aligned_alloc_slow(alignment, size);
    return ht_next.aligned_alloc(alignment, size);
}

HT_COLD static void *memalign_slow(size_t alignment, size_t size)
{
    RECORD_ALLOCATION(size, ht_next.memalign(alignment, size));
}

void *memalign(size_t alignment, size_t size)
{
    if (HT_UNLIKELY(ht_hot_alloc(size)))
        return memalign_slow(alignment, size);
    return ht_next.memalign(alignment, size);
}

HT_COLD static void *valloc_slow(size_t size)
{
    RECORD_ALLOCATION(size, ht_next.valloc(size));
}

void *valloc(size_t size)
{
    if (HT_UNLIKELY(ht_hot_alloc(size)))
        return valloc_slow(size);
    return ht_next.valloc(size);
}

HT_COLD static void *pvalloc_slow(size_t size)
{
    RECORD_ALLOCATION(size, ht_next.pvalloc(size));
}

void *pvalloc(size_t size)
{
    if (HT_UNLIKELY(ht_hot_alloc(size)))
        return pvalloc_slow(size);
    return ht_next.pvalloc(size);
}

size_t malloc_usable_size(void *block)
{
    if (HT_UNLIKELY(ht_early_owns(block)))
        return ht_early_size(block);
    return ht_next.malloc_usable_size(block);
}
