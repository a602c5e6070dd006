#include "debug_units.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#include "room.h"

/* Real objects have some 100,000; more is damage that would only take memory. */
#define RANGES_MAX ((size_t)16 << 20)

static bool add_range(struct debug_units *units, Dwarf_Addr low, Dwarf_Addr high, uint32_t unit)
{
    /* What the linker threw away begins at 0 or, with lld, at the last addresses. */
    if (low == 0 || low >= high || units->range_count >= RANGES_MAX)
        return true;
    if (!room_for_one(&units->ranges, units->range_count, &units->range_room,
                      sizeof(*units->ranges)))
        return false;
    units->ranges[units->range_count++] =
        (struct debug_range){.low = low, .high = high, .unit = unit};
    return true;
}

static bool add_ranges(struct debug_units *units, uint32_t index)
{
    Dwarf_Addr base, low, high;
    ptrdiff_t offset = 0;
    while ((offset = dwarf_ranges(&units->all[index].lines, offset, &base, &low, &high)) > 0)
        if (!add_range(units, low, high, index))
            return false;
    return true;
}

static bool add_unit(struct debug_units *units, Dwarf_Die *die, Dwarf_Die *split)
{
    if (units->count >= DEBUG_UNITS_NONE ||
        !room_for_one(&units->all, units->count, &units->room, sizeof(*units->all)))
        return false;
    units->all[units->count] = (struct debug_unit){.lines = *die, .scopes = split ? *split : *die};
    return add_ranges(units, (uint32_t)units->count++);
}

static int compare(const void *a_, const void *b_)
{
    const struct debug_range *a = a_, *b = b_;
    if (a->low != b->low)
        return a->low < b->low ? -1 : 1;
    return a->unit < b->unit ? -1 : a->unit > b->unit;
}

static void sort(struct debug_units *units)
{
    if (units->range_count == 0)
        return;
    qsort(units->ranges, units->range_count, sizeof(*units->ranges), compare);
    Dwarf_Addr reach = 0;
    for (size_t i = 0; i < units->range_count; i++) {
        reach = ht_max(reach, units->ranges[i].high);
        units->ranges[i].reach = reach;
    }
}

bool debug_units_load(Dwarf *dwarf, struct debug_units *ret_units)
{
    struct debug_units units = {0};
    Dwarf_CU *unit = NULL;
    Dwarf_Die die, split;
    uint8_t type;
    bool done = true;
    while (done && dwarf_get_units(dwarf, unit, &unit, NULL, &type, &die, &split) == 0) {
        if (type != DW_UT_compile && type != DW_UT_skeleton)
            continue;
        bool is_split = type == DW_UT_skeleton && split.addr;
        done = add_unit(&units, &die, is_split ? &split : NULL);
        if (done)
            units.all[units.count - 1].lacks_dwo = type == DW_UT_skeleton && !is_split;
    }
    if (!done) {
        debug_units_free(&units);
        return false;
    }
    sort(&units);
    *ret_units = units;
    return true;
}

void debug_units_free(struct debug_units *units)
{
    free(units->all);
    free(units->ranges);
    *units = (struct debug_units){0};
}

/* A unit that does not say where it is, as some assemblers and older compilers make them. */
static uint32_t find_in_aranges(Dwarf *dwarf, struct debug_units *units, Dwarf_Addr address)
{
    if (!units->has_asked_aranges && dwarf_getaranges(dwarf, &units->aranges, NULL) != 0)
        units->aranges = NULL;
    units->has_asked_aranges = true;
    Dwarf_Off offset;
    Dwarf_Arange *arange = units->aranges ? dwarf_getarange_addr(units->aranges, address) : NULL;
    if (!arange || dwarf_getarangeinfo(arange, NULL, NULL, &offset) != 0)
        return DEBUG_UNITS_NONE;
    for (uint32_t i = 0; i < units->count; i++)
        if (dwarf_dieoffset(&units->all[i].lines) == offset)
            return i;
    return DEBUG_UNITS_NONE;
}

uint32_t debug_units_find(Dwarf *dwarf, struct debug_units *units, Dwarf_Addr address)
{
    size_t low = 0, high = units->range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (units->ranges[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low > 0 && units->ranges[low - 1].reach > address; low--)
        if (units->ranges[low - 1].high > address)
            return units->ranges[low - 1].unit;
    return find_in_aranges(dwarf, units, address);
}
