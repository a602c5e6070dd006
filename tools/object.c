#include "object.h"

#include <errno.h>
#include <search.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "report/demangle.h"
#include "report/text.h"
#include "report/xz.h"

#define MANGLED_SIZE 8192u
#define NAME_SIZE    1024u
#define PATH_SIZE    4096u

/* One address, and the want it is of. Several wants may have the same. */
struct sought {
    uint64_t address;
    size_t want;
};

/* A function of debug information that was added already. libdw gives equal texts at the same place
 * most of the time. */
struct added {
    const char *linkage_name, *name, *directory, *file;
    int start_line;
    uint64_t function_id;
};

struct reading {
    const struct object_request *request;
    struct edit *answer;
    bool has_failed;       /* no memory */
    struct sought *sought; /* sorted by address */
    uint64_t *addresses;   /* the same */
    struct ht_elf_want *symbols;
    size_t count;
    bool *wants_symbol; /* by the index of sought: debug information has nothing on it */
    void *added;        /* of tsearch(3) */
    struct ht_elf elf;
    bool has_elf;
};

/* What has to be said of one function at a place. */
struct naming {
    char name[NAME_SIZE], system_name[MANGLED_SIZE];
};

static int compare(const void *a_, const void *b_)
{
    const struct sought *a = a_, *b = b_;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return a->want < b->want ? -1 : a->want > b->want;
}

static bool find_addresses(struct reading *reading, const struct debug_file *file)
{
    const struct object_request *request = reading->request;
    size_t room = request->want_count + 1;
    reading->sought = calloc(room, sizeof(*reading->sought));
    reading->addresses = calloc(room, sizeof(*reading->addresses));
    reading->symbols = calloc(room, sizeof(*reading->symbols));
    reading->wants_symbol = calloc(room, sizeof(*reading->wants_symbol));
    if (!reading->sought || !reading->addresses || !reading->symbols || !reading->wants_symbol)
        return false;
    for (size_t i = 0; i < request->want_count; i++) {
        const struct object_want *want = &request->wants[i];
        struct sought *sought = &reading->sought[reading->count];
        sought->want = i;
        reading->count += debug_file_address(file, &request->segments[want->segment], want->offset,
                                             &sought->address);
    }
    qsort(reading->sought, reading->count, sizeof(*reading->sought), compare);
    for (size_t i = 0; i < reading->count; i++)
        reading->addresses[i] = reading->symbols[i].address = reading->sought[i].address;
    return true;
}

