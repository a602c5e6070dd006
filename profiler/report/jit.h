/* jit.h: the names of code that no file has: what a JIT compiler made, and wrote down for Linux
 * perf.
 *
 * There are two ways to write it down. /tmp/perf-PID.map has a line "START SIZE name" for each
 * function (node --perf-basic-prof, java with an agent, python -X perf). A jitdump has records; its
 * writer maps the file's first page, so that it is found among what is mapped under the name
 * jit-PID.dump. PID is what the process sees itself, or what those see who mounted its /proc.
 *
 * Both grow while they are read, and anybody may have made them: only a regular file of our user's,
 * or of root's, is believed, it is read through a buffer of fixed size, and what it says costs
 * bounded time. Addresses are used again for other code; what was written last is taken. */
#ifndef HT_REPORT_JIT_H
#define HT_REPORT_JIT_H

#include "report/locations.h"
#include "report/mappings.h"
#include "report/source.h"
#include "sys/os.h"

enum { HT_JIT_MAP, HT_JIT_OUTER_MAP, HT_JIT_DUMP, HT_JIT_FILES };

/* A file is read up to here, which takes a quarter of a second. */
#define HT_JIT_FILE_MAX ((uint64_t)256 << 20)
/* Regions that are shown; code in more of them is in none. */
#define HT_JIT_REGIONS 1024u

struct ht_jit_region {
    uintptr_t start, limit;
};

struct ht_jit {
    struct ht_source files[HT_JIT_FILES]; /* size 0: there is none */
    bool has_files;
    struct ht_os_file state; /* of all of them together: it changes when one does */
    /* Executable memory of no module that holds locations, by address, and the pages of those whose
     * memory is gone; none when no file was ever found: then nothing says that it is a JIT
     * compiler's. */
    uint32_t region_count;
    struct ht_jit_region *regions; /* HT_JIT_REGIONS of them, or NULL */
};

struct ht_jit_want {
    uintptr_t pc;
    uintptr_t start; /* of the code it is in; 0: no name was found */
    uint64_t offset; /* of the line, or record, that says so */
    uint64_t code;   /* of code that was moved: its number */
    uint8_t file;
    bool is_moved;
};

/* Finds files and regions, if there are locations outside of all modules. Without memory, or
 * /proc, there are fewer. Needs 4.5 KiB of stack, as maps.h. Context: dump. */
void ht_jit_open(struct ht_jit *ret_jit, const struct ht_locations *locations,
                 const struct ht_mappings *mappings);
void ht_jit_close(struct ht_jit *jit);

/* 1 + the index of the region of a pc, or 0. */
uint32_t ht_jit_region_of(const struct ht_jit *jit, uintptr_t pc);

/* Looks `count` wants up, which are sorted by pc. */
void ht_jit_resolve(const struct ht_jit *jit, struct ht_jit_want *wants, uint32_t count);
/* The name that was found, cut to size - 1 bytes: its length, or -errno, also when the file says
 * something else by now. */
int ht_jit_name(const struct ht_jit *jit, const struct ht_jit_want *want, char *ret_name,
                size_t size);

#endif
