/* debug_outline.h: what stands in a unit outside of functions and types, in its order.
 *
 * DIEs have no way up to their scopes. The walk of debug_scopes.h passes all that is in the unit and
 * in its namespaces; kept, it tells where anything else is, without another walk. */
#ifndef HT_TOOL_DEBUG_OUTLINE_H
#define HT_TOOL_DEBUG_OUTLINE_H

#include <elfutils/libdw.h>

#include "sys/compiler.h"

#define DEBUG_OUTLINE_NONE UINT32_MAX

struct debug_outline_entry {
    Dwarf_Die die;
    uint32_t parent; /* the index of its namespace; DEBUG_OUTLINE_NONE: it is in the unit itself */
};

/* Starts zeroed. In order of address: a DIE is in the last entry that does not begin behind it. */
struct debug_outline {
    struct debug_outline_entry *entries;
    uint32_t count, room;
    bool is_whole; /* false: memory ran out */
};

/* Begins a new unit. */
void debug_outline_clear(struct debug_outline *outline);
/* The index of the new entry. */
uint32_t debug_outline_add(struct debug_outline *outline, const Dwarf_Die *die, uint32_t parent);
/* The entry that a DIE of this unit is in, or is; DEBUG_OUTLINE_NONE when it is not of this unit. */
uint32_t debug_outline_find(const struct debug_outline *outline, const Dwarf_Die *die);
void debug_outline_free(struct debug_outline *outline);

#endif
