#include "control/allocator.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "sys/poison.h"

/* glibc takes about 10 ns for each free block that is at hand and 100 ns for one that is not, with
 * the arena's lock held. Blocks of 100 bytes: 3 to 30 ms for 32 MiB. */
#define GLIBC_FREE_MAX (UINT64_C(32) << 20)

static struct mallinfo2 (*glibc_mallinfo2)(void);
static int (*jemalloc_mallctl)(const char *, void *, size_t *, void *, size_t);
static int (*tcmalloc_property)(const char *, size_t *);
static void (*mimalloc_process_info)(size_t *, size_t *, size_t *, size_t *, size_t *, size_t *,
                                     size_t *, size_t *);

/* The function of that name in the same object as malloc: a program may have several allocators. */
static void *find(const char *object, const char *name)
{
    Dl_info info;
    void *function = dlsym(RTLD_DEFAULT, name);
    if (function == NULL || dladdr(function, &info) == 0 || strcmp(info.dli_fname, object) != 0)
        return NULL;
    return function;
}

void ht_allocator_start(const char *object)
{
    *(void **)&glibc_mallinfo2 = find(object, "mallinfo2");
    *(void **)&jemalloc_mallctl = find(object, "mallctl");
    *(void **)&tcmalloc_property = find(object, "MallocExtension_GetNumericProperty");
    *(void **)&mimalloc_process_info = find(object, "mi_process_info");
}

static uint64_t jemalloc_number(const char *name)
{
    size_t value = 0, size = sizeof(value);
    return jemalloc_mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

static uint64_t tcmalloc_number(const char *name)
{
    size_t value = 0;
    return tcmalloc_property(name, &value) != 0 ? value : 0;
}

static bool ask_jemalloc(struct ht_allocator *ret_allocator)
{
    uint64_t epoch = 1; /* its figures are those of the last time that this was set */
    size_t size = sizeof(epoch);
    if (jemalloc_mallctl("epoch", &epoch, &size, &epoch, sizeof(epoch)) != 0)
        return false;
    *ret_allocator = (struct ht_allocator){.name = "jemalloc",
                                           .system = jemalloc_number("stats.mapped"),
                                           .in_use = jemalloc_number("stats.allocated")};
    return true;
}

static bool ask_tcmalloc(struct ht_allocator *ret_allocator)
{
    *ret_allocator = (struct ht_allocator){
        .name = "tcmalloc",
        .system = tcmalloc_number("generic.heap_size"),
        .in_use = tcmalloc_number("generic.current_allocated_bytes"),
    };
    return true;
}

static bool ask_mimalloc(struct ht_allocator *ret_allocator)
{
    size_t unused, commit = 0;
    mimalloc_process_info(&unused, &unused, &unused, &unused, &unused, &commit, &unused, &unused);
    *ret_allocator = (struct ht_allocator){.name = "mimalloc", .system = commit};
    return true;
}

static bool ask_glibc(struct ht_allocator *ret_allocator)
{
    struct mallinfo2 info = glibc_mallinfo2();
    *ret_allocator = (struct ht_allocator){
        .name = "glibc", .system = info.arena + info.hblkhd, .in_use = info.uordblks + info.hblkhd};
    return true;
}

bool ht_allocator_ask(uint64_t free_bytes, struct ht_allocator *ret_allocator)
{
    if (jemalloc_mallctl != NULL)
        return ask_jemalloc(ret_allocator);
    if (tcmalloc_property != NULL)
        return ask_tcmalloc(ret_allocator);
    if (mimalloc_process_info != NULL)
        return ask_mimalloc(ret_allocator);
    return glibc_mallinfo2 != NULL && free_bytes <= GLIBC_FREE_MAX && ask_glibc(ret_allocator);
}
