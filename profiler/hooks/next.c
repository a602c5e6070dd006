#include "hooks/next.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "hooks/early.h"
#include "sys/os.h"

/* In this thread, on the way through dlsym(). */
static HT_THREAD_LOCAL bool resolving;

/* ---- until they are found ---- */

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static void *early(size_t size, size_t alignment)
{
    void *block = ht_early_alloc(size, alignment);
    return block != NULL ? block : out_of_memory();
}

static void *first_malloc(size_t size)
{
    ht_next_resolve();
    return resolving ? early(size, 0) : ht_next.malloc(size);
}

static void *first_calloc(size_t count, size_t size)
{
    ht_next_resolve();
    if (!resolving)
        return ht_next.calloc(count, size);
    size_t total;
    return __builtin_mul_overflow(count, size, &total) ? out_of_memory() : early(total, 0);
}

/* Blocks of early.h never come here: the hook sees to them. */
static void *first_realloc(void *block, size_t size)
{
    ht_next_resolve();
    return resolving ? early(size, 0) : ht_next.realloc(block, size);
}

static void *first_reallocarray(void *block, size_t count, size_t size)
{
    ht_next_resolve();
    return resolving ? out_of_memory() : ht_next.reallocarray(block, count, size);
}

static void first_free(void *block)
{
    ht_next_resolve();
    if (!resolving)
        ht_next.free(block);
}

static int first_posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    ht_next_resolve();
    if (!resolving)
        return ht_next.posix_memalign(ret_block, alignment, size);
    void *block = ht_early_alloc(size, alignment);
    if (block == NULL)
        return ENOMEM;
    *ret_block = block;
    return 0;
}

static void *first_aligned_alloc(size_t alignment, size_t size)
{
    ht_next_resolve();
    return resolving ? early(size, alignment) : ht_next.aligned_alloc(alignment, size);
}

static void *first_memalign(size_t alignment, size_t size)
{
    ht_next_resolve();
    return resolving ? early(size, alignment) : ht_next.memalign(alignment, size);
}

static void *first_valloc(size_t size)
{
    ht_next_resolve();
    return resolving ? early(size, HT_PAGE) : ht_next.valloc(size);
}

static void *first_pvalloc(size_t size)
{
    ht_next_resolve();
    return resolving ? early(ht_round_up(size, HT_PAGE), HT_PAGE) : ht_next.pvalloc(size);
}

static void first_free_sized(void *block, size_t size)
{
    ht_next_resolve();
    if (!resolving)
        ht_next.free_sized(block, size);
}

static void first_free_aligned_sized(void *block, size_t alignment, size_t size)
{
    ht_next_resolve();
    if (!resolving)
        ht_next.free_aligned_sized(block, alignment, size);
}

static size_t first_malloc_usable_size(void *block)
{
    ht_next_resolve();
    return resolving ? 0 : ht_next.malloc_usable_size(block);
}

struct ht_next ht_next = {
    .malloc = first_malloc,
    .calloc = first_calloc,
    .realloc = first_realloc,
    .reallocarray = first_reallocarray,
    .free = first_free,
    .posix_memalign = first_posix_memalign,
    .aligned_alloc = first_aligned_alloc,
    .memalign = first_memalign,
    .valloc = first_valloc,
    .pvalloc = first_pvalloc,
    .free_sized = first_free_sized,
    .free_aligned_sized = first_free_aligned_sized,
    .malloc_usable_size = first_malloc_usable_size,
};

/* ---- what the C library underneath does not have ---- */

/* C23's two are free() with advice; glibc has them since 2.43 only. */
static void free_without_size(void *block, size_t size)
{
    (void)size;
    ht_next.free(block);
}

static void free_without_alignment(void *block, size_t alignment, size_t size)
{
    (void)alignment, (void)size;
    ht_next.free(block);
}

/* ---- finding them ---- */

/* The hooks live in files of their own: a program that is linked with the archive gets all of them
 * through this, also those that only its libraries call. */
void *malloc(size_t size);
void *_Znwm(size_t size);
int dlclose(void *handle);

__attribute__((used)) static const struct {
    void *(*malloc)(size_t);
    void *(*operator_new)(size_t);
    int (*dlclose)(void *);
} hooks = {malloc, _Znwm, dlclose};

void ht_next_find(void *to, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol != NULL)
        memcpy(to, &symbol, sizeof(symbol));
}

void ht_next_resolve(void)
{
    static uint32_t done;
    if (resolving || __atomic_load_n(&done, __ATOMIC_ACQUIRE) != 0)
        return;
    int saved = errno;
    resolving = true;
    struct ht_next found = ht_next;
    found.free_sized = free_without_size;
    found.free_aligned_sized = free_without_alignment;
    ht_next_find(&found.malloc, "malloc");
    ht_next_find(&found.calloc, "calloc");
    ht_next_find(&found.realloc, "realloc");
    ht_next_find(&found.reallocarray, "reallocarray");
    ht_next_find(&found.free, "free");
    ht_next_find(&found.posix_memalign, "posix_memalign");
    ht_next_find(&found.aligned_alloc, "aligned_alloc");
    ht_next_find(&found.memalign, "memalign");
    ht_next_find(&found.valloc, "valloc");
    ht_next_find(&found.pvalloc, "pvalloc");
    ht_next_find(&found.free_sized, "free_sized");
    ht_next_find(&found.free_aligned_sized, "free_aligned_sized");
    ht_next_find(&found.malloc_usable_size, "malloc_usable_size");
    HT_ASSERT(found.malloc != first_malloc && found.free != first_free);
    /* Two threads that come here at once store the same values. */
    ht_next = found;
    resolving = false;
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    errno = saved;
}

const void *ht_next_address(void)
{
    const void *address;
    memcpy(&address, &ht_next.malloc, sizeof(address));
    return address;
}
