#include "report/functions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "profile.pb-c.h"
#include "report/demangle.h"
#include "sample/frames.h"
#include "sys/arena.h"

#include "sys/poison.h"

/* Addresses that are looked up in one scan of a symbol table. */
#define WANTS_MAX 8192u
/* Functions inside functions (assembly, mostly) that are recognised when the outer one goes on. */
#define NESTING_MAX 16
/* A mangled name, and one for people. Longer ones are cut. */
#define MANGLED_SIZE 8192
#define NAME_SIZE    1024

/* A symbol that has its function already, and may come again. */
struct known {
    uint64_t start, end;
    uint32_t name;
    uint8_t table;
    uint32_t function;
};

/* Addresses come in order, so only symbols that have not ended yet may come again: `known` is a
 * stack of those, with inner ones above the outer ones they lie in. */
struct writer {
    struct ht_locations *locations;
    const struct ht_mappings *mappings;
    struct ht_messages *messages;
    uint32_t count;     /* functions written */
    uint32_t elsewhere; /* the function of addresses that are in no mapping; 0: not needed yet */

    const struct ht_mapping *file; /* whose names are looked up now; NULL: none yet */
    bool is_open;                  /* and they can be */
    struct ht_elf elf;
    struct known known[NESTING_MAX];
    unsigned known_count;

    char mangled[MANGLED_SIZE], name[NAME_SIZE];
    struct ht_elf_want wants[WANTS_MAX];
};

static uint32_t put_function(struct writer *writer, const char *name, const char *system_name)
{
    Perftools__Profiles__Function function = PERFTOOLS__PROFILES__FUNCTION__INIT;
    function.id = ++writer->count;
    function.name = ht_messages_string(writer->messages, name);
    function.system_name = function.name;
    if (system_name != name && strcmp(system_name, name) != 0)
        function.system_name = ht_messages_string(writer->messages, system_name);
    ht_messages_put(writer->messages, HT_FIELD_FUNCTION, &function.base);
    return writer->count;
}

static uint32_t special_function(struct writer *writer, uintptr_t pc)
{
    const char *name = "[unknown]";
    if (pc == HT_PC_TRUNCATED)
        name = "[truncated]";
    else if (pc == HT_PC_OVERFLOW)
        name = "[heaptap: overflow]";
    return put_function(writer, name, name);
}

static uint32_t function_elsewhere(struct writer *writer)
{
    if (writer->elsewhere == 0)
        writer->elsewhere = put_function(writer, "[anon]", "[anon]");
    return writer->elsewhere;
}

/* "[libfoo.so.1+0x1234]"; the vdso's path has brackets of its own. */
static uint32_t function_of_address(struct writer *writer, const struct ht_mapping *mapping,
                                    uint64_t address)
{
    const char *slash = strrchr(mapping->path, '/');
    const char *base = slash != NULL ? slash + 1 : mapping->path;
    base += base[0] == '[' ? 1 : 0;
    int length = (int)strcspn(base, "]");
    snprintf(writer->name, sizeof(writer->name), "[%.*s+0x%llx]", length, base,
             (unsigned long long)address);
    return put_function(writer, writer->name, writer->name);
}

static uint32_t function_of_symbol(struct writer *writer, const struct ht_elf_want *want)
{
    while (writer->known_count > 0 && writer->known[writer->known_count - 1].end <= want->address)
        writer->known_count--;
    for (unsigned i = writer->known_count; i-- > 0;) {
        const struct known *known = &writer->known[i];
        if (known->start == want->start && known->name == want->name && known->table == want->table)
            return known->function;
    }
    if (ht_elf_name(&writer->elf, want, writer->mangled, sizeof(writer->mangled)) < 0)
        return 0;
    ht_demangle(writer->mangled, writer->name, sizeof(writer->name));
    uint32_t function = put_function(writer, writer->name, writer->mangled);
    /* When it is full, an outer function may be written twice: readers join them. */
    if (writer->known_count < NESTING_MAX)
        writer->known[writer->known_count++] =
            (struct known){want->start, want->end, want->name, want->table, function};
    return function;
}

static void close_file(struct writer *writer)
{
    if (writer->is_open)
        ht_elf_close(&writer->elf);
    writer->is_open = false;
    writer->known_count = 0;
    writer->file = NULL;
}

/* The file that runs, wherever it is now. The kernel keeps the program's own, whatever became of
 * its name; of others that are gone or replaced there is what they have in memory. */
static int open_names(const struct writer *writer, const struct ht_mapping *mapping,
                      struct ht_elf *ret_elf)
{
    int r = -ENOENT;
    if (mapping->path[0] == '/')
        r = ht_elf_open(mapping->path, &mapping->identity, ret_elf);
    if (r < 0 && mapping->module == 0 && writer->mappings->count > 0)
        r = ht_elf_open("/proc/thread-self/exe", &mapping->identity, ret_elf);
    if (r < 0 && mapping->image.limit != 0)
        r = ht_elf_open_loaded(&mapping->image, &mapping->identity, ret_elf);
    return r;
}

static void open_file(struct writer *writer, const struct ht_mapping *mapping)
{
    if (writer->file == mapping)
        return;
    close_file(writer);
    writer->file = mapping;
    writer->is_open = open_names(writer, mapping, &writer->elf) == 0;
}

/* The locations from by_pc[from] on that are in this mapping, as many as fit. Returns how many. */
static uint32_t write_batch(struct writer *writer, const struct ht_mapping *mapping, uint32_t from)
{
    struct ht_locations *locations = writer->locations;
    uint32_t count = 0;
    for (; count < WANTS_MAX && from + count < locations->count; count++) {
        uintptr_t pc = ht_locations_pc(locations, locations->by_pc[from + count]);
        if (pc >= mapping->limit)
            break;
        writer->wants[count] = (struct ht_elf_want){.address = pc - mapping->bias};
    }
    open_file(writer, mapping);
    if (writer->is_open)
        ht_elf_resolve(&writer->elf, writer->wants, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct ht_elf_want *want = &writer->wants[i];
        uint32_t function = want->rank != 0 ? function_of_symbol(writer, want) : 0;
        if (function == 0)
            function = function_of_address(writer, mapping, want->address);
        *ht_locations_function(locations, locations->by_pc[from + i]) = function;
    }
    return count;
}

int ht_functions_write(struct ht_locations *locations, const struct ht_mappings *mappings,
                       struct ht_messages *messages)
{
    struct writer *writer = ht_arena_map(sizeof(*writer));
    if (writer == NULL)
        return -ENOMEM;
    writer->locations = locations;
    writer->mappings = mappings;
    writer->messages = messages;
    for (uint32_t i = 0; i < locations->count;) {
        uintptr_t pc = ht_locations_pc(locations, locations->by_pc[i]);
        uint32_t *function = ht_locations_function(locations, locations->by_pc[i]);
        const struct ht_mapping *mapping = NULL;
        if (pc < HT_PC_SPECIAL_END)
            *function = special_function(writer, pc);
        else if ((mapping = ht_mappings_find(mappings, pc)) == NULL)
            *function = function_elsewhere(writer);
        i += mapping != NULL ? write_batch(writer, mapping, i) : 1;
    }
    close_file(writer);
    ht_arena_unmap(writer, sizeof(*writer));
    return 0;
}
