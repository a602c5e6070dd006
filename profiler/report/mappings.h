/* mappings.h: the code that is loaded now: the program, its libraries, the vdso.
 *
 * One mapping is one executable segment of one module, exactly as its program header has it and not
 * rounded to pages: readers compute the address inside the file from start, offset and the file's
 * own headers, and those two that take a shortcut are right only for exact numbers.
 *
 * The main program's mappings come first, then the others in the loader's order. All text is
 * copied: the list stays valid when a library is unloaded. */
#ifndef HT_REPORT_MAPPINGS_H
#define HT_REPORT_MAPPINGS_H

#include "report/elf.h"

struct ht_mapping {
    uintptr_t start, limit;    /* addresses in memory */
    uint64_t offset;           /* of start, in the file */
    uintptr_t bias;            /* address in memory - address in the file's headers and symbols */
    struct ht_elf_image image; /* where the whole module is, unless it is gone */
    const char *path;          /* absolute where the system tells; "[vdso]"; "" when unknown */
    uint32_t module;           /* the index of the first mapping of the same file */
    struct ht_elf_identity
        identity; /* read from memory: it is of what runs, whatever the file is now */
};

struct ht_mappings {
    struct ht_mapping *items;
    uint32_t *by_start; /* indices of items, sorted by start */
    size_t count;
    void *memory; /* everything above lies in it */
    size_t memory_size;
};

/* Asks the loader (loaded.h), and takes its lock for that: never call this in a hook or under a
 * lock of ours. 0, -ENOMEM, or -EAGAIN when libraries came faster than they could be counted.
 * Context: dump. */
int ht_mappings_load(struct ht_mappings *ret_mappings);
void ht_mappings_free(struct ht_mappings *mappings);

/* The mapping that holds an address, or NULL. */
const struct ht_mapping *ht_mappings_find(const struct ht_mappings *mappings, uintptr_t address);

#endif
