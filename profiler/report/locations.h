/* locations.h: the distinct pcs of a profile, numbered from 1 in the order in which they first
 * appear.
 *
 * Each costs 16 bytes at most: 8, and 5 to 8 of the index while samples are written; when the index
 * is dropped, 4 for the order by address and 4 for the function take its place. A million stacks
 * have some 50,000 pcs. */
#ifndef HT_REPORT_LOCATIONS_H
#define HT_REPORT_LOCATIONS_H

#include "sys/compiler.h"

#define HT_LOCATIONS_CHUNK  8192u
#define HT_LOCATIONS_CHUNKS 2048u

/* Location `id` is in chunk (id - 1) / HT_LOCATIONS_CHUNK. The index is open addressing with linear
 * probing and holds ids; count <= slot_count * 3 / 4, so that a probe ends. */
struct ht_locations {
    uint32_t count;
    uint32_t *slots; /* slot_count of them; 0 is empty */
    size_t slot_count;
    /* After ht_locations_sort(): the ids, sorted by pc, and the function of each id, from 1. */
    uint32_t *by_pc, *functions;
    uintptr_t *chunks[HT_LOCATIONS_CHUNKS];
};

/* The id of a pc, a new one if need be; 0 when there is no memory, and that is the end of the
 * adding. `locations` starts zeroed. */
uint32_t ht_locations_add(struct ht_locations *locations, uintptr_t pc);

/* Ends the adding: drops the index and fills by_pc. 0 or -ENOMEM. */
int ht_locations_sort(struct ht_locations *locations);

void ht_locations_free(struct ht_locations *locations);

static inline uintptr_t ht_locations_pc(const struct ht_locations *locations, uint32_t id)
{
    return locations->chunks[(id - 1) / HT_LOCATIONS_CHUNK][(id - 1) % HT_LOCATIONS_CHUNK];
}

/* The function's id, once functions.h has set it. After ht_locations_sort(). */
static inline uint32_t *ht_locations_function(struct ht_locations *locations, uint32_t id)
{
    return &locations->functions[id];
}

#endif
