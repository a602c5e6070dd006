#include "frames.h"

#include <stdlib.h>
#include <string.h>

#define POOL_LIMIT  ((size_t)1 << 30)
#define SLOTS_FIRST 1024u /* a power of two */

struct frames frames_empty(void)
{
    return (struct frames){.pool = {.limit = POOL_LIMIT}};
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0;
    for (; *name; name++)
        hash = mix(hash, (unsigned char)*name);
    return hash;
}

static uint64_t hash_frame(uint32_t function_id, uint32_t file_id, int64_t line)
{
    return mix(mix(mix(1, function_id), file_id), (uint64_t)line);
}

/* Makes room for one more in a table that has `count` entries; false when there is no memory. */
static bool reserve(void **entries, uint32_t *room, uint32_t count, size_t size)
{
    if (count < *room)
        return true;
    if (count >= FRAMES_NONE / 2)
        return false;
    uint32_t new_room = *room ? *room * 2 : SLOTS_FIRST;
    void *moved = realloc(*entries, new_room * size);
    if (!moved)
        return false;
    *entries = moved;
    *room = new_room;
    return true;
}

/* A table of slots twice as large when half of it is used, with all that `hash` tells. */
static bool reserve_slots(const struct frames *frames, uint32_t **slots, uint32_t *slot_count,
                          uint32_t count, uint64_t (*hash)(const struct frames *, uint32_t))
{
    if (count < *slot_count / 2)
        return true;
    uint32_t new_count = *slot_count ? *slot_count * 2 : SLOTS_FIRST;
    uint32_t *new_slots = calloc(new_count, sizeof(*new_slots));
    if (!new_slots)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (uint32_t)hash(frames, i) & (new_count - 1);
        while (new_slots[at])
            at = (at + 1) & (new_count - 1);
        new_slots[at] = i + 1;
    }
    free(*slots);
    *slots = new_slots;
    *slot_count = new_count;
    return true;
}

static uint64_t hash_of_name(const struct frames *frames, uint32_t i)
{
    return hash_name(frames->names[i]);
}

static uint32_t find_name(struct frames *frames, const char *name)
{
    if (!reserve((void **)&frames->names, &frames->names_room, frames->name_count,
                 sizeof(*frames->names)) ||
        !reserve_slots(frames, &frames->name_slots, &frames->name_slot_count, frames->name_count,
                       hash_of_name))
        return FRAMES_NONE;
    uint32_t mask = frames->name_slot_count - 1;
    uint32_t at = (uint32_t)hash_name(name) & mask;
    for (; frames->name_slots[at]; at = (at + 1) & mask) {
        if (strcmp(frames->names[frames->name_slots[at] - 1], name) == 0)
            return frames->name_slots[at] - 1;
    }
    const char *copy = pool_copy_text(&frames->pool, name, strlen(name));
    if (!copy)
        return FRAMES_NONE;
    frames->names[frames->name_count] = copy;
    frames->name_slots[at] = ++frames->name_count;
    return frames->name_count - 1;
}

static uint64_t hash_of_frame(const struct frames *frames, uint32_t i)
{
    const struct frame *frame = &frames->all[i];
    return hash_frame(frame->function_id, frame->file_id, frame->line);
}

uint32_t frames_find(struct frames *frames, const char *function, const char *file, int64_t line,
                     const char *mapping)
{
    uint32_t function_id = find_name(frames, function);
    uint32_t file_id = function_id == FRAMES_NONE ? FRAMES_NONE : find_name(frames, file);
    uint32_t mapping_id = file_id == FRAMES_NONE ? FRAMES_NONE : find_name(frames, mapping);
    if (mapping_id == FRAMES_NONE ||
        !reserve((void **)&frames->all, &frames->frames_room, frames->count,
                 sizeof(*frames->all)) ||
        !reserve_slots(frames, &frames->frame_slots, &frames->frame_slot_count, frames->count,
                       hash_of_frame))
        return FRAMES_NONE;
    uint32_t mask = frames->frame_slot_count - 1;
    uint32_t at = (uint32_t)hash_frame(function_id, file_id, line) & mask;
    for (; frames->frame_slots[at]; at = (at + 1) & mask) {
        const struct frame *frame = &frames->all[frames->frame_slots[at] - 1];
        if (frame->function_id == function_id && frame->file_id == file_id && frame->line == line)
            return frames->frame_slots[at] - 1;
    }
    frames->all[frames->count] = (struct frame){
        .function = frames->names[function_id],
        .file = frames->names[file_id],
        .mapping = frames->names[mapping_id],
        .line = line,
        .function_id = function_id,
        .file_id = file_id,
    };
    frames->frame_slots[at] = ++frames->count;
    return frames->count - 1;
}

const char *frames_name(const struct frames *frames, uint32_t function_id)
{
    return frames->names[function_id];
}

void frames_free(struct frames *frames)
{
    free(frames->all);
    free(frames->names);
    free(frames->name_slots);
    free(frames->frame_slots);
    pool_free(&frames->pool);
    *frames = frames_empty();
}
