/* debug_scopes.h: the functions that addresses are in, inlined ones included.
 *
 * libdw finds the scopes of one address by walking all of its unit: half a millisecond each in large
 * ones. Here a unit is walked once for all addresses that are wanted in it, and what holds none of
 * them is passed over. */
#ifndef HT_TOOL_DEBUG_SCOPES_H
#define HT_TOOL_DEBUG_SCOPES_H

#include "debug_outline.h"

/* Deeper chains are cut; compilers stop at some 30. */
#define DEBUG_CHAIN_MAX 128u

/* One address. `chain` begins as NULL, and is to be freed: the function, the function that was
 * inlined in it, and so on to the innermost. */
struct debug_want {
    Dwarf_Addr address;
    uint32_t unit;
    uint32_t count, room; /* of the chain */
    Dwarf_Die *chain;
};

/* Finds the chains of `count` wants, all in one unit, sorted by address; and its outline. */
void debug_scopes_find(Dwarf_Die *unit, struct debug_want *wants, size_t count,
                       struct debug_outline *ret_outline);

#endif
