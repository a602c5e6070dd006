#include "debug.h"

#include <dwarf.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug_lines.h"
#include "debug_names.h"
#include "debug_scopes.h"

#define SURELY_DEMANGLED 256u

struct search {
    struct debug *debug;
    void (*visit)(void *context, const struct debug_place *place);
    void *context;
    struct debug_names names;
    struct debug_frame frames[DEBUG_CHAIN_MAX];
};

/* Many objects of a distribution share what they have in common, in one file more. libdw looks for
 * it beside the file and in /usr/lib/debug. */
static void open_alternate(const struct debug_search *search, struct debug *debug)
{
    const char *name;
    const void *id;
    char path[2 * PATH_MAX];
    ssize_t size = dwelf_dwarf_gnu_debugaltlink(debug->dwarf, &name, &id);
    if (size <= 0 || dwarf_getalt(debug->dwarf))
        return;
    debug->alternate_fd = debug_file_open_by_id(search, id, (size_t)size);
    for (size_t i = 0; search->directories && search->directories[i] && debug->alternate_fd < 0;
         i++) {
        const char *base = strrchr(name, '/');
        snprintf(path, sizeof(path), "%s/.dwz/%s", search->directories[i], base ? base + 1 : name);
        debug->alternate_fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    debug->alternate =
        debug->alternate_fd < 0 ? NULL : dwarf_begin(debug->alternate_fd, DWARF_C_READ);
    debug->lacks_alternate = !debug->alternate;
    if (debug->alternate)
        dwarf_setalt(debug->dwarf, debug->alternate);
}

int debug_open(const struct debug_search *search, const struct debug_file *file,
               struct debug *ret_debug)
{
    struct debug debug = {.dwarf = dwarf_begin_elf(file->elf, DWARF_C_READ, NULL),
                          .alternate_fd = -1};
    if (!debug.dwarf)
        return -ENODATA;
    open_alternate(search, &debug);
    int r = 0;
    if (!debug_units_load(debug.dwarf, &debug.units))
        r = -ENOMEM;
    else if (debug.units.count == 0)
        r = -ENODATA;
    if (r < 0)
        debug_close(&debug);
    else
        *ret_debug = debug;
    return r;
}

void debug_close(struct debug *debug)
{
    debug_units_free(&debug->units);
    dwarf_end(debug->dwarf);
    if (debug->alternate)
        dwarf_end(debug->alternate);
    if (debug->alternate_fd >= 0)
        close(debug->alternate_fd);
}

static int compare(const void *a_, const void *b_)
{
    const struct debug_want *a = a_, *b = b_;
    if (a->unit != b->unit)
        return a->unit < b->unit ? -1 : 1;
    return a->address < b->address ? -1 : a->address > b->address;
}

/* Of a function: by its own attributes or those of what it is an instance of. */
static const char *text_of(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    const char *text = dwarf_formstring(dwarf_attr_integrate(die, name, &attribute));
    return text ? text : "";
}

/* Long names may be more than the demangler is asked for. */
static bool is_demangled(const char *name)
{
    return name[0] == '_' && (name[1] == 'Z' || name[1] == 'R') && strlen(name) < SURELY_DEMANGLED;
}

static void name_function(struct search *search, Dwarf_Die *die, struct debug_frame *frame)
{
    frame->name = text_of(die, DW_AT_name);
    frame->linkage_name = text_of(die, DW_AT_linkage_name);
    if (!*frame->linkage_name)
        frame->linkage_name = text_of(die, DW_AT_MIPS_linkage_name);
    frame->scoped_name =
        is_demangled(frame->linkage_name) ? frame->name : debug_names_scoped(&search->names, die);
    const char *file = dwarf_decl_file(die);
    if (!file || strcmp(file, frame->file) != 0 || dwarf_decl_line(die, &frame->start_line) != 0 ||
        frame->start_line < 0)
        frame->start_line = 0;
}

static void show(struct search *search, struct debug_lines *lines, struct debug_want *want)
{
    static const struct debug_frame nothing = {
        .name = "", .linkage_name = "", .scoped_name = "", .directory = "", .file = ""};
    struct debug_frame *frames = search->frames;
    frames[0] = nothing;
    debug_lines_find(lines, want->address, &frames[0]);
    for (uint32_t i = 0; i < want->count; i++) {
        Dwarf_Die *die = &want->chain[want->count - 1 - i];
        if (i > 0) {
            frames[i] = nothing;
            debug_lines_find_call(lines, die + 1, &frames[i]);
        }
        name_function(search, die, &frames[i]);
    }
    struct debug_place place = {.address = want->address, .frames = frames, .count = want->count};
    if (want->count == 0 && frames[0].line > 0)
        place.count = 1;
    search->visit(search->context, &place);
}

static void search_unit(struct search *search, struct debug_want *wants, size_t count)
{
    struct debug_unit *unit = &search->debug->units.all[wants[0].unit];
    struct debug_lines lines;
    search->debug->lacks_dwo |= unit->lacks_dwo;
    debug_scopes_find(&unit->scopes, wants, count, &search->names.outline);
    debug_lines_load(unit, &lines);
    for (size_t i = 0; i < count; i++)
        show(search, &lines, &wants[i]);
}

static void show_nothing(struct search *search, const struct debug_want *wants, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct debug_place place = {.address = wants[i].address};
        search->visit(search->context, &place);
    }
}

int debug_find(struct debug *debug, struct debug_part part, const uint64_t *addresses, size_t count,
               void (*visit)(void *context, const struct debug_place *place), void *context)
{
    struct search *search = malloc(sizeof(*search));
    struct debug_want *wants = calloc(count + 1, sizeof(*wants));
    if (!search || !wants) {
        free(search);
        free(wants);
        return -ENOMEM;
    }
    *search = (struct search){.debug = debug, .visit = visit, .context = context};
    for (size_t i = 0; i < count; i++) {
        wants[i].address = addresses[i];
        wants[i].unit = debug_units_find(debug->dwarf, &debug->units, addresses[i]);
    }
    qsort(wants, count, sizeof(*wants), compare);
    size_t end;
    for (size_t from = 0; from < count; from = end) {
        uint32_t unit = wants[from].unit;
        for (end = from; end < count && wants[end].unit == unit; end++)
            continue;
        if (unit == DEBUG_UNITS_NONE && part.part == 0)
            show_nothing(search, wants + from, end - from);
        else if (unit != DEBUG_UNITS_NONE && unit % part.part_count == part.part)
            search_unit(search, wants + from, end - from);
    }
    for (size_t i = 0; i < count; i++)
        free(wants[i].chain);
    debug_names_free(&search->names);
    free(wants);
    free(search);
    return 0;
}
