#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define ROOM_FIRST 1024u /* a power of two */
#define NO_STACK   "[no stack]"

static size_t key_count(const struct rows *rows)
{
    return rows->by == ROWS_BY_FUNCTION ? rows->frames->name_count : rows->frames->count;
}

static struct row *new_row(struct rows *rows)
{
    if (rows->count == rows->room) {
        size_t room = rows->room ? rows->room * 2 : ROOM_FIRST;
        struct row *moved = room < UINT32_MAX ? realloc(rows->all, room * sizeof(*moved)) : NULL;
        if (!moved)
            return NULL;
        rows->all = moved;
        rows->room = room;
    }
    struct row *row = &rows->all[rows->count++];
    *row = (struct row){0};
    return row;
}

static struct row *row_of_key(struct rows *rows, uint32_t key)
{
    if (rows->slots[key])
        return &rows->all[rows->slots[key] - 1];
    struct row *row = new_row(rows);
    if (row) {
        row->key = key;
        rows->slots[key] = (uint32_t)rows->count;
    }
    return row;
}

static uint64_t hash_stack(const uint32_t *stack, uint32_t count)
{
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++) {
        hash = (hash ^ stack[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

static bool grow_stack_slots(struct rows *rows)
{
    size_t count = rows->slot_count ? rows->slot_count * 2 : ROOM_FIRST;
    uint32_t *slots = calloc(count, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < rows->count; i++) {
        size_t at = hash_stack(rows->all[i].stack, rows->all[i].stack_count) & (count - 1);
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(rows->slots);
    rows->slots = slots;
    rows->slot_count = count;
    return true;
}

static struct row *row_of_stack(struct rows *rows, const uint32_t *stack, uint32_t count)
{
    if (rows->count >= rows->slot_count / 2 && !grow_stack_slots(rows))
        return NULL;
    size_t mask = rows->slot_count - 1;
    size_t at = hash_stack(stack, count) & mask;
    for (; rows->slots[at]; at = (at + 1) & mask) {
        struct row *row = &rows->all[rows->slots[at] - 1];
        if (row->stack_count == count && memcmp(row->stack, stack, count * sizeof(*stack)) == 0)
            return row;
    }
    struct row *row = new_row(rows);
    if (row) {
        row->stack = stack;
        row->stack_count = count;
        rows->slots[at] = (uint32_t)rows->count;
    }
    return row;
}

static uint32_t key_of(const struct rows *rows, uint32_t frame)
{
    return rows->by == ROWS_BY_FUNCTION ? rows->frames->all[frame].function_id : frame;
}

/* Each key of the stack once, its leaf also as flat. */
static bool add_by_key(struct rows *rows, const struct profile_sample *sample,
                       const uint32_t *stack, uint32_t count, unsigned which, uint32_t number)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = key_of(rows, stack[i]);
        if (rows->seen[key] == number)
            continue;
        rows->seen[key] = number;
        struct row *row = row_of_key(rows, key);
        if (!row)
            return false;
        if (i == 0)
            sums_add(&row->flat[which], sample->values, sample->variances);
        sums_add(&row->cum[which], sample->values, sample->variances);
    }
    return true;
}

static bool add_sample(struct rows *rows, const struct profile_sample *sample, unsigned which,
                       uint32_t number)
{
    const uint32_t *stack = sample->frames;
    uint32_t count = sample->frame_count;
    if (count == 0) {
        stack = &rows->no_stack;
        count = 1;
    }
    sums_add(&rows->total[which], sample->values, sample->variances);
    if (rows->by != ROWS_BY_STACK)
        return add_by_key(rows, sample, stack, count, which, number);
    struct row *row = row_of_stack(rows, stack, count);
    if (!row)
        return false;
    sums_add(&row->flat[which], sample->values, sample->variances);
    row->cum[which] = row->flat[which];
    return true;
}

/* The tables by key, as many as there are frames once all profiles were read. */
static bool start(struct rows *rows)
{
    if (rows->slots)
        return true;
    rows->no_stack = frames_find(rows->frames, NO_STACK, "", 0, "");
    if (rows->no_stack == FRAMES_NONE)
        return false;
    if (rows->by == ROWS_BY_STACK)
        return grow_stack_slots(rows);
    rows->slot_count = key_count(rows);
    rows->slots = calloc(rows->slot_count, sizeof(*rows->slots));
    rows->seen = calloc(rows->slot_count, sizeof(*rows->seen));
    return rows->slots && rows->seen;
}

bool rows_add(struct rows *rows, const struct profile *profile, unsigned which)
{
    bool done = start(rows) && profile->sample_count < UINT32_MAX;
    if (done && rows->seen)
        memset(rows->seen, 0, rows->slot_count * sizeof(*rows->seen));
    for (size_t i = 0; i < profile->sample_count && done; i++)
        done = add_sample(rows, &profile->samples[i], which, (uint32_t)i + 1);
    if (!done)
        say("%s: its rows do not fit into memory", profile->name);
    return done;
}

const struct frame *rows_frame(const struct rows *rows, const struct row *row)
{
    return &rows->frames->all[rows->by == ROWS_BY_STACK ? row->stack[0] : row->key];
}

const char *rows_name(const struct rows *rows, const struct row *row)
{
    return rows->by == ROWS_BY_FUNCTION ? frames_name(rows->frames, row->key)
                                        : rows_frame(rows, row)->function;
}

void rows_free(struct rows *rows)
{
    free(rows->all);
    free(rows->slots);
    free(rows->seen);
    *rows = (struct rows){0};
}
