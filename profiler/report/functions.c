#include "report/functions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "profile.pb-c.h"
#include "report/demangle.h"
#include "report/lexicon.h"
#include "sample/frames.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

/* Addresses that are looked up in one scan of a symbol table, or of what a JIT compiler wrote. */
#define WANTS_MAX 8192u
/* Functions inside functions (assembly, mostly) that are recognised when the outer one goes on. */
#define NESTING_MAX 16
/* A mangled name, and one for people. Longer ones are cut. */
#define MANGLED_SIZE 8192
#define NAME_SIZE    1024

/* A function by its number in the profile, and in the lexicon: 0 when it is not kept. */
struct named {
    uint32_t function, kept;
};

/* A symbol that has its function already, and may come again. */
struct known {
    uint64_t start, end;
    uint32_t name;
    uint8_t table;
    struct named named;
};

/* Addresses come in order, so only symbols that have not ended yet may come again: `known` is a
 * stack of those, with inner ones above the outer ones they lie in. */
struct writer {
    struct ht_locations *locations;
    const struct ht_mappings *mappings;
    const struct ht_jit *jit;
    struct ht_messages *messages;
    uint32_t count;     /* functions written */
    uint32_t elsewhere; /* the function of addresses that have no name at all; 0: not needed yet */

    uint32_t module; /* of the lexicon, whose addresses are looked up now */
    struct known known[NESTING_MAX];
    unsigned known_count;

    uint32_t jit_module, jit_open; /* addresses of no module that are to be looked up */
    bool jit_is_tried;             /* what has no name so far has none in the files as they are */