/* The first of those with this address. */
static size_t find(const struct reading *reading, uint64_t address)
{
    size_t low = 0, high = reading->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (reading->addresses[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- symbols ---- */

static void find_symbols(struct reading *reading, const struct debug_file *file)
{
    if (file->fd < 0 || ht_elf_open(file->path, NULL, &reading->elf) < 0)
        return;
    reading->has_elf = ht_elf_resolve(&reading->elf, reading->symbols, reading->count) == 0;
    bool has_any = false;
    for (size_t i = 0; i < reading->count; i++)
        has_any |= reading->symbols[i].rank != 0;
    if (!reading->has_elf || !has_any) {
        ht_elf_close(&reading->elf);
        reading->has_elf = false;
    }
}

static bool name_by_symbol(struct reading *reading, size_t index, struct naming *ret_naming)
{
    if (!reading->has_elf || reading->symbols[index].rank == 0 ||
        ht_elf_name(&reading->elf, &reading->symbols[index], ret_naming->system_name,
                    sizeof(ret_naming->system_name)) < 0)
        return false;
    ht_demangle(ret_naming->system_name, ret_naming->name, sizeof(ret_naming->name));
    return true;
}

/* ---- frames ---- */

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

/* Of a part or a copy of a function: debug information has one name for all of them. */
static void drop_suffix(struct naming *naming)
{
    char *suffix = strchr(naming->system_name, '.');
    if (suffix) {
        *suffix = 0;
        ht_demangle(naming->system_name, naming->name, sizeof(naming->name));
    }
}

/* The linker's name leads, as in the profiles of the process itself. It has no scope in Fortran and
 * in C, where the source's is shorter; and a local function of C++ may have none. */
static void name_by_debug(struct reading *reading, size_t index, const struct debug_frame *frame,
                          bool is_outermost, struct naming *ret_naming)
{
    if (*frame->linkage_name) {
        copy(ret_naming->system_name, sizeof(ret_naming->system_name), frame->linkage_name);
        if (!ht_demangle(frame->linkage_name, ret_naming->name, sizeof(ret_naming->name)) &&
            *frame->scoped_name)
            copy(ret_naming->name, sizeof(ret_naming->name), frame->scoped_name);
        return;
    }
    if (is_outermost && name_by_symbol(reading, index, ret_naming)) {
        if (!*frame->name)
            return;
        if (strncmp(ret_naming->system_name, "_Z", 2) == 0) {
            drop_suffix(ret_naming);
            return;
        }
    }
    copy(ret_naming->system_name, sizeof(ret_naming->system_name), frame->name);
    copy(ret_naming->name, sizeof(ret_naming->name), frame->scoped_name);
}

static uint64_t add_function(struct reading *reading, const struct naming *naming,
                             const struct debug_frame *frame)
{
    char path[PATH_SIZE], file[PATH_SIZE], name[NAME_SIZE], system_name[MANGLED_SIZE];
    bool is_relative = *frame->file && *frame->file != '/' && *frame->directory;
    snprintf(path, sizeof(path), "%s%s%s", is_relative ? frame->directory : "",
             is_relative ? "/" : "", frame->file);
    ht_text_clean(path, strlen(path), file, sizeof(file));
    ht_text_clean(naming->name, strlen(naming->name), name, sizeof(name));
    ht_text_clean(naming->system_name, strlen(naming->system_name), system_name,
                  sizeof(system_name));
    uint64_t id = edit_add_function(reading->answer, name, system_name, file, frame->start_line);
    reading->has_failed |= id == 0;
    return id;
}

static int compare_added(const void *a, const void *b)
{
    return memcmp(a, b, offsetof(struct added, function_id));
}

/* The function of a frame. Its name need be made once, unless it depends on the address. */
static uint64_t function_of(struct reading *reading, size_t index, const struct debug_frame *frame,
                            bool is_outermost)
{
    static struct naming naming; /* large */
    struct added key;
    memset(&key, 0, sizeof(key)); /* also between its members */
    key.linkage_name = frame->linkage_name;
    key.name = frame->scoped_name;
    key.directory = frame->directory;
    key.file = frame->file;
    key.start_line = frame->start_line;
    bool is_fixed = *frame->linkage_name || !is_outermost;
    const void *known = is_fixed ? tfind(&key, &reading->added, compare_added) : NULL;
    if (known)
        return (*(const struct added *const *)known)->function_id;
    naming.name[0] = naming.system_name[0] = 0;
    name_by_debug(reading, index, frame, is_outermost, &naming);
    key.function_id = add_function(reading, &naming, frame);
    struct added *added = is_fixed ? malloc(sizeof(*added)) : NULL;
    if (added) {
        *added = key;
        if (!tsearch(added, &reading->added, compare_added))
            free(added);
    }
    return key.function_id;
}

static void take_place(void *reading_, const struct debug_place *place)
{
    struct reading *reading = reading_;
    size_t i = find(reading, place->address);
    for (; i < reading->count && reading->addresses[i] == place->address; i++) {
        if (reading->request->done)
            __atomic_fetch_add(reading->request->done, 1, __ATOMIC_RELAXED);
        reading->wants_symbol[i] = place->count == 0;
        if (place->count == 0)
            continue;
        Perftools__Profiles__Location *location = edit_add_location(reading->answer, place->count);
        if (!location) {
            reading->has_failed = true;
            return;
        }
        location->id = reading->sought[i].want + 1;
        for (size_t j = 0; j < place->count; j++) {
            const struct debug_frame *frame = &place->frames[j];
            Perftools__Profiles__Line *line = location->line[j];
            line->function_id = function_of(reading, i, frame, j + 1 == place->count);
            line->line = frame->line;
            line->column = frame->column;
        }
    }
}

/* For what has no debug information. */
static void take_symbols(struct reading *reading)
{
    static const struct debug_frame nowhere = {.directory = "", .file = ""};
    static struct naming naming;
    for (size_t i = 0; i < reading->count; i++) {
        if (!reading->wants_symbol[i] || !name_by_symbol(reading, i, &naming))
            continue;
        Perftools__Profiles__Location *location = edit_add_location(reading->answer, 1);
        if (!location) {
            reading->has_failed = true;
            return;
        }
        location->id = reading->sought[i].want + 1;
        location->line[0]->function_id = add_function(reading, &naming, &nowhere);
    }
}

/* ---- all of it ---- */

/* Of the first part alone where that is less work. */
static enum object_state read_debug(const struct debug_search *search,
                                    const struct debug_file *file, struct reading *reading)
{
    const struct object_request *request = reading->request;
    struct debug_part part = {request->part, file->is_compressed ? 1 : request->part_count};
    struct debug debug;
    int r = part.part < part.part_count ? debug_open(search, file, &debug) : -EAGAIN;
    if (r == 0) {
        r = debug_find(&debug, part, reading->addresses, reading->count, take_place, reading);
        enum object_state state = debug.lacks_alternate ? OBJECT_LACKS_ALTERNATE
                                  : debug.lacks_dwo     ? OBJECT_LACKS_DWO
                                                        : OBJECT_HAS_LINES;
        debug_close(&debug);
        if (r == 0)
            return state;
    }
    reading->has_failed |= r == -ENOMEM;
    return OBJECT_HAS_NO_LINES;
}

static enum object_state read_files(const struct debug_search *search,
                                    const struct debug_files *files, struct reading *reading)
{
    const struct debug_file *object = &files->object, *debug = &files->debug;
    if (object->fd < 0 && debug->fd < 0)
        return files->is_stale ? OBJECT_IS_STALE : OBJECT_IS_MISSING;
    if (!find_addresses(reading, object->fd >= 0 ? object : debug)) {
        reading->has_failed = true;
        return OBJECT_IS_BROKEN;
    }
    find_symbols(reading, debug);
    if (!reading->has_elf)
        find_symbols(reading, object);
    enum object_state state = OBJECT_HAS_NO_LINES;
    if (object->has_lines || debug->has_lines)
        state = read_debug(search, object->has_lines ? object : debug, reading);
    if (state == OBJECT_HAS_NO_LINES && reading->request->part == 0)
        memset(reading->wants_symbol, true, reading->count);
    take_symbols(reading);
    return state;
}

static bool add_mapping(struct edit *answer, enum object_state state, const char *path)
{
    char clean[PATH_SIZE];
    ht_text_clean(path, strlen(path), clean, sizeof(clean));
    return edit_add_mapping(answer, (uint64_t)state, clean);
}

bool object_read(const struct debug_search *search, const struct object_request *request,
                 struct edit *ret_answer)
{
    struct edit answer;
    struct debug_files files;
    if (!edit_begin(&answer))
        return false;
    struct reading reading = {.request = request, .answer = &answer};
    ht_xz_start(); /* libdw has brought liblzma */
    debug_files_find(search, request->path, &request->build_id, request->segments,
                     request->segment_count, &files);
    enum object_state state = read_files(search, &files, &reading);
    const struct debug_file *debug = files.object.has_lines ? &files.object : &files.debug;
    if (!add_mapping(&answer, state, debug->path ? debug->path : ""))
        reading.has_failed = true;
    if (reading.has_elf)
        ht_elf_close(&reading.elf);
    debug_files_close(&files);
    free(reading.sought);
    free(reading.addresses);
    free(reading.symbols);
    free(reading.wants_symbol);
    if (reading.added)
        tdestroy(reading.added, free);
    if (reading.has_failed)
        edit_free(&answer);
    else
        *ret_answer = answer;
    return !reading.has_failed;
}
