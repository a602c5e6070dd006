/* arena.h: all memory of the profiler, under one limit.
 *
 * The profiler never calls malloc. Small things that live for ever (stacks, sites) are cut from
 * chunks; tables that grow, and buffers of a dump, are mapped and unmapped whole. Both count
 * against one limit (HEAPTAP_MEMORY), and NULL means that it is reached or that the kernel has no
 * more: the caller drops what it wanted to keep and counts the drop.
 *
 * All functions may be called from several threads at once and in a hook; none takes a lock for
 * longer than one mmap. */
#ifndef HT_SYS_ARENA_H
#define HT_SYS_ARENA_H

#include "sys/compiler.h"

void ht_arena_set_limit(size_t limit_bytes);
size_t ht_arena_limit(void);
/* Bytes mapped now, and the most that ever were. */
size_t ht_arena_used(void);
size_t ht_arena_peak(void);

/* `size` zeroed bytes, aligned to 16, for ever. Takes the arena's lock, rank HT_RANK_ARENA. */
void *ht_arena_alloc(size_t size);

/* Zeroed pages, at least `size` bytes; give them back with the same size. */
void *ht_arena_map(size_t size);
void ht_arena_unmap(void *address, size_t size);
/* Gives the pages back but keeps the range mapped and readable as zeros, for readers that may still
 * look at a table that was replaced. It no longer counts. */
void ht_arena_retire(void *address, size_t size);

/* The same for tables of samples. These and ht_arena_alloc() may not take all: a part of the limit
 * (an eighth, at least 2.5 MiB) is kept, so that when the tables are full a profile can still be
 * written. */
void *ht_arena_map_table(size_t size);
void ht_arena_unmap_table(void *address, size_t size);
void ht_arena_retire_table(void *address, size_t size);

size_t ht_arena_table_limit(void);
/* How much of the tables' part is taken, in 64ths. */
#define HT_ARENA_FULL 64u
unsigned ht_arena_table_fullness(void);

/* Calls `take` for each range that is mapped, or was when it was looked for; of many, for the first
 * HT_ARENA_RANGES. */
#define HT_ARENA_RANGES 256u
void ht_arena_each(void (*take)(uintptr_t address, size_t size, void *context), void *context);

/* For tests: lets every request from the n-th on fail (n = 1: the next one); 0 ends it. */
void ht_arena_fail_from(unsigned long n);

/* Around a fork, in rank order (control/fork.c). */
void ht_arena_fork_prepare(void);
void ht_arena_fork_parent(void);
void ht_arena_fork_child(void);

#endif