    char mangled[MANGLED_SIZE], name[NAME_SIZE];
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

/* Of writer->mangled, which was found for something that starts there. */
static struct named function_of_name(struct writer *writer, uint64_t start)
{
    struct named named;
    ht_demangle(writer->mangled, writer->name, sizeof(writer->name));
    named.kept = ht_lexicon_function(writer->module, start, writer->name, writer->mangled);
    uint32_t *number = named.kept != 0 ? ht_lexicon_number(named.kept) : &(uint32_t){0};
    if (*number == 0)
        *number = put_function(writer, writer->name, writer->mangled);
    named.function = *number;
    return named;
}

static uint32_t function_of_kept(struct writer *writer, uint32_t kept)
{
    uint32_t *number = ht_lexicon_number(kept);
    if (*number == 0)
        *number = put_function(writer, ht_lexicon_name(kept), ht_lexicon_system_name(kept));
    return *number;
}

static uintptr_t sorted_pc(const struct writer *writer, uint32_t i)
{
    return ht_locations_pc(writer->locations, writer->locations->by_pc[i]);
}

static uint32_t *sorted_function(const struct writer *writer, uint32_t i)
{
    return ht_locations_function(writer->locations, writer->locations->by_pc[i]);
}

/* ---- the addresses of one module ---- */

/* The locations by_pc[from] to by_pc[end - 1]. Those that have no function have 0. */
struct range {
    const struct ht_mapping *mapping;
    uint32_t from, end;
    uint32_t open; /* that are to be looked up */
};

static struct range range_of(const struct writer *writer, const struct ht_mapping *mapping,
                             uint32_t from)
{
    struct range range = {.mapping = mapping, .from = from, .end = from};
    while (range.end < writer->locations->count && sorted_pc(writer, range.end) < mapping->limit)
        range.end++;
    return range;
}

static bool is_same_state(const struct ht_os_file *a, const struct ht_os_file *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed_nanos == b->changed_nanos;
}

/* Sets the functions of what is known. `now` is the state of the file. */
static void take_kept(struct writer *writer, struct range *range, const struct ht_os_file *now)
{
    const struct ht_os_file *tried = ht_lexicon_tried(writer->module);
    bool is_tried = tried != NULL && is_same_state(tried, now);
    for (uint32_t i = range->from; i < range->end; i++) {
        uint64_t address = sorted_pc(writer, i) - range->mapping->bias;
        uint32_t found = ht_lexicon_find(writer->module, address),
                 *function = sorted_function(writer, i);
        if (found == HT_LEXICON_NOTHING && is_tried)
            *function = function_of_address(writer, range->mapping, address);
        else if (found != HT_LEXICON_UNKNOWN && found != HT_LEXICON_NOTHING)
            *function = function_of_kept(writer, found);
        range->open += *function == 0;
    }
}

/* The file that runs, wherever it is now. The kernel keeps the program's own, whatever became of
 * its name; of others that are gone or replaced, and of the vdso, there is what they have in
 * memory. */
static int open_names(const struct ht_mapping *mapping, struct ht_elf *ret_elf)
{
    int r = -ENOENT;
    if (mapping->path[0] == '/')
        r = ht_elf_open(mapping->path, &mapping->identity, ret_elf);
    if (r < 0 && mapping->module == 0)
        r = ht_elf_open("/proc/thread-self/exe", &mapping->identity, ret_elf);
    if (r < 0 && mapping->image.limit != 0)
        r = ht_elf_open_loaded(&mapping->image, &mapping->identity, ret_elf);
    return r;
}

/* What another time may be otherwise, while the file is the same. */
static bool is_passing(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EINTR;
}

static uint32_t function_of_symbol(struct writer *writer, const struct ht_elf *elf,
                                   const struct ht_elf_want *want)
{
    while (writer->known_count > 0 && writer->known[writer->known_count - 1].end <= want->address)
        writer->known_count--;
    struct known *known = NULL;
    for (unsigned i = writer->known_count; i-- > 0 && known == NULL;)
        if (writer->known[i].start == want->start && writer->known[i].name == want->name &&
            writer->known[i].table == want->table)
            known = &writer->known[i];
    if (known == NULL) {
        if (ht_elf_name(elf, want, writer->mangled, sizeof(writer->mangled)) < 0)
            return 0;
        /* When it is full, an outer function may be written twice: readers join them. */
        known = &writer->known[ht_min(writer->known_count, NESTING_MAX - 1)];
        writer->known_count = (unsigned)ht_min(writer->known_count + 1, NESTING_MAX);
        *known = (struct known){want->start, want->end, want->name, want->table, {0}};
        known->named = function_of_name(writer, want->start);
    }
    if (known->named.kept != 0)
        ht_lexicon_set(writer->module, want->address, known->named.kept);
    return known->named.function;
}

/* Looks up one batch: the first `count` open locations of the range. `nothing` is what to remember
 * of an address without a symbol: HT_LEXICON_UNKNOWN if it may have one after all. */
static void name_batch(struct writer *writer, struct range *range, const struct ht_elf *elf,
                       struct ht_elf_want *wants, uint32_t count, uint32_t nothing)
{
    uint32_t n = 0, i = range->from;
    for (; n < count; i++)
        if (*sorted_function(writer, i) == 0)
            wants[n++] =
                (struct ht_elf_want){.address = sorted_pc(writer, i) - range->mapping->bias};
    int r = elf != NULL ? ht_elf_resolve(elf, wants, count) : 0;
    if (r < 0)
        nothing = HT_LEXICON_UNKNOWN;
    writer->known_count = 0;
    for (n = 0, i = range->from; n < count; i++) {
        uint32_t *function = sorted_function(writer, i);
        if (*function != 0)
            continue;
        const struct ht_elf_want *want = &wants[n++];
        if (want->rank != 0)
            *function = function_of_symbol(writer, elf, want);
        else
            ht_lexicon_set(writer->module, want->address, nothing);
        if (*function == 0)
            *function = function_of_address(writer, range->mapping, want->address);
    }
    range->from = i;
    range->open -= count;
}

static void name_open(struct writer *writer, struct range *range, const struct ht_os_file *now)
{
    uint32_t batch = (uint32_t)ht_min(range->open, WANTS_MAX);
    struct ht_elf elf;
    int r = open_names(range->mapping, &elf);
    bool is_open = r == 0, may_be_there = is_passing(r) || (is_open && elf.is_short_of_memory);
    struct ht_os_file *tried = ht_lexicon_tried(writer->module);
    if (tried != NULL)
        *tried = *now;
    struct ht_elf_want *wants = ht_arena_map(batch * sizeof(*wants)), few[8];
    uint32_t room = wants != NULL ? batch : HT_ARRAY_SIZE(few);
    while (range->open > 0)
        name_batch(writer, range, is_open ? &elf : NULL, wants != NULL ? wants : few,
                   (uint32_t)ht_min(range->open, room),
                   may_be_there ? HT_LEXICON_UNKNOWN : HT_LEXICON_NOTHING);
    ht_arena_unmap(wants, batch * sizeof(*wants));
    if (is_open)
        ht_elf_close(&elf);
}

/* Returns where the next module begins. */
static uint32_t write_module(struct writer *writer, const struct ht_mapping *mapping, uint32_t from)
{
    struct range range = range_of(writer, mapping, from);
    struct ht_os_file now = {0};
    if (mapping->path[0] == '/')
        ht_os_file_at(mapping->path, &now);
    writer->module = ht_lexicon_module(mapping->path, &mapping->identity);
    take_kept(writer, &range, &now);
    uint32_t end = range.end;
    if (range.open > 0)
        name_open(writer, &range, &now);
    return end;
}

/* ---- the addresses of no module ---- */

static void take_kept_elsewhere(struct writer *writer, uint32_t i)
{
    uint32_t found = ht_lexicon_find(writer->jit_module, sorted_pc(writer, i));
    if (found != HT_LEXICON_UNKNOWN && found != HT_LEXICON_NOTHING)
        *sorted_function(writer, i) = function_of_kept(writer, found);
    else if (!writer->jit->has_files || (found == HT_LEXICON_NOTHING && writer->jit_is_tried))
        *sorted_function(writer, i) = function_elsewhere(writer);
    writer->jit_open += *sorted_function(writer, i) == 0;
}

/* Neighbours are often in one function, and a file has them one after the other. */
static void name_elsewhere(struct writer *writer, uint32_t i, const struct ht_jit_want *want)
{
    struct named named = {0};
    if (ht_jit_name(writer->jit, want, writer->mangled, sizeof(writer->mangled)) > 0)
        named = function_of_name(writer, want->start);
    if (named.function == 0)
        ht_lexicon_set(writer->module, want->pc, HT_LEXICON_NOTHING);
    else if (named.kept != 0)
        ht_lexicon_set(writer->module, want->pc, named.kept);
    *sorted_function(writer, i) = named.function != 0 ? named.function : function_elsewhere(writer);
}

/* What has no function by now. The first name that was found is kept for ever: other code may come
 * to the address, but the oldest samples are of the oldest code. */
static void write_elsewhere(struct writer *writer)
{
    uint32_t batch = (uint32_t)ht_min(writer->jit_open, WANTS_MAX), i = 0;
    struct ht_jit_want *wants = batch > 0 ? ht_arena_map(batch * sizeof(*wants)) : NULL;
    writer->module = writer->jit_module;
    while (writer->jit_open > 0) {
        uint32_t count = 0, from = i;
        for (; i < writer->locations->count && count < batch; i++) {
            if (*sorted_function(writer, i) != 0)
                continue;
            if (wants == NULL)
                *sorted_function(writer, i) = function_elsewhere(writer);
            else
                wants[count] = (struct ht_jit_want){.pc = sorted_pc(writer, i)};
            count++;
        }
        writer->jit_open -= count;
        if (wants == NULL)
            continue;
        ht_jit_resolve(writer->jit, wants, count);
        for (uint32_t n = 0; n < count; from++)
            if (*sorted_function(writer, from) == 0)
                name_elsewhere(writer, from, &wants[n++]);
    }
    ht_arena_unmap(wants, batch * sizeof(*wants));
}

int ht_functions_write(struct ht_locations *locations, const struct ht_mappings *mappings,
                       const struct ht_jit *jit, struct ht_messages *messages)
{
    static const struct ht_elf_identity no_file;
    struct writer *writer = ht_arena_map(sizeof(*writer));
    if (writer == NULL)
        return -ENOMEM;
    writer->locations = locations;
    writer->mappings = mappings;
    writer->jit = jit;
    writer->messages = messages;
    ht_lexicon_begin(locations->count);
    if (jit->has_files || jit->region_count > 0) {
        writer->jit_module = ht_lexicon_module("[jit]", &no_file);
        struct ht_os_file *tried = ht_lexicon_tried(writer->jit_module);
        writer->jit_is_tried = tried != NULL && is_same_state(tried, &jit->state);
        if (tried != NULL)
            *tried = jit->state;
    }
    for (uint32_t i = 0; i < locations->count;) {
        uintptr_t pc = sorted_pc(writer, i);
        const struct ht_mapping *mapping = NULL;
        if (pc < HT_PC_SPECIAL_END)
            *sorted_function(writer, i) = special_function(writer, pc);
        else if ((mapping = ht_mappings_find(mappings, pc)) == NULL)
            take_kept_elsewhere(writer, i);
        i = mapping != NULL ? write_module(writer, mapping, i) : i + 1;
    }
    write_elsewhere(writer);
    ht_arena_unmap(writer, sizeof(*writer));
    return 0;
}
