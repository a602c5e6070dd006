/* shadow.h: the live blocks of an interval of 1, found without a search.
 *
 * Where every allocation is recorded, looking blocks up is most of the work: 60 ns a pair in the
 * table of live.c, and 10 here. Every 16 bytes of the heap have an entry of 8 at a place of their
 * own: no hash, no lock, no probing, since between its allocation and its free a block is nobody's
 * but the program's. The price is memory, up to half of what the heap has touched; so only small
 * blocks are here, and only in a quarter of the tables' memory. All others are in live.c's table, as
 * in sampling. */
#ifndef HT_SAMPLE_SHADOW_H
#define HT_SAMPLE_SHADOW_H

#include "sample/hot.h"
#include "sample/stacks.h"

/* Blocks of this size and more are few: each would cost a page. */
#define HT_SHADOW_SIZE_MAX 1024u

/* The address: 19 bits for the region of 256 MiB, 15 for the 8 KiB in it, 9 for the entry, and 4
 * that are 0. An entry is 0, or the site above and the size + 1 below; atomic. */
#define HT_SHADOW_GRANULE 4
#define HT_SHADOW_LEAF    13
#define HT_SHADOW_REGION  28
#define HT_SHADOW_REGIONS (UINT32_C(1) << (47 - HT_SHADOW_REGION))

struct ht_shadow_leaf {
    uint64_t entries[1 << (HT_SHADOW_LEAF - HT_SHADOW_GRANULE)];
};

struct ht_shadow_region {
    struct ht_shadow_leaf *leaves[1 << (HT_SHADOW_REGION - HT_SHADOW_LEAF)];
    struct ht_shadow_region *older; /* in no order */
};

/* 4 MiB, of which a page or two are touched. */
extern HT_HIDDEN struct ht_shadow_region *ht_shadow_regions[HT_SHADOW_REGIONS];

/* The entry of an address, or NULL when there is none yet, or never. */
static inline uint64_t *ht_shadow_entry(uintptr_t address)
{
    if (HT_UNLIKELY(address % (1 << HT_SHADOW_GRANULE) != 0 ||
                    address >> HT_SHADOW_REGION >= HT_SHADOW_REGIONS))
        return NULL;
    struct ht_shadow_region *region =
        __atomic_load_n(&ht_shadow_regions[address >> HT_SHADOW_REGION], __ATOMIC_ACQUIRE);
    if (HT_UNLIKELY(region == NULL))
        return NULL;
    struct ht_shadow_leaf *leaf = __atomic_load_n(
        &region->leaves[address >> HT_SHADOW_LEAF & (HT_ARRAY_SIZE(region->leaves) - 1)],
        __ATOMIC_ACQUIRE);
    if (HT_UNLIKELY(leaf == NULL))
        return NULL;
    return &leaf->entries[address >> HT_SHADOW_GRANULE & (HT_ARRAY_SIZE(leaf->entries) - 1)];
}

/* The same, made if memory is left. */
HT_COLD uint64_t *ht_shadow_make_entry(uintptr_t address);

struct ht_shadow_block {
    ht_site site;
    uint32_t size;
};

static inline struct ht_shadow_block ht_shadow_block(uint64_t entry)
{
    return (struct ht_shadow_block){.site = (ht_site)(entry >> 32), .size = (uint32_t)entry - 1};
}

/* Remembers a block, before the program gets it. Its page's byte in hot.h says "look" from then on,
 * for ever. False when it is no small block, when no memory is left, or when there is one already,
 * whose free was not seen. Context: sample, signal handlers too. */
static inline bool ht_shadow_insert(uintptr_t address, size_t size, ht_site site)
{
    if (HT_UNLIKELY(size >= HT_SHADOW_SIZE_MAX))
        return false;
    uint64_t *entry = ht_shadow_entry(address);
    if (HT_UNLIKELY(entry == NULL) && (entry = ht_shadow_make_entry(address)) == NULL)
        return false;
    if (HT_UNLIKELY(__atomic_load_n(entry, __ATOMIC_RELAXED) != 0))
        return false;
    uint8_t *page = ht_hot_page((void *)address);
    if (HT_UNLIKELY(__atomic_load_n(page, __ATOMIC_RELAXED) != UINT8_MAX))
        __atomic_store_n(page, UINT8_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(entry, (uint64_t)site << 32 | (size + 1), __ATOMIC_RELAXED);
    return true;
}

/* Forgets it, before it is given back. False when it is not here. Context: sample, signal handlers
 * too. */
static inline bool ht_shadow_remove(uintptr_t address, struct ht_shadow_block *ret_block)
{
    uint64_t *entry = ht_shadow_entry(address);
    if (entry == NULL)
        return false;
    uint64_t was = __atomic_load_n(entry, __ATOMIC_RELAXED);
    if (was == 0)
        return false;
    __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
    *ret_block = ht_shadow_block(was);
    return true;
}

/* Blocks that are here. Looks at all entries: a millisecond for 8 MiB of them. */
uint64_t ht_shadow_count(void);

#endif
