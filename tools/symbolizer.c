#include "symbolizer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replace.h"
#include "symbolizer_object.h"
#include "tool.h"

#define GZIP_LEVEL 6

#define NO_MEMORY "what is in it does not fit into memory"

/* What one profile needs. Indices are those of its mappings. */
struct task {
    struct symbolizer *symbolizer;
    struct edit edit;
    struct task_mapping {
        uint64_t id;
        size_t index;                     /* among the profile's */
        struct symbolizer_object *object; /* NULL: it is no file, or was done before */
        uint32_t segment;
        size_t without_lines; /* locations */
        bool has_files;
    } * mappings; /* sorted by id */
    struct symbolized result;
    bool has_failed; /* no memory */
};

/* ---- the objects of a profile ---- */

static unsigned digit_of(char c)
{
    return c >= '0' && c <= '9'   ? (unsigned)(c - '0')
           : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                  : 16;
}

/* Lower-case hexadecimal. What is none is as if it were missing. */
static void parse_build_id(const char *text, struct ht_build_id *ret_id)
{
    size_t length = strlen(text);
    memset(ret_id, 0, sizeof(*ret_id));
    if (length % 2 != 0 || length > 2 * HT_BUILD_ID_MAX)
        return;
    for (size_t i = 0; i < length / 2; i++) {
        unsigned high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        if (high > 15 || low > 15)
            return;
        ret_id->bytes[i] = (uint8_t)(high << 4 | low);
    }
    ret_id->size = (uint8_t)(length / 2);
}

/* The result of an object, which begins with its first mapping. */
static bool add_result(struct task *task, struct symbolizer_object *object, bool was_done)
{
    struct symbolized *result = &task->result;
    size_t i = 0;
    while (i < result->object_count && result->objects[i].path != object->path)
        i++;
    object->result = i;
    if (i < result->object_count)
        return true;
    result->objects[result->object_count++] = (struct symbolized_object){
        .path = object->path, .build_id = &object->build_id, .was_done = was_done};
    return true;
}

static bool take_mapping(struct task *task, size_t index)
{
    const Perftools__Profiles__Mapping *mapping = task->edit.mappings[index];
    struct task_mapping *taken = &task->mappings[index];
    struct ht_build_id build_id;
    *taken = (struct task_mapping){.id = mapping->id, .index = index};
    const char *path = edit_string(&task->edit, mapping->filename);
    const char *hex = edit_string(&task->edit, mapping->build_id);
    if (!path || !hex)
        return false;
    if (*path != '/' || mapping->memory_limit <= mapping->memory_start)
        return true;
    parse_build_id(hex, &build_id);
    struct symbolizer_object *object = symbolizer_object_get(task->symbolizer, path, &build_id);
    if (!object || !add_result(task, object, mapping->has_line_numbers))
        return false;
    taken->object = object;
    const struct debug_segment segment = {mapping->file_offset,
                                          mapping->memory_limit - mapping->memory_start};
    taken->segment = (uint32_t)object->segment_count;
    return symbolizer_object_add_segment(object, &segment);
}

static int compare_mappings(const void *a_, const void *b_)
{
    const struct task_mapping *a = a_, *b = b_;
    return a->id < b->id ? -1 : a->id > b->id;
}

static bool take_mappings(struct task *task)
{
    struct symbolizer *symbolizer = task->symbolizer;
    size_t count = task->edit.mapping_count;
    symbolizer_begin(symbolizer);
    task->mappings = calloc(count + 1, sizeof(*task->mappings));
    task->result.objects = calloc(count + 1, sizeof(*task->result.objects));
    bool done = task->mappings && task->result.objects;
    for (size_t i = 0; i < count && done; i++)
        done = take_mapping(task, i);
    if (done)
        qsort(task->mappings, count, sizeof(*task->mappings), compare_mappings);
    return done;
}

/* The mapping that a location is in, or NULL. */
static struct task_mapping *mapping_of(const struct task *task,
                                       const Perftools__Profiles__Location *location)
{
    size_t low = 0, high = task->edit.mapping_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (task->mappings[middle].id < location->mapping_id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == task->edit.mapping_count || task->mappings[low].id != location->mapping_id)
        return NULL;
    return &task->mappings[low];
}

/* Whether somebody else found lines for it. */
static bool has_lines(const struct task *task, const Perftools__Profiles__Location *location)
{
    for (size_t i = 0; i < location->n_line; i++)
        if (location->line[i]->line != 0 ||
            edit_function(&task->edit, location->line[i]->function_id)->filename != 0)
            return true;
    return location->n_line > 1;
}

