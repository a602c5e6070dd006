#include "profile_edit.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "room.h"

#define MEMORY_MAX ((size_t)4 << 30)

#define NO_MEMORY     "what is in it does not fit into memory"
#define NOT_A_PROFILE "not a profile in pprof's format"
#define DAMAGED       "damaged: something refers to what is not there"

/* Fields of the profile that are looked at. */
enum { SAMPLE_TYPE = 1, MAPPING = 3, LOCATION = 4, FUNCTION = 5, STRING = 6 };

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

/* What tsearch(3) sorts. */
struct string_key {
    struct edit_text text;
    int64_t index;
};

struct function_key {
    int64_t name, system_name, file, start_line;
    uint64_t id;
};

#define ADD(edit, items, count, room, item)                                                        \
    (room_for_one(&(edit)->items, (edit)->count, &(edit)->room, sizeof(*(edit)->items)) &&         \
     ((edit)->items[(edit)->count++] = (item), true))

/* ---- reading ---- */

struct reader {
    const uint8_t *at, *end;
};

static bool read_varint(struct reader *reader, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* The next field: its number, and where its content begins and ends. */
static bool read_field(struct reader *reader, unsigned *ret_number, enum wire *ret_wire,
                       struct reader *ret_content)
{
    uint64_t tag, length = 0;
    if (!read_varint(reader, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return false;
    *ret_number = (unsigned)(tag >> 3);
    *ret_wire = (enum wire)(tag & 7);
    ret_content->at = reader->at;
    switch (tag & 7) {
    case WIRE_VARINT:
        ret_content->end = NULL;
        return read_varint(reader, &length);
    case WIRE_64:
        length = 8;
        break;
    case WIRE_32:
        length = 4;
        break;
    case WIRE_LENGTH:
        if (!read_varint(reader, &length))
            return false;
        ret_content->at = reader->at;
        break;
    default:
        return false;
    }
    if (length > (uint64_t)(reader->end - reader->at))
        return false;
    reader->at += length;
    ret_content->end = reader->at;
    return true;
}

static bool keep(struct edit *edit, size_t start, size_t end)
{
    struct edit_range *last = edit->kept_count > 0 ? &edit->kept[edit->kept_count - 1] : NULL;
    if (last && last->start + last->size == start) {
        last->size += end - start;
        return true;
    }
    struct edit_range range = {start, end - start};
    return ADD(edit, kept, kept_count, kept_room, range);
}

static void *take_for_message(void *pool, size_t size)
{
    return pool_take(pool, size);
}

static void forget_for_message(void *pool, void *memory)
{
    (void)pool, (void)memory;
}

/* One of the messages that are unpacked; NULL or what is wrong. */
static const char *take_message(struct edit *edit, unsigned field, const struct reader *content)
{
    ProtobufCAllocator allocator = {take_for_message, forget_for_message, &edit->pool};
    const ProtobufCMessageDescriptor *descriptor =
        field == MAPPING    ? &perftools__profiles__mapping__descriptor
        : field == LOCATION ? &perftools__profiles__location__descriptor
                            : &perftools__profiles__function__descriptor;
    void *message = protobuf_c_message_unpack(descriptor, &allocator,
                                              (size_t)(content->end - content->at), content->at);
    if (!message)
        return edit->pool.is_exhausted ? NO_MEMORY : NOT_A_PROFILE;
    bool done = false;
    if (field == MAPPING)
        done = ADD(edit, mappings, mapping_count, mapping_room, message);
    else if (field == LOCATION)
        done = ADD(edit, locations, location_count, location_room, message);
    else
        done = ADD(edit, functions, function_count, function_room, message);
    return done ? NULL : NO_MEMORY;
}

static const char *take_fields(struct edit *edit)
{
    struct reader reader = {edit->data, edit->data + edit->size}, content;
    bool has_types = false;
    while (reader.at < reader.end) {
        size_t start = (size_t)(reader.at - edit->data);
        unsigned field;
        enum wire wire;
        if (!read_field(&reader, &field, &wire, &content))
            return NOT_A_PROFILE;
        bool is_message = field >= SAMPLE_TYPE && field <= STRING;
        if (is_message && wire != WIRE_LENGTH)
            return NOT_A_PROFILE;
        if (field == MAPPING || field == LOCATION || field == FUNCTION) {
            const char *problem = take_message(edit, field, &content);
            if (problem)
                return problem;
            continue;
        }
        struct edit_text text = {(const char *)content.at, (size_t)(content.end - content.at)};
        if (field == STRING && !ADD(edit, strings, string_count, string_room, text))
            return NO_MEMORY;
        has_types |= field == SAMPLE_TYPE;
        if (!keep(edit, start, (size_t)(reader.at - edit->data)))
            return NO_MEMORY;
    }
    edit->strings_in_file = edit->string_count;
    return has_types && edit->string_count > 0 && edit->strings[0].size == 0 ? NULL : NOT_A_PROFILE;
}

static int compare_functions(const void *a_, const void *b_)
{
    const Perftools__Profiles__Function *const *a = a_, *const *b = b_;
    return (*a)->id < (*b)->id ? -1 : (*a)->id > (*b)->id;
}

static bool has_string(const struct edit *edit, int64_t index)
{
    return index >= 0 && (uint64_t)index < edit->string_count;
}

static const char *check(struct edit *edit)
{
    if (edit->function_count > 0)
        qsort(edit->functions, edit->function_count, sizeof(Perftools__Profiles__Function *),
              compare_functions);
    for (size_t i = 0; i < edit->function_count; i++) {
        const Perftools__Profiles__Function *function = edit->functions[i];
        if (function->id == edit->function_id_max) /* 0, or as the one before */
            return DAMAGED;
        edit->function_id_max = function->id;
        if (!has_string(edit, function->name) || !has_string(edit, function->system_name) ||
            !has_string(edit, function->filename))
            return DAMAGED;
    }
    for (size_t i = 0; i < edit->mapping_count; i++)
        if (!has_string(edit, edit->mappings[i]->filename) ||
            !has_string(edit, edit->mappings[i]->build_id))
            return DAMAGED;
    for (size_t i = 0; i < edit->location_count; i++) {
        const Perftools__Profiles__Location *location = edit->locations[i];
        for (size_t j = 0; j < location->n_line; j++)
            if (!edit_function(edit, location->line[j]->function_id))
                return DAMAGED;
    }
    return edit->function_id_max > UINT32_MAX ? DAMAGED : NULL;
}

const char *edit_decode(struct bytes *file, struct edit *ret_edit)
{
    struct edit edit = {.pool = {.limit = MEMORY_MAX}, .file = *file};
    const char *problem = profile_file_unpack(edit.file.data, edit.file.size, &edit.packed);
    *file = (struct bytes){0};
    if (!problem) {
        bool is_packed = edit.packed.data != NULL;
        edit.data = is_packed ? edit.packed.data : edit.file.data;
        edit.size = is_packed ? edit.packed.size : edit.file.size;
        problem = take_fields(&edit);
    }
    if (!problem)
        problem = check(&edit);
    if (problem)
        edit_free(&edit);
    else
        *ret_edit = edit;
    return problem;
}

const char *edit_read(const char *path, struct edit *ret_edit)
{
    struct bytes file;
    const char *problem = profile_file_read(path, &file);
    return problem ? problem : edit_decode(&file, ret_edit);
}

bool edit_begin(struct edit *ret_edit)
{
    static const uint8_t least[] = {SAMPLE_TYPE << 3 | WIRE_LENGTH, 0, STRING << 3 | WIRE_LENGTH,
                                    0};
    struct bytes file = {.data = malloc(sizeof(least)), .size = sizeof(least)};
    if (!file.data)
        return false;
    memcpy(file.data, least, sizeof(least));
    return !edit_decode(&file, ret_edit);
}

void edit_free(struct edit *edit)
{
    if (edit->string_tree)
        tdestroy(edit->string_tree, free);
    if (edit->function_tree)
        tdestroy(edit->function_tree, free);
    free(edit->mappings);
    free(edit->locations);
    free(edit->functions);
    free(edit->kept);
    free(edit->strings);
    free(edit->file.data);
    free(edit->packed.data);
    pool_free(&edit->pool);
}

/* ---- changing ---- */

const char *edit_string(struct edit *edit, int64_t index)
{
    if (!has_string(edit, index))
        return "";
    const struct edit_text *text = &edit->strings[index];
    return pool_copy_text(&edit->pool, text->bytes, text->size);
}

static int compare_strings(const void *a_, const void *b_)
{
    const struct string_key *a = a_, *b = b_;
    int order = memcmp(a->text.bytes, b->text.bytes, ht_min(a->text.size, b->text.size));
    if (order != 0)
        return order;
    return a->text.size < b->text.size ? -1 : a->text.size > b->text.size;
}

/* The key that is in the tree; a copy of this one if it was not. */
static const void *find_or_add(void **tree, const void *key, size_t size,
                               int (*compare)(const void *, const void *))
{
    void *copy = malloc(size);
    if (!copy)
        return NULL;
    memcpy(copy, key, size);
    void **node = tsearch(copy, tree, compare);
    if (!node || *node != copy)
        free(copy);
    return node ? *node : NULL;
}

static bool index_strings(struct edit *edit)
{
    if (edit->string_tree)
        return true;
    for (size_t i = 0; i < edit->string_count; i++) {
        struct string_key key = {.text = edit->strings[i], .index = (int64_t)i};
        if (!find_or_add(&edit->string_tree, &key, sizeof(key), compare_strings))
            return false;
    }
    return true;
}

int64_t edit_add_string(struct edit *edit, const char *text)
{
    struct string_key key = {.text = {text, strlen(text)}, .index = (int64_t)edit->string_count};
    if (!index_strings(edit))
        return -1;
    const void *known = tfind(&key, &edit->string_tree, compare_strings);
    if (known)
        return (*(const struct string_key *const *)known)->index;
    key.text.bytes = pool_copy_text(&edit->pool, text, key.text.size);
    if (!key.text.bytes || !ADD(edit, strings, string_count, string_room, key.text) ||
        !find_or_add(&edit->string_tree, &key, sizeof(key), compare_strings))
        return -1;
    return key.index;
}

static int compare_function_keys(const void *a, const void *b)
{
    return memcmp(a, b, offsetof(struct function_key, id));
}

static bool index_functions(struct edit *edit)
{
    if (edit->function_tree)
        return true;
    for (size_t i = 0; i < edit->function_count; i++) {
        const Perftools__Profiles__Function *function = edit->functions[i];
        struct function_key key = {function->name, function->system_name, function->filename,
                                   function->start_line, function->id};
        if (!find_or_add(&edit->function_tree, &key, sizeof(key), compare_function_keys))
            return false;
    }
    return true;
}

uint64_t edit_add_function(struct edit *edit, const char *name, const char *system_name,
                           const char *file, int64_t start_line)
{
    struct function_key key = {edit_add_string(edit, name), edit_add_string(edit, system_name),
                               edit_add_string(edit, file), start_line, edit->function_id_max + 1};
    if (key.name < 0 || key.system_name < 0 || key.file < 0 || key.id > UINT32_MAX ||
        !index_functions(edit))
        return 0;
    const struct function_key *known =
        find_or_add(&edit->function_tree, &key, sizeof(key), compare_function_keys);
    if (!known || known->id != key.id)
        return known ? known->id : 0;
    Perftools__Profiles__Function *function = pool_take(&edit->pool, sizeof(*function));
    if (!function || !ADD(edit, functions, function_count, function_room, function))
        return 0;
    perftools__profiles__function__init(function);
    function->id = edit->function_id_max = key.id;
    function->name = key.name;
    function->system_name = key.system_name;
    function->filename = key.file;
    function->start_line = start_line;
    return key.id;
}

bool edit_set_lines(struct edit *edit, Perftools__Profiles__Location *location, size_t count)
{
    Perftools__Profiles__Line **lines = pool_take_array(&edit->pool, count, sizeof(*lines));
    Perftools__Profiles__Line *all = pool_take_array(&edit->pool, count, sizeof(*all));
    if (!lines || !all)
        return false;
    for (size_t i = 0; i < count; i++) {
        perftools__profiles__line__init(&all[i]);
        lines[i] = &all[i];
    }
    location->n_line = count;
    location->line = lines;
    return true;
}

bool edit_add_mapping(struct edit *edit, uint64_t id, const char *path)
{
    Perftools__Profiles__Mapping *mapping = pool_take(&edit->pool, sizeof(*mapping));
    int64_t filename = edit_add_string(edit, path);
    if (!mapping || filename < 0)
        return false;
    perftools__profiles__mapping__init(mapping);
    mapping->id = id;
    mapping->filename = filename;
    return ADD(edit, mappings, mapping_count, mapping_room, mapping);
}

Perftools__Profiles__Location *edit_add_location(struct edit *edit, size_t line_count)
{
    Perftools__Profiles__Location *location = pool_take(&edit->pool, sizeof(*location));
    if (!location)
        return NULL;
    perftools__profiles__location__init(location);
    if (!edit_set_lines(edit, location, line_count) ||
        !ADD(edit, locations, location_count, location_room, location))
        return NULL;
    return location;
}

size_t edit_function_place(const struct edit *edit, uint64_t id)
{
    size_t low = 0, high = edit->function_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (edit->functions[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const Perftools__Profiles__Function *edit_function(const struct edit *edit, uint64_t id)
{
    size_t place = edit_function_place(edit, id);
    return place < edit->function_count && edit->functions[place]->id == id ? edit->functions[place]
                                                                            : NULL;
}
