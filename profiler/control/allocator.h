/* allocator.h: what the allocator underneath says of itself: glibc, jemalloc, tcmalloc, mimalloc.
 *
 * Its functions take its locks. So they are never called where an allocation may have been
 * interrupted, as by a signal handler that ends the program; nor where they would keep a lock for
 * long: glibc's goes through all free blocks of an arena meanwhile. */
#ifndef HT_CONTROL_ALLOCATOR_H
#define HT_CONTROL_ALLOCATOR_H

#include "sys/compiler.h"

/* Looks for the functions; `object` is the file of the malloc underneath. Context: start. */
void ht_allocator_start(const char *object);

struct ht_allocator {
    const char *name; /* "glibc" */
    uint64_t system;  /* bytes that it has from the kernel */
    uint64_t in_use;  /* bytes in blocks, with what it adds to each; 0: it does not say */
};

/* False when there is nothing to ask, or `free_bytes`, an estimate of what lies in free blocks, is
 * more than can be gone through quickly. Context: collector, API. */
bool ht_allocator_ask(uint64_t free_bytes, struct ht_allocator *ret_allocator);

#endif
