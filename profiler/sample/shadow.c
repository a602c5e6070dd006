#include "sample/shadow.h"

#include "sys/arena.h"

#include "sys/poison.h"

struct ht_shadow_area *ht_shadow_areas[HT_SHADOW_AREAS];

static struct ht_shadow_region *newest;
static size_t bytes; /* of leaves and regions */

/* Puts new memory where `place` is NULL. If another thread was faster, a leaf of ours is lost: 4
 * KiB, at most once for each. */
static void *fill(void **place, size_t size, bool *ret_new)
{
    void *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    *ret_new = false;
    if (found != NULL)
        return found;
    if (__atomic_load_n(&bytes, __ATOMIC_RELAXED) + size > ht_arena_table_limit() / 4)
        return NULL;
    void *made = ht_arena_alloc(size);
    if (made == NULL)
        return NULL;
    __atomic_fetch_add(&bytes, size, __ATOMIC_RELAXED);
    *ret_new =
        __atomic_compare_exchange_n(place, &found, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return *ret_new ? made : found;
}

static void publish(struct ht_shadow_region *region)
{
    region->older = __atomic_load_n(&newest, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&newest, &region->older, region, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
}

uint64_t *ht_shadow_make_entry(uintptr_t address)
{
    bool is_new;
    if (address >> HT_SHADOW_AREA >= HT_SHADOW_AREAS)
        return NULL;
    struct ht_shadow_area *area =
        fill((void **)&ht_shadow_areas[address >> HT_SHADOW_AREA], sizeof(*area), &is_new);
    if (area == NULL)
        return NULL;
    unsigned i = address >> HT_SHADOW_REGION & (HT_ARRAY_SIZE(area->regions) - 1);
    struct ht_shadow_region *region = fill((void **)&area->regions[i], sizeof(*region), &is_new);
    if (region == NULL)
        return NULL;
    if (is_new)
        publish(region);
    i = address >> HT_SHADOW_LEAF & (HT_ARRAY_SIZE(region->leaves) - 1);
    if (fill((void **)&region->leaves[i], sizeof(struct ht_shadow_leaf), &is_new) == NULL)
        return NULL;
    return ht_shadow_entry(address);
}

static uint64_t count_in(const struct ht_shadow_leaf *leaf)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HT_ARRAY_SIZE(leaf->entries); i++)
        count += __atomic_load_n(&leaf->entries[i], __ATOMIC_RELAXED) != 0;
    return count;
}

uint64_t ht_shadow_count(void)
{
    uint64_t count = 0;
    const struct ht_shadow_region *region = __atomic_load_n(&newest, __ATOMIC_ACQUIRE);
    for (; region != NULL; region = region->older) {
        for (unsigned i = 0; i < HT_ARRAY_SIZE(region->leaves); i++) {
            const struct ht_shadow_leaf *leaf =
                __atomic_load_n(&region->leaves[i], __ATOMIC_ACQUIRE);
            count += leaf != NULL ? count_in(leaf) : 0;
        }
    }
    return count;
}
