/* shim.c: a library that takes malloc's place and asks dlsym for the next one at its first use, as
 * many do; and whose calloc is called by dlsym itself meanwhile. Preloaded before or behind
 * heaptap. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* volatile: the compiler believes that dlsym cannot come back to us. */
static void *(*volatile next_malloc)(size_t);
static void *(*volatile next_calloc)(size_t, size_t);
static void (*volatile next_free)(void *);
static volatile int resolving;

/* What dlsym gets while we are asking it. */
static char pool[8192];
static size_t pool_used;

static void *from_pool(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (pool_used + size > sizeof(pool))
        return NULL;
    pool_used += size;
    return pool + pool_used - size;
}

static void resolve(void)
{
    resolving = 1;
    /* An unknown name makes dlsym allocate its message. */
    dlsym(RTLD_NEXT, "no_such_function_anywhere");
    next_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    resolving = 0;
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    if (!next_malloc) {
        if (resolving)
            return from_pool(size);
        resolve();
    }
    return next_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size)
{
    if (!next_malloc) {
        if (resolving)
            return from_pool(count * size);
        resolve();
    }
    return next_calloc(count, size);
}

__attribute__((visibility("default"))) void free(void *block)
{
    if ((char *)block >= pool && (char *)block < pool + sizeof(pool))
        return;
    if (!next_malloc)
        resolve();
    next_free(block);
}
