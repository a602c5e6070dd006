#include "groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static void *or_end(void *block)
{
    if (!block) {
        say("there is no memory left");
        exit(EXIT_OURSELVES);
    }
    return block;
}

void *need_zeroes(size_t count, size_t size)
{
    return or_end(calloc(count + 1, size));
}

void *need_more(void *block, size_t count, size_t size)
{
    return or_end(reallocarray(block, count + 1, size));
}

bool groups_parse_by(const char *word, enum groups_by *ret_by)
{
    static const char *const words[] = {
        [BY_STACK] = "stack", [BY_FUNCTION] = "function", [BY_LINE] = "line"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret_by = (enum groups_by)i;
            return true;
        }
    }
    return false;
}

/* What samples of one group have in common of frame i. */
static uint32_t part(const struct groups *groups, const struct frames *frames, uint32_t frame)
{
    return groups->by == BY_FUNCTION ? frames->all[frame].function_id : frame;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static void grow(struct groups *groups)
{
    free(groups->slots);
    groups->slot_count = groups->slot_count ? groups->slot_count * 2 : 1024;
    groups->slots = need_zeroes(groups->slot_count, sizeof(groups->slots[0]));
    for (size_t i = 0; i < groups->count; i++) {
        size_t slot = groups->all[i].hash & (groups->slot_count - 1);
        while (groups->slots[slot])
            slot = (slot + 1) & (groups->slot_count - 1);
        groups->slots[slot] = (uint32_t)i + 1;
    }
}

static bool is_group(const struct groups *groups, const struct frames *frames,
                     const struct group *group, const uint32_t *key, uint32_t length)
{
    if (group->length != length)
        return false;
    for (uint32_t i = 0; i < length; i++) {
        if (part(groups, frames, group->key[i]) != part(groups, frames, key[i]))
            return false;
    }
    return true;
}

size_t groups_find(struct groups *groups, const struct frames *frames,
                   const struct profile_sample *sample)
{
    const uint32_t *key = sample->frames;
    uint32_t length = sample->frame_count;
    if (groups->by != BY_STACK && length > 1)
        length = 1;
    uint64_t hash = length;
    for (uint32_t i = 0; i < length; i++)
        hash = mix(hash, part(groups, frames, key[i]));

    if (groups->count * 2 >= groups->slot_count)
        grow(groups);
    size_t slot = hash & (groups->slot_count - 1);
    for (; groups->slots[slot]; slot = (slot + 1) & (groups->slot_count - 1)) {
        size_t found = groups->slots[slot] - 1;
        if (groups->all[found].hash == hash &&
            is_group(groups, frames, &groups->all[found], key, length))
            return found;
    }
    if (groups->count == groups->room) {
        groups->room = groups->room * 2 + 64;
        groups->all = need_more(groups->all, groups->room, sizeof(groups->all[0]));
    }
    uint32_t *copy = need_zeroes(length, sizeof(copy[0]));
    if (length > 0)
        memcpy(copy, key, length * sizeof(copy[0]));
    groups->all[groups->count] = (struct group){copy, length, hash};
    groups->slots[slot] = (uint32_t)++groups->count;
    return groups->count - 1;
}

void groups_free(struct groups *groups)
{
    for (size_t i = 0; i < groups->count; i++)
        free(groups->all[i].key);
    free(groups->all);
    free(groups->slots);
}

const char *group_text(const struct groups *groups, const struct frames *frames, size_t group,
                       uint32_t i)
{
    static char text[1024];
    const struct group *g = &groups->all[group];
    if (i >= g->length)
        return "[no stack]";
    const struct frame *frame = &frames->all[g->key[i]];
    if (groups->by == BY_FUNCTION || frame->line == 0)
        return frame->function;
    snprintf(text, sizeof(text), "%s %s:%lld", frame->function, frame->file,
             (long long)frame->line);
    return text;
}