/* Where the location is in its file; false when it is in none that is looked at. */
static bool offset_of(const struct task *task, const Perftools__Profiles__Location *location,
                      struct task_mapping **ret_mapping, uint64_t *ret_offset)
{
    struct task_mapping *mapping = mapping_of(task, location);
    if (!mapping || !mapping->object)
        return false;
    const Perftools__Profiles__Mapping *message = task->edit.mappings[mapping->index];
    if (message->has_line_numbers || location->address < message->memory_start ||
        location->address >= message->memory_limit || has_lines(task, location))
        return false;
    *ret_mapping = mapping;
    *ret_offset = location->address - message->memory_start + message->file_offset;
    return true;
}

static bool take_locations(struct task *task)
{
    for (size_t i = 0; i < task->edit.location_count; i++) {
        struct task_mapping *mapping;
        uint64_t offset;
        if (!offset_of(task, task->edit.locations[i], &mapping, &offset))
            continue;
        struct symbolizer_object *object = mapping->object;
        task->result.objects[object->result].places++;
        task->result.places++;
        if (symbolizer_object_find(object, offset))
            continue;
        const struct object_want want = {offset, mapping->segment};
        if (!symbolizer_object_add_want(object, &want))
            return false;
    }
    return true;
}

/* ---- the profile with what was found ---- */

/* A function of an answer as one of the profile; 0 without memory. `before` gives the names when the
 * answer has only a line; it may be NULL, then there is nothing to be said. */
static uint64_t take_function(struct task *task, struct symbolizer_answer *answer, uint64_t id,
                              const Perftools__Profiles__Function *before)
{
    struct edit *from = &answer->edit, *to = &task->edit;
    const Perftools__Profiles__Function *function = edit_function(from, id);
    if (!answer->ids)
        answer->ids = calloc(from->function_count + 1, sizeof(*answer->ids));
    if (!function || !answer->ids)
        return 0;
    bool is_counted = id <= from->function_count; /* always, but it is a stranger's answer */
    if (is_counted && answer->ids[id])
        return answer->ids[id];
    const char *name = edit_string(from, function->name);
    const char *system_name = edit_string(from, function->system_name);
    const char *file = edit_string(from, function->filename);
    bool has_name = name && *name;
    if (!has_name && before) {
        name = edit_string(to, before->name);
        system_name = edit_string(to, before->system_name);
    }
    if (!name || !system_name || !file)
        return 0;
    uint64_t new = edit_add_function(to, name, system_name, file, function->start_line);
    if (is_counted && has_name)
        answer->ids[id] = new;
    return new;
}

static bool has_file(const struct symbolizer_answer *answer,
                     const Perftools__Profiles__Location *location)
{
    for (size_t i = 0; i < location->n_line; i++) {
        const Perftools__Profiles__Function *function =
            edit_function(&answer->edit, location->line[i]->function_id);
        if (function && function->filename != 0)
            return true;
    }
    return false;
}

static bool is_nameless(const struct symbolizer_answer *answer,
                        const Perftools__Profiles__Line *line)
{
    const Perftools__Profiles__Function *function = edit_function(&answer->edit, line->function_id);
    return !function || function->name == 0;
}

/* Whether a location says no more than where it is. */
static bool is_unnamed(struct task *task, const Perftools__Profiles__Location *location)
{
    if (location->n_line == 0)
        return true;
    const Perftools__Profiles__Function *function =
        edit_function(&task->edit, location->line[0]->function_id);
    const struct edit_text *name = &task->edit.strings[function->name];
    return name->size == 0 || name->bytes[0] == '[';
}

static bool apply(struct task *task, struct symbolizer_answer *answer,
                  const Perftools__Profiles__Location *found,
                  Perftools__Profiles__Location *location)
{
    size_t last = found->n_line - 1;
    const Perftools__Profiles__Function *before = NULL;
    if (location->n_line > 0)
        before = edit_function(&task->edit, location->line[location->n_line - 1]->function_id);
    if (!before && is_nameless(answer, found->line[last]))
        return true; /* a line of no function is not allowed */
    if (!edit_set_lines(&task->edit, location, found->n_line))
        return false;
    for (size_t i = 0; i < found->n_line; i++) {
        Perftools__Profiles__Line *line = location->line[i];
        line->function_id =
            take_function(task, answer, found->line[i]->function_id, i == last ? before : NULL);
        line->line = found->line[i]->line;
        line->column = found->line[i]->column;
        if (line->function_id == 0)
            return false;
    }
    task->result.is_changed = true;
    return true;
}

