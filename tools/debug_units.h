/* debug_units.h: the compilation units of an object, and which of them an address is in.
 *
 * .debug_aranges, which libdw looks at, lacks the units of clang; so all units are asked, once. */
#ifndef HT_TOOL_DEBUG_UNITS_H
#define HT_TOOL_DEBUG_UNITS_H

#include <elfutils/libdw.h>

#include "sys/compiler.h"

struct debug_unit {
    Dwarf_Die lines;  /* the unit that has the line table and the ranges */
    Dwarf_Die scopes; /* the same, or with split DWARF that of the .dwo file */
    bool lacks_dwo;   /* which was not found: only lines are known */
};

struct debug_range {
    Dwarf_Addr low, high;
    Dwarf_Addr reach; /* the largest `high` up to here */
    uint32_t unit;
};

struct debug_units {
    struct debug_unit *all;
    size_t count;
    /* Sorted by low. */
    struct debug_range *ranges;
    size_t range_count;
    /* Their rooms, and what .debug_aranges has; debug_units.c's own. */
    size_t room, range_room;
    Dwarf_Aranges *aranges;
    bool has_asked_aranges;
};

#define DEBUG_UNITS_NONE UINT32_MAX

/* False when memory ran out. What is damaged is left out. */
bool debug_units_load(Dwarf *dwarf, struct debug_units *ret_units);
void debug_units_free(struct debug_units *units);

/* The unit that covers an address of the file, or DEBUG_UNITS_NONE. */
uint32_t debug_units_find(Dwarf *dwarf, struct debug_units *units, Dwarf_Addr address);

#endif
