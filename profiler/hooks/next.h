/* next.h: the allocator underneath, whichever it is.
 *
 * Found by dlsym(RTLD_NEXT), so that jemalloc, mimalloc or tcmalloc serve as well as glibc. Each
 * pointer starts at a function that finds all of them and goes on: the hooks need no "initialised?"
 * test, and a call through the pointer costs what a jump through the PLT costs. */
#ifndef HT_HOOKS_NEXT_H
#define HT_HOOKS_NEXT_H

#include "sys/compiler.h"

struct ht_next {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    void (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    size_t (*malloc_usable_size)(void *);
};

extern HT_HIDDEN struct ht_next ht_next;

/* Finds them now; harmless when done already. Context: any; calls the loader. */
void ht_next_resolve(void);

/* Puts the next function of that name, after ours, where `to` points to a pointer to a function;
 * leaves it as it is when there is none. Context: any; calls the loader. */
void ht_next_find(void *to, const char *name);

/* Where the malloc underneath is. */
const void *ht_next_address(void);

#endif
