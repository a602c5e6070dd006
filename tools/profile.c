#include "profile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile_file.h"
#include "profile_model.h"
#include "tool.h"

/* For the messages and for the model, each. */
#define MEMORY_MAX ((size_t)2 << 30)

#define NOT_A_PROFILE "not a profile in pprof's format"

const char *const profile_column_names[PROFILE_COLUMNS] = {"alloc_objects", "alloc_space",
                                                           "inuse_objects", "inuse_space"};

bool model_refuse(struct model *model, const char *format, ...)
{
    if (*model->problem)
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(model->problem, PROFILE_PROBLEM_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

const char *model_string(struct model *model, int64_t index)
{
    if (index >= 0 && (uint64_t)index < model->message->n_string_table)
        return model->message->string_table[index];
    model_refuse(model, "damaged: string %lld of %zu", (long long)index,
                 model->message->n_string_table);
    return "";
}

/* "cpu/nanoseconds and samples/count", as far as they fit. */
static void list_types(struct model *model, char *text, size_t size)
{
    const Perftools__Profiles__Profile *message = model->message;
    size_t length = 0;
    for (size_t i = 0; i < message->n_sample_type && length < size; i++) {
        const Perftools__Profiles__ValueType *type = message->sample_type[i];
        const char *between = i == 0 ? "" : i + 1 == message->n_sample_type ? " and " : ", ";
        int n = snprintf(text + length, size - length, "%s%s/%s", between,
                         model_string(model, type->type), model_string(model, type->unit));
        length += n > 0 ? (size_t)n : 0;
    }
    if (length >= size)
        strcpy(text + size - 4, "...");
}

/* By name and unit, wherever they are. */
static bool find_columns(struct model *model)
{
    const Perftools__Profiles__Profile *message = model->message;
    for (size_t column = 0; column < PROFILE_COLUMNS; column++) {
        bool is_space = column == PROFILE_ALLOC_SPACE || column == PROFILE_INUSE_SPACE;
        size_t i = 0;
        for (; i < message->n_sample_type; i++) {
            const Perftools__Profiles__ValueType *type = message->sample_type[i];
            if (strcmp(model_string(model, type->type), profile_column_names[column]) == 0 &&
                strcmp(model_string(model, type->unit), is_space ? "bytes" : "count") == 0)
                break;
        }
        if (i == message->n_sample_type) {
            char types[160];
            list_types(model, types, sizeof(types));
            return model_refuse(model,
                                "a profile of %s, not of a heap (alloc_objects, alloc_space, "
                                "inuse_objects, inuse_space)",
                                types);
        }
        model->columns[column] = i;
    }
    return !*model->problem;
}

static bool take_head(struct model *model)
{
    const Perftools__Profiles__Profile *message = model->message;
    struct profile *profile = model->profile;
    if (message->n_sample_type == 0 || message->n_string_table == 0 ||
        message->string_table[0][0] != 0)
        return model_refuse(model, NOT_A_PROFILE);
    if (!find_columns(model))
        return false;
    profile->has_errors = message->heaptap_version >= 1;
    profile->process = message->heaptap_process;
    profile->time_nanos = message->time_nanos;
    profile->duration_nanos = message->duration_nanos;
    profile->period = message->period;
    profile->comments =
        pool_take_array(&profile->pool, message->n_comment, sizeof(*profile->comments));
    if (!profile->comments)
        return false;
    for (size_t i = 0; i < message->n_comment; i++) {
        const char *comment = model_string(model, message->comment[i]);
        profile->comments[i] = pool_copy_text(&profile->pool, comment, strlen(comment));
        if (!profile->comments[i])
            return false;
    }
    profile->comment_count = message->n_comment;
    return !*model->problem;
}

static void *take_for_message(void *pool, size_t size)
{
    return pool_take(pool, size);
}

static void forget_for_message(void *pool, void *memory)
{
    (void)pool, (void)memory;
}

/* What a file that is no message at all may be. */
static bool refuse_text(struct model *model, const uint8_t *data, size_t size)
{
    static const char old[] = "heap profile: ";
    if (size > sizeof(old) && memcmp(data, old, sizeof(old) - 1) == 0)
        return model_refuse(model, "a heap profile in the old text format; go tool pprof -proto "
                                   "makes of it one that can be read");
    return model_refuse(model, NOT_A_PROFILE);
}

static bool decode_plain(struct model *model, const uint8_t *data, size_t size)
{
    ProtobufCAllocator allocator = {take_for_message, forget_for_message, model->scratch};
    Perftools__Profiles__Profile *message =
        perftools__profiles__profile__unpack(&allocator, size, data);
    if (!message)
        return model->scratch->is_exhausted ? false : refuse_text(model, data, size);
    model->message = message;
    return take_head(model) && model_make_places(model) && model_make_samples(model);
}

bool profile_decode(const uint8_t *data, size_t size, struct frames *frames,
                    struct profile *ret_profile, char ret_problem[PROFILE_PROBLEM_SIZE])
{
    struct profile profile = {.name = "", .pool = {.limit = MEMORY_MAX}};
    struct pool scratch = {.limit = MEMORY_MAX};
    struct model model = {
        .frames = frames, .profile = &profile, .scratch = &scratch, .problem = ret_problem};
    struct bytes unpacked;
    *ret_problem = 0;
    const char *problem = profile_file_unpack(data, size, &unpacked);
    if (problem)
        return model_refuse(&model, "%s", problem);
    bool is_packed = unpacked.data != NULL;
    bool done =
        decode_plain(&model, is_packed ? unpacked.data : data, is_packed ? unpacked.size : size);
    if (!done)
        model_refuse(&model, "what is in it does not fit into memory (2 GiB)");
    free(unpacked.data);
    pool_free(&scratch);
    if (done)
        *ret_profile = profile;
    else
        pool_free(&profile.pool);
    return done;
}

bool profile_read(const char *path, struct frames *frames, struct profile *ret_profile)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    char problem[PROFILE_PROBLEM_SIZE];
    struct bytes bytes;
    const char *unreadable = profile_file_read(path, &bytes);
    if (unreadable) {
        say("%s: %s", name, unreadable);
        return false;
    }
    bool done = profile_decode(bytes.data, bytes.size, frames, ret_profile, problem);
    free(bytes.data);
    if (!done)
        say("%s: %s", name, problem);
    else
        ret_profile->name = name;
    return done;
}

bool profile_note_lines(struct profile_lines *lines, const struct profile *profile)
{
    if (profile->sample_count == 0)
        return true;
    if (profile->has_lines)
        lines->with = profile->name;
    else
        lines->without = profile->name;
    if (!lines->with || !lines->without)
        return true;
    say("%s has source lines and %s has none, so their stacks differ; heaptap symbolize adds them",
        lines->with, lines->without);
    return false;
}

const char *profile_label(const struct profile_sample *sample, const char *key)
{
    for (uint32_t i = 0; i < sample->label_count; i++) {
        if (sample->labels[i].text && strcmp(sample->labels[i].key, key) == 0)
            return sample->labels[i].text;
    }
    return NULL;
}

void profile_free(struct profile *profile)
{
    pool_free(&profile->pool);
}
