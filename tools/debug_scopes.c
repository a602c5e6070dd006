#include "debug_scopes.h"

#include <dwarf.h>
#include <stdlib.h>

/* No compiler nests scopes so deep; a damaged file may, and the walk recurses. */
#define NESTING_MAX 256u

struct walk {
    struct debug_want *wants;
    size_t count;
    bool is_thorough;              /* also into functions that hold none of the addresses */
    struct debug_outline *outline; /* NULL: it is made already */
    const void *last; /* the DIE before; in a damaged file the next may not lie behind it */
};

/* Where the walk is: in `function`, `inlined` calls deep. */
struct place {
    const void *function; /* the address of its DIE; NULL: in none */
    unsigned inlined;
    unsigned nesting;
    uint32_t scope; /* the namespace's index in the outline */
};

static size_t first_at_or_above(const struct walk *walk, Dwarf_Addr address)
{
    size_t low = 0, high = walk->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (walk->wants[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A scope that lies in the one where the chain ended, and no sibling of it that overlaps (two
 * functions of the same code, folded by the linker): the first one counts. */
static bool continues(const struct debug_want *want, const struct place *place, bool is_function)
{
    if (is_function)
        return want->count == 0;
    return want->count == 1 + place->inlined && want->chain[0].addr == place->function;
}

static void append(struct debug_want *want, const Dwarf_Die *die)
{
    if (want->count == want->room) {
        uint32_t room = want->room ? want->room * 2 : 4;
        Dwarf_Die *moved =
            room <= DEBUG_CHAIN_MAX ? realloc(want->chain, room * sizeof(*moved)) : NULL;
        if (!moved)
            return;
        want->chain = moved;
        want->room = room;
    }
    want->chain[want->count++] = *die;
}

enum kind { FUNCTION, INLINED, BLOCK };

/* Adds a scope to the chains of all wants in it. Whether there are any. */
static bool take(struct walk *walk, Dwarf_Die *die, const struct place *place, enum kind kind)
{
    Dwarf_Addr base, low, high;
    ptrdiff_t offset = 0;
    bool has_any = false;
    while ((offset = dwarf_ranges(die, offset, &base, &low, &high)) > 0) {
        size_t i = first_at_or_above(walk, low);
        for (; i < walk->count && walk->wants[i].address < high; i++) {
            has_any = true;
            if (kind != BLOCK && continues(&walk->wants[i], place, kind == FUNCTION))
                append(&walk->wants[i], die);
        }
    }
    return has_any;
}

static void walk_children(struct walk *walk, Dwarf_Die *parent, struct place place);

static void visit(struct walk *walk, Dwarf_Die *die, struct place place)
{
    bool is_worth_it = false;
    uint32_t index = DEBUG_OUTLINE_NONE;
    if (walk->outline && !place.function)
        index = debug_outline_add(walk->outline, die, place.scope);
    switch (dwarf_tag(die)) {
    case DW_TAG_subprogram:
        is_worth_it = take(walk, die, &place, FUNCTION) || walk->is_thorough;
        place.function = die->addr;
        place.inlined = 0;
        break;
    case DW_TAG_inlined_subroutine:
        is_worth_it = take(walk, die, &place, INLINED);
        place.inlined++;
        break;
    case DW_TAG_lexical_block:
    case DW_TAG_try_block:
    case DW_TAG_catch_block:
    case DW_TAG_with_stmt:
        is_worth_it = take(walk, die, &place, BLOCK) || walk->is_thorough;
        break;
    case DW_TAG_namespace:
    case DW_TAG_module:
        place.scope = index;
        is_worth_it = true;
        break;
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
        is_worth_it = walk->is_thorough && place.function;
        break;
    }
    if (is_worth_it)
        walk_children(walk, die, place);
}

static void walk_children(struct walk *walk, Dwarf_Die *parent, struct place place)
{
    Dwarf_Die die;
    if (++place.nesting > NESTING_MAX || dwarf_child(parent, &die) != 0)
        return;
    do {
        if ((const char *)die.addr <= (const char *)walk->last)
            return;
        walk->last = die.addr;
        visit(walk, &die, place);
    } while (dwarf_siblingof(&die, &die) == 0);
}

/* The first walk passes over what holds none of the addresses. But functions within a function (C,
 * Fortran) are not within its code, and those of a class that is local to one stand in that class:
 * where something was not found, a second walk looks into all functions. */
void debug_scopes_find(Dwarf_Die *unit, struct debug_want *wants, size_t count,
                       struct debug_outline *ret_outline)
{
    struct walk walk = {.wants = wants, .count = count, .outline = ret_outline};
    struct place place = {.scope = DEBUG_OUTLINE_NONE};
    debug_outline_clear(ret_outline);
    walk_children(&walk, unit, place);
    walk.outline = NULL;
    walk.last = NULL;
    for (size_t i = 0; i < count; i++)
        walk.is_thorough |= wants[i].count == 0;
    if (walk.is_thorough)
        walk_children(&walk, unit, place);
}
