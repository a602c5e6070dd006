/* The locations of a profile, as frames. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile_drop.h"
#include "profile_model.h"

typedef Perftools__Profiles__Function Function;
typedef Perftools__Profiles__Line Line;
typedef Perftools__Profiles__Location Location;
typedef Perftools__Profiles__Mapping Mapping;

static int compare_ids(const void *a_, const void *b_)
{
    const struct id_place *a = a_, *b = b_;
    return (a->id > b->id) - (a->id < b->id);
}

uint32_t ids_find(const struct ids *ids, uint64_t id)
{
    /* Nearly all profiles have the ids 1, 2, 3 ... */
    if (id - 1 < ids->count && ids->sorted[id - 1].id == id)
        return ids->sorted[id - 1].place;
    struct id_place key = {.id = id};
    const struct id_place *found = bsearch(&key, ids->sorted, ids->count, sizeof(key), compare_ids);
    return found ? found->place : UINT32_MAX;
}

/* Room for the ids of `count` messages of one kind. */
static bool start_ids(struct model *model, struct ids *ids, size_t count)
{
    if (count >= UINT32_MAX)
        return false;
    ids->sorted = pool_take_array(model->scratch, count, sizeof(*ids->sorted));
    return ids->sorted != NULL;
}

static void add_id(struct ids *ids, uint64_t id)
{
    ids->sorted[ids->count] = (struct id_place){id, (uint32_t)ids->count};
    ids->count++;
}

static bool finish_ids(struct model *model, struct ids *ids, const char *what)
{
    bool is_sorted = true;
    for (size_t i = 1; i < ids->count && is_sorted; i++)
        is_sorted = ids->sorted[i - 1].id < ids->sorted[i].id;
    if (!is_sorted)
        qsort(ids->sorted, ids->count, sizeof(*ids->sorted), compare_ids);
    if (ids->count > 0 && ids->sorted[0].id == 0)
        return model_refuse(model, "damaged: a %s without an id", what);
    for (size_t i = 1; i < ids->count; i++) {
        if (ids->sorted[i - 1].id == ids->sorted[i].id)
            return model_refuse(model, "damaged: %s %llu is there twice", what,
                                (unsigned long long)ids->sorted[i].id);
    }
    return true;
}

static bool make_ids(struct model *model)
{
    const Perftools__Profiles__Profile *message = model->message;
    if (!start_ids(model, &model->mappings, message->n_mapping) ||
        !start_ids(model, &model->functions, message->n_function) ||
        !start_ids(model, &model->locations, message->n_location))
        return false;
    for (size_t i = 0; i < message->n_mapping; i++)
        add_id(&model->mappings, message->mapping[i]->id);
    for (size_t i = 0; i < message->n_function; i++)
        add_id(&model->functions, message->function[i]->id);
    for (size_t i = 0; i < message->n_location; i++)
        add_id(&model->locations, message->location[i]->id);
    return finish_ids(model, &model->mappings, "mapping") &&
           finish_ids(model, &model->functions, "function") &&
           finish_ids(model, &model->locations, "location");
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* A stand-in for a name: "[libc.so.6+0x1234]", by the place in the file, which is the same in every
 * run. heaptap itself writes such names. */
static void name_address(char *name, size_t size, const Location *location, const Mapping *mapping,
                         const char *file)
{
    uint64_t address = location->address;
    if (mapping)
        address = address - mapping->memory_start + mapping->file_offset;
    snprintf(name, size, "[%s%s0x%llx]", file, *file ? "+" : "", (unsigned long long)address);
}

/* One frame; `line` is NULL where the profile has none. */
static uint32_t make_frame(struct model *model, const Location *location, const Mapping *mapping,
                           const Line *line)
{
    const char *mapping_file = mapping ? base_name(model_string(model, mapping->filename)) : "";
    const char *name = "", *file = "";
    if (line) {
        uint32_t i = ids_find(&model->functions, line->function_id);
        if (i == UINT32_MAX) {
            model_refuse(model, "damaged: location %llu is in function %llu, which is not there",
                         (unsigned long long)location->id, (unsigned long long)line->function_id);
            return FRAMES_NONE;
        }
        const Function *function = model->message->function[i];
        name = model_string(model, function->name);
        if (!*name)
            name = model_string(model, function->system_name);
        file = model_string(model, function->filename);
    }
    char stand_in[512];
    if (!*name) {
        name_address(stand_in, sizeof(stand_in), location, mapping, mapping_file);
        name = stand_in;
    }
    return frames_find(model->frames, name, file, line ? line->line : 0, mapping_file);
}

/* Lines from the one that is dropped on towards the leaf go; the outermost one takes the whole
 * location along. Stand-ins for names are never dropped. */
static void drop_lines(struct model *model, const struct profile_drop *drop, struct place *place)
{
    const uint32_t *frames = model->place_frames + place->first;
    for (uint32_t i = place->count; i-- > 0;) {
        if (!profile_drop_matches(drop, model->frames->all[frames[i]].function))
            continue;
        place->drops_below = true;
        place->is_dropped = i + 1 == place->count;
        if (!place->is_dropped) {
            place->first += i + 1;
            place->count -= i + 1;
        }
        return;
    }
}

static bool make_place(struct model *model, const Location *location, struct place *place)
{
    const Mapping *mapping = NULL;
    if (location->mapping_id != 0) {
        uint32_t i = ids_find(&model->mappings, location->mapping_id);
        if (i == UINT32_MAX)
            return model_refuse(
                model, "damaged: location %llu is in mapping %llu, which is not there",
                (unsigned long long)location->id, (unsigned long long)location->mapping_id);
        mapping = model->message->mapping[i];
    }
    place->count = location->n_line > 0 ? (uint32_t)location->n_line : 1;
    for (uint32_t i = 0; i < place->count; i++) {
        uint32_t frame =
            make_frame(model, location, mapping, location->n_line > 0 ? location->line[i] : NULL);
        if (frame == FRAMES_NONE)
            return false;
        model->place_frames[place->first + i] = frame;
        place->outermost = frame;
    }
    return !*model->problem;
}

bool model_make_places(struct model *model)
{
    const Perftools__Profiles__Profile *message = model->message;
    if (!make_ids(model))
        return false;
    size_t frame_count = 0;
    for (size_t i = 0; i < message->n_location; i++)
        frame_count += message->location[i]->n_line > 0 ? message->location[i]->n_line : 1;
    model->places = pool_take_array(model->scratch, message->n_location, sizeof(*model->places));
    model->place_frames =
        pool_take_array(model->scratch, frame_count, sizeof(*model->place_frames));
    if (frame_count >= UINT32_MAX || !model->places || !model->place_frames)
        return false;
    const char *drop_frames = model_string(model, message->drop_frames);
    const char *keep_frames = model_string(model, message->keep_frames);
    struct profile_drop drop;
    profile_drop_start(&drop, drop_frames, keep_frames);
    uint32_t first = 0;
    bool done = !*model->problem;
    for (size_t i = 0; i < message->n_location && done; i++) {
        struct place *place = &model->places[i];
        place->first = first;
        done = make_place(model, message->location[i], place);
        for (uint32_t j = 0; j < place->count && done; j++)
            model->profile->has_lines |=
                *model->frames->all[model->place_frames[first + j]].file != 0;
        first += place->count;
        if (done)
            drop_lines(model, &drop, place);
    }
    profile_drop_end(&drop);
    return done;
}
