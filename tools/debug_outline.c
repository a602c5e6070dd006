#include "debug_outline.h"

#include <stdlib.h>

void debug_outline_clear(struct debug_outline *outline)
{
    outline->count = 0;
    outline->is_whole = true;
}

uint32_t debug_outline_add(struct debug_outline *outline, const Dwarf_Die *die, uint32_t parent)
{
    if (outline->count == outline->room) {
        uint32_t room = outline->room ? outline->room * 2 : 1024;
        void *moved = room < DEBUG_OUTLINE_NONE / 2
                          ? realloc(outline->entries, room * sizeof(*outline->entries))
                          : NULL;
        if (!moved) {
            outline->is_whole = false;
            return DEBUG_OUTLINE_NONE;
        }
        outline->entries = moved;
        outline->room = room;
    }
    outline->entries[outline->count] = (struct debug_outline_entry){*die, parent};
    return outline->count++;
}

uint32_t debug_outline_find(const struct debug_outline *outline, const Dwarf_Die *die)
{
    if (!outline->is_whole || outline->count == 0 || outline->entries[0].die.cu != die->cu)
        return DEBUG_OUTLINE_NONE;
    uint32_t low = 0, high = outline->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (outline->entries[middle].die.addr <= die->addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : DEBUG_OUTLINE_NONE;
}

void debug_outline_free(struct debug_outline *outline)
{
    free(outline->entries);
    *outline = (struct debug_outline){0};
}
