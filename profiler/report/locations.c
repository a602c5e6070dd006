#include "report/locations.h"

#include <errno.h>
#include <string.h>

#include "sys/arena.h"

#include "sys/poison.h"

#define SLOTS_FIRST 1024u
#define CHUNK_SIZE  (HT_LOCATIONS_CHUNK * sizeof(uintptr_t))

/* Where the probe for a pc starts: the high bits of a product with 2^64 divided by the golden
 * ratio, as a part of all slots. */
static size_t first_slot(uintptr_t pc, size_t slot_count)
{
    return ((pc * UINT64_C(0x9e3779b97f4a7c15)) >> 32) * slot_count >> 32;
}

static size_t next_slot(size_t i, size_t slot_count)
{
    return i + 1 < slot_count ? i + 1 : 0;
}

static size_t free_slot(const uint32_t *slots, size_t slot_count, uintptr_t pc)
{
    size_t i = first_slot(pc, slot_count);
    while (slots[i] != 0)
        i = next_slot(i, slot_count);
    return i;
}

static void drop_index(struct ht_locations *locations)
{
    ht_arena_unmap(locations->slots, locations->slot_count * sizeof(*locations->slots));
    locations->slots = NULL;
    locations->slot_count = 0;
}

/* By a half, and the old index goes first: the pcs are elsewhere, and it would count. */
static bool grow(struct ht_locations *locations)
{
    size_t slot_count = ht_max(locations->slot_count / 2 * 3, SLOTS_FIRST);
    drop_index(locations);
    uint32_t *slots = ht_arena_map(slot_count * sizeof(*slots));
    if (slots == NULL)
        return false;
    for (uint32_t id = 1; id <= locations->count; id++)
        slots[free_slot(slots, slot_count, ht_locations_pc(locations, id))] = id;
    locations->slots = slots;
    locations->slot_count = slot_count;
    return true;
}

/* Room for one location more. */
static bool reserve(struct ht_locations *locations)
{
    size_t chunk = locations->count / HT_LOCATIONS_CHUNK;
    if (chunk >= HT_LOCATIONS_CHUNKS)
        return false;
    if (locations->chunks[chunk] == NULL)
        locations->chunks[chunk] = ht_arena_map(CHUNK_SIZE);
    if (locations->chunks[chunk] == NULL)
        return false;
    return locations->count < locations->slot_count / 4 * 3 || grow(locations);
}

static HT_COLD uint32_t add_new(struct ht_locations *locations, uintptr_t pc)
{
    if (!reserve(locations))
        return 0;
    uint32_t at = locations->count++;
    locations->slots[free_slot(locations->slots, locations->slot_count, pc)] = at + 1;
    locations->chunks[at / HT_LOCATIONS_CHUNK][at % HT_LOCATIONS_CHUNK] = pc;
    return at + 1;
}

uint32_t ht_locations_add(struct ht_locations *locations, uintptr_t pc)
{
    if (HT_UNLIKELY(locations->slot_count == 0))
        return add_new(locations, pc);
    size_t i = first_slot(pc, locations->slot_count);
    for (; locations->slots[i] != 0; i = next_slot(i, locations->slot_count))
        if (ht_locations_pc(locations, locations->slots[i]) == pc)
            return locations->slots[i];
    return add_new(locations, pc);
}

/* Merges the sorted runs [low, middle) and [middle, high) of `from` into `to`. */
static void merge(const struct ht_locations *locations, const uint32_t *from, uint32_t *to,
                  size_t low, size_t middle, size_t high)
{
    size_t left = low, right = middle;
    for (size_t i = low; i < high; i++) {
        bool take_left =
            left < middle && (right >= high || ht_locations_pc(locations, from[left]) <=
                                                   ht_locations_pc(locations, from[right]));
        to[i] = from[take_left ? left++ : right++];
    }
}

/* A merge sort, because qsort() allocates. */
int ht_locations_sort(struct ht_locations *locations)
{
    drop_index(locations);
    size_t count = locations->count, size = (count + 1) * sizeof(uint32_t);
    uint32_t *from = ht_arena_map(size), *to = ht_arena_map(size);
    if (from == NULL || to == NULL) {
        ht_arena_unmap(from, size);
        ht_arena_unmap(to, size);
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++)
        from[i] = (uint32_t)i + 1;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t low = 0; low < count; low += 2 * run)
            merge(locations, from, to, low, ht_min(low + run, count), ht_min(low + 2 * run, count));
        uint32_t *merged = to;
        to = from;
        from = merged;
    }
    memset(to, 0, size);
    locations->by_pc = from;
    locations->functions = to;
    return 0;
}

void ht_locations_free(struct ht_locations *locations)
{
    drop_index(locations);
    ht_arena_unmap(locations->by_pc, ((size_t)locations->count + 1) * sizeof(uint32_t));
    ht_arena_unmap(locations->functions, ((size_t)locations->count + 1) * sizeof(uint32_t));
    for (size_t i = 0; i < HT_LOCATIONS_CHUNKS; i++)
        ht_arena_unmap(locations->chunks[i], CHUNK_SIZE);
    memset(locations, 0, sizeof(*locations));
}