static bool change_location(struct task *task, Perftools__Profiles__Location *location)
{
    struct task_mapping *mapping = mapping_of(task, location), *taken;
    uint64_t offset;
    bool done = true;
    if (offset_of(task, location, &taken, &offset)) {
        struct symbolized_object *result = &task->result.objects[taken->object->result];
        const struct symbolizer_known *known = symbolizer_object_find(taken->object, offset);
        const Perftools__Profiles__Location *found = known ? known->location : NULL;
        struct symbolizer_answer *answer = found ? &taken->object->answers[known->answer] : NULL;
        bool adds_file = found && has_file(answer, found);
        if (adds_file || (found && is_unnamed(task, location)))
            done = apply(task, answer, found, location);
        taken->has_files |= adds_file;
        result->with_lines += adds_file;
        result->with_inlines += adds_file && found->n_line > 1;
    }
    if (mapping && location->n_line == 0)
        mapping->without_lines++;
    return done;
}

/* What the locations have now: a reader that sees none of these flags looks by itself. */
static void change_mapping(struct task *task, const struct task_mapping *mapping)
{
    Perftools__Profiles__Mapping *message = task->edit.mappings[mapping->index];
    if (!mapping->has_files)
        return;
    message->has_filenames = message->has_line_numbers = message->has_inline_frames = 1;
    if (mapping->without_lines == 0)
        message->has_functions = 1;
    task->result.is_changed = true;
}

static bool change(struct task *task)
{
    for (size_t i = 0; i < task->edit.location_count; i++)
        if (!change_location(task, task->edit.locations[i]))
            return false;
    for (size_t i = 0; i < task->edit.mapping_count; i++) {
        struct task_mapping *mapping = &task->mappings[i];
        change_mapping(task, mapping);
        if (mapping->object)
            task->result.objects[mapping->object->result].state = mapping->object->state;
    }
    return true;
}

/* ---- files ---- */

/* To something that is no file, or to a file that is no place of another: as it is. */
static int write_through(struct edit *edit, const char *to)
{
    bool is_stdout = strcmp(to, "-") == 0;
    int fd = is_stdout ? STDOUT_FILENO : open(to, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int r = edit_write(edit, fd, GZIP_LEVEL);
    if (!is_stdout && close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

static int write_result(struct task *task, const char *to, const struct stat *replaced)
{
    struct replacement replacement;
    struct stat status;
    if (strcmp(to, "-") == 0 || (!replaced && stat(to, &status) == 0 && !S_ISREG(status.st_mode)))
        return write_through(&task->edit, to);
    int r = replacement_begin(to, replaced, &replacement);
    if (r < 0)
        return r;
    r = edit_write(&task->edit, replacement.fd, GZIP_LEVEL);
    if (r == 0)
        return replacement_finish(&replacement);
    replacement_abandon(&replacement);
    return r;
}

static int symbolize(struct task *task, const struct stat *profile)
{
    if (!take_mappings(task) || !take_locations(task))
        return -ENOMEM;
    int r = symbolizer_ask(task->symbolizer, profile);
    if (r == 0 && !change(task))
        r = -ENOMEM;
    return r;
}

int symbolizer_file(struct symbolizer *symbolizer, const char *from, const char *to,
                    struct symbolized *ret_result)
{
    struct task task = {.symbolizer = symbolizer};
    struct stat status;
    bool is_stdin = strcmp(from, "-") == 0, in_place = strcmp(from, to) == 0 && !is_stdin;
    const char *name = is_stdin ? "standard input" : from;
    bool is_there = (is_stdin ? fstat(STDIN_FILENO, &status) : stat(from, &status)) == 0;
    const char *problem = is_there ? edit_read(from, &task.edit) : strerror(errno);
    if (problem) {
        say("%s: %s", name, problem);
        return -EINVAL;
    }
    int r = symbolize(&task, &status);
    if (r == 0 && (task.result.is_changed || !in_place)) {
        r = write_result(&task, to, in_place ? &status : NULL);
        if (r < 0 && r != -ESTALE)
            say("%s: cannot be written: %s", strcmp(to, "-") == 0 ? "standard output" : to,
                strerror(-r));
    } else if (r == -ENOMEM) {
        say("%s: " NO_MEMORY, name);
    } else if (r < 0 && r != -EINTR) {
        say("%s: cannot start a process: %s", name, strerror(-r));
    }
    edit_free(&task.edit);
    free(task.mappings);
    if (r < 0)
        symbolized_free(&task.result);
    else
        *ret_result = task.result;
    return r;
}

void symbolized_free(struct symbolized *result)
{
    free(result->objects);
    *result = (struct symbolized){0};
}
