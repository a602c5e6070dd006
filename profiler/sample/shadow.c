#include "sample/shadow.h"

#include "sample/hot.h"
#include "sys/arena.h"

#include "sys/poison.h"

/* The address: 19 bits for the region of 256 MiB, 15 for the 8 KiB in it, 9 for the entry, and 4
 * that are 0. An entry is 0, or the site above and the size + 1 below. */
#define GRANULE_BITS 4
#define LEAF_BITS    9
#define REGION_BITS  15
#define LEAF_SHIFT   (GRANULE_BITS + LEAF_BITS)
#define REGION_SHIFT (LEAF_SHIFT + REGION_BITS)
#define REGIONS      (UINT32_C(1) << (47 - REGION_SHIFT))

struct leaf {
    uint64_t entries[1 << LEAF_BITS];
};

struct region {
    struct leaf *leaves[1 << REGION_BITS];
    struct region *older; /* in no order */
};

static struct region *regions[REGIONS]; /* 4 MiB, of which a page or two are touched */
static struct region *newest;
static size_t bytes; /* of leaves and regions */

static uint64_t *entry_in(const struct leaf *leaf, uintptr_t address)
{
    return (uint64_t *)&leaf->entries[address >> GRANULE_BITS & ((1 << LEAF_BITS) - 1)];
}

static uint64_t *find(uintptr_t address)
{
    if (address % (1 << GRANULE_BITS) != 0 || address >> REGION_SHIFT >= REGIONS)
        return NULL;
    struct region *region = __atomic_load_n(&regions[address >> REGION_SHIFT], __ATOMIC_ACQUIRE);
    if (region == NULL)
        return NULL;
    struct leaf *leaf = __atomic_load_n(
        &region->leaves[address >> LEAF_SHIFT & ((1 << REGION_BITS) - 1)], __ATOMIC_ACQUIRE);
    return leaf == NULL ? NULL : entry_in(leaf, address);
}

/* Puts new memory where `place` is NULL. If another thread was faster, a leaf of ours is lost: 4 KiB,
 * at most once for each. */
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

static void publish(struct region *region)
{
    region->older = __atomic_load_n(&newest, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&newest, &region->older, region, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
}

HT_COLD static uint64_t *make(uintptr_t address)
{
    if (address % (1 << GRANULE_BITS) != 0 || address >> REGION_SHIFT >= REGIONS)
        return NULL;
    bool is_new;
    struct region *region =
        fill((void **)&regions[address >> REGION_SHIFT], sizeof(*region), &is_new);
    if (region == NULL)
        return NULL;
    if (is_new)
        publish(region);
    struct leaf *leaf =
        fill((void **)&region->leaves[address >> LEAF_SHIFT & ((1 << REGION_BITS) - 1)],
             sizeof(*leaf), &is_new);
    return leaf == NULL ? NULL : entry_in(leaf, address);
}

static struct ht_shadow_block block_of(uint64_t entry)
{
    return (struct ht_shadow_block){.site = (ht_site)(entry >> 32), .size = (uint32_t)entry - 1};
}

enum ht_shadow_result ht_shadow_insert(uintptr_t address, size_t size, ht_site site,
                                       struct ht_shadow_block *ret_was)
{
    if (size >= HT_SHADOW_SIZE_MAX)
        return HT_SHADOW_REFUSED;
    uint64_t *entry = find(address);
    if (HT_UNLIKELY(entry == NULL) && (entry = make(address)) == NULL)
        return HT_SHADOW_REFUSED;
    uint8_t *page = ht_hot_page((void *)address);
    if (HT_UNLIKELY(__atomic_load_n(page, __ATOMIC_RELAXED) != UINT8_MAX))
        __atomic_store_n(page, UINT8_MAX, __ATOMIC_RELAXED);
    uint64_t was = __atomic_load_n(entry, __ATOMIC_RELAXED);
    __atomic_store_n(entry, (uint64_t)site << 32 | (size + 1), __ATOMIC_RELAXED);
    if (HT_LIKELY(was == 0))
        return HT_SHADOW_INSERTED;
    *ret_was = block_of(was);
    return HT_SHADOW_REPLACED;
}

bool ht_shadow_remove(uintptr_t address, struct ht_shadow_block *ret_block)
{
    uint64_t *entry = find(address);
    if (entry == NULL)
        return false;
    uint64_t was = __atomic_load_n(entry, __ATOMIC_RELAXED);
    if (was == 0)
        return false;
    __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
    *ret_block = block_of(was);
    return true;
}

static uint64_t count_in(const struct leaf *leaf)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < 1 << LEAF_BITS; i++)
        count += __atomic_load_n(&leaf->entries[i], __ATOMIC_RELAXED) != 0;
    return count;
}

uint64_t ht_shadow_count(void)
{
    uint64_t count = 0;
    const struct region *region = __atomic_load_n(&newest, __ATOMIC_ACQUIRE);
    for (; region != NULL; region = region->older) {
        for (unsigned i = 0; i < 1 << REGION_BITS; i++) {
            const struct leaf *leaf = __atomic_load_n(&region->leaves[i], __ATOMIC_ACQUIRE);
            count += leaf != NULL ? count_in(leaf) : 0;
        }
    }
    return count;
}
