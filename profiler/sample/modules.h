/* modules.h: the libraries whose code was ever seen on a sampled stack, also those that are gone.
 *
 * A library that is unloaded takes its addresses with it, and another may be loaded over them. So
 * each is remembered when the first of its pcs is learnt, and when it goes, its addresses in all
 * stacks are moved to a range of their own, far outside of any memory: the profile shows them in a
 * mapping of the library that was, and code that comes to the old addresses makes new stacks. If
 * the same library comes back, its addresses are moved to where it is now, and its stacks go on; so
 * a plugin that is loaded a thousand times costs what one costs.
 *
 * Functions that change something are called under the learn lock. */
#ifndef HT_SAMPLE_MODULES_H
#define HT_SAMPLE_MODULES_H

#include "sys/compiler.h"

#define HT_MODULE_SEGMENTS 4
#define HT_MODULE_BUILD_ID 64

struct ht_module {
    struct ht_module *older;
    uintptr_t start, end; /* where it was loaded, as the loader told */
    uintptr_t base;       /* address in memory - address in the file's headers */
    const void *link_map; /* the loader's name for it, and where its unwind table is: they tell */
    const void *frame_table; /* it from most of what may come after it; see is_certain */
    uintptr_t moved_by;      /* what was added to its addresses; 0: it is still loaded */
    bool is_certain;         /* nothing was unloaded since it was looked at */
    unsigned segment_count;  /* executable ones */
    struct {
        uint64_t vaddr, offset, size;
    } segments[HT_MODULE_SEGMENTS];
    unsigned build_id_size;
    uint8_t build_id[HT_MODULE_BUILD_ID];
    char path[]; /* as the loader knows it; absolute if the directory could be told */
};

/* Remembers the module of a pc that is being learnt. True if one that was known has gone without a
 * word and this one has its place: rules must be forgotten. */
bool ht_modules_note(uintptr_t pc);

/* After an unloading: moves the addresses of all modules that are no longer there. */
void ht_modules_settle(void);

/* The youngest module, gone or not; go on by `older`. Read under ht_modules_fork_...  */
const struct ht_module *ht_modules_newest(void);

#endif
