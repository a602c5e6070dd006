#include "debug_names.h"

#include <dwarf.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/demangle.h"

#define NAME_SIZE      1024u
#define NESTING_MAX    64u
#define REFERENCES_MAX 8u /* an instance, its abstract function, its declaration */

struct known {
    const void *die; /* the address of its DIE */
    char name[];
};

static int compare(const void *a_, const void *b_)
{
    const struct known *a = a_, *b = b_;
    return a->die < b->die ? -1 : a->die > b->die;
}

/* The declaration, which stands where the function was written. */
static void go_to_declaration(Dwarf_Die *die)
{
    for (unsigned i = 0; i < REFERENCES_MAX; i++) {
        Dwarf_Attribute attribute;
        Dwarf_Die other;
        if (!dwarf_formref_die(dwarf_attr(die, DW_AT_abstract_origin, &attribute), &other) &&
            !dwarf_formref_die(dwarf_attr(die, DW_AT_specification, &attribute), &other))
            return;
        *die = other;
    }
}

/* A name as the demangler would write it: without template arguments; gcc has "<lambda(int)>". */
static void append(char *text, const char *name)
{
    static const char lambda[] = "<lambda";
    char part[NAME_SIZE] = "{lambda()}";
    size_t length = strlen(text);
    if (strncmp(name, lambda, sizeof(lambda) - 1) != 0)
        ht_demangle_shorten(name, part, sizeof(part));
    snprintf(text + length, NAME_SIZE - length, "%s%s", length > 0 ? "::" : "", part);
}

/* The linker's name of a function has all of its scopes; the DIE of its definition may stand outside
 * of them. False when it has none. */
static bool replace_by_linkage_name(char *text, Dwarf_Die *function)
{
    Dwarf_Attribute attribute;
    char scope[NAME_SIZE];
    const char *name =
        dwarf_formstring(dwarf_attr_integrate(function, DW_AT_linkage_name, &attribute));
    if (!name || !ht_demangle(name, scope, sizeof(scope)))
        return false;
    strcpy(text, scope);
    return true;
}

/* `name` is that of the function whose scopes these are. */
static void append_scope(char *text, Dwarf_Die *die, const char *name)
{
    const char *scope = dwarf_diename(die);
    switch (dwarf_tag(die)) {
    case DW_TAG_namespace:
        append(text, scope ? scope : "(anonymous namespace)");
        break;
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
        if (!scope)
            scope = strncmp(name, "operator()", 10) == 0 ? "<lambda" : "{unnamed}";
        append(text, scope);
        break;
    case DW_TAG_subprogram:
        if (scope && !replace_by_linkage_name(text, die))
            append(text, scope);
        break;
    case DW_TAG_module:
        if (scope)
            append(text, scope);
        break;
    default:
        break;
    }
}

/* The namespaces of an entry, outermost first. */
static void append_namespaces(char *text, const struct debug_outline *outline, uint32_t index,
                              const char *name)
{
    uint32_t chain[NESTING_MAX], count = 0;
    for (; index != DEBUG_OUTLINE_NONE && count < NESTING_MAX;
         index = outline->entries[index].parent)
        chain[count++] = index;
    while (count > 0) {
        Dwarf_Die die = outline->entries[chain[--count]].die;
        append_scope(text, &die, name);
    }
}

/* The scopes of a DIE. They come in the order of the tree, so that it is within the last child that
 * begins before it: from the outline on, which is of this unit most of the time. */
static void find_scopes(const struct debug_outline *outline, Dwarf_Die *unit, Dwarf_Die *wanted,
                        const char *name, char *text)
{
    Dwarf_Die scope = *unit;
    Dwarf_Off offset = dwarf_dieoffset(wanted);
    uint32_t index = debug_outline_find(outline, wanted);
    if (index != DEBUG_OUTLINE_NONE) {
        scope = outline->entries[index].die;
        append_namespaces(text, outline, outline->entries[index].parent, name);
        if (dwarf_dieoffset(&scope) == offset)
            return;
        append_scope(text, &scope, name);
    }
    for (unsigned i = 0; i < NESTING_MAX; i++) {
        Dwarf_Die next, child;
        if (dwarf_child(&scope, &next) != 0 || dwarf_dieoffset(&next) > offset)
            return;
        /* In a damaged file the next may not lie behind it. */
        do
            child = next;
        while (dwarf_siblingof(&child, &next) == 0 && next.addr > child.addr &&
               dwarf_dieoffset(&next) <= offset);
        if (dwarf_dieoffset(&child) == offset)
            return;
        append_scope(text, &child, name);
        scope = child;
    }
}

static const char *remember(struct debug_names *names, const void *die, const char *text)
{
    size_t length = strlen(text);
    struct known *known = malloc(sizeof(*known) + length + 1);
    if (!known)
        return "";
    known->die = die;
    memcpy(known->name, text, length + 1);
    if (!tsearch(known, &names->known, compare)) {
        free(known);
        return "";
    }
    return known->name;
}

/* Others have their scopes in the linker's name, or have none. What dwz put into a unit of its own
 * does not say of which language it is. */
static bool has_scopes(Dwarf_Die *unit)
{
    if (dwarf_tag(unit) == DW_TAG_partial_unit)
        return true;
    switch (dwarf_srclang(unit)) {
    case DW_LANG_C_plus_plus:
    case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14:
    case DW_LANG_ObjC_plus_plus:
    case DW_LANG_Fortran90:
    case DW_LANG_Fortran95:
    case DW_LANG_Fortran03:
    case DW_LANG_Fortran08:
        return true;
    default:
        return false;
    }
}

const char *debug_names_scoped(struct debug_names *names, Dwarf_Die *function)
{
    Dwarf_Die die = *function, unit;
    go_to_declaration(&die);
    const char *name = dwarf_diename(&die);
    if (!name || !dwarf_diecu(&die, &unit, NULL, NULL) || !has_scopes(&unit))
        return name ? name : "";
    struct known wanted = {.die = die.addr};
    const void *known = tfind(&wanted, &names->known, compare);
    if (known)
        return (*(const struct known *const *)known)->name;
    char text[NAME_SIZE] = "";
    find_scopes(&names->outline, &unit, &die, name, text);
    append(text, name);
    return remember(names, die.addr, text);
}

void debug_names_free(struct debug_names *names)
{
    if (names->known)
        tdestroy(names->known, free);
    names->known = NULL;
    debug_outline_free(&names->outline);
}
