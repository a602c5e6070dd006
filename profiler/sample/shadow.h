/* shadow.h: the live blocks of an interval of 1, found without a search.
 *
 * Where every allocation is recorded, looking blocks up is much of the work: with most of them in
 * the table of live.c, a pair took 100 ns more in a heap that no cache holds. Here every 32 bytes
 * of the heap have an entry of 8 at a place of their own, as near to each other as the blocks are:
 * no hash, no lock, no probing, since between its allocation and its free a block is nobody's but
 * the program's. The price is memory, up to a quarter of what the heap has touched; so large blocks
 * are not here, and all of it is at most a quarter of the tables' memory. The others are in
 * live.c's table, as in sampling. */
#ifndef HT_SAMPLE_SHADOW_H
#define HT_SAMPLE_SHADOW_H

#include "sample/hot.h"
#include "sample/stacks.h"

/* A block of this size and more would have a page of entries for itself. */
#define HT_SHADOW_SIZE_MAX 4096u

/* The address: 10 bits for the area of 128 GiB, 9 for the region of 256 MiB in it, 14 for the 16
 * KiB in it, 9 for the entry, 5 within its 32 bytes. An entry is 0, or, from above: 32 bits of
 * site, those 5 bits, and the size + 1 in 16; atomic. */
#define HT_SHADOW_GRANULE 5
#define HT_SHADOW_LEAF    14
#define HT_SHADOW_REGION  28
#define HT_SHADOW_AREA    37
#define HT_SHADOW_AREAS   (1u << (47 - HT_SHADOW_AREA))

struct ht_shadow_leaf {
    uint64_t entries[1 << (HT_SHADOW_LEAF - HT_SHADOW_GRANULE)];
};

struct ht_shadow_region {
    struct ht_shadow_leaf *leaves[1 << (HT_SHADOW_REGION - HT_SHADOW_LEAF)];
    struct ht_shadow_region *older; /* in no order; some are empty and stand nowhere else */
    uintptr_t number;               /* of its addresses, which are shifted by HT_SHADOW_REGION */
};

struct ht_shadow_area {
    struct ht_shadow_region *regions[1 << (HT_SHADOW_AREA - HT_SHADOW_REGION)];
};

extern HT_HIDDEN struct ht_shadow_area *ht_shadow_areas[HT_SHADOW_AREAS];

#define HT_SHADOW_PART(table, address, shift)                                                      \
    __atomic_load_n(&(table)[(address) >> (shift) & (HT_ARRAY_SIZE(table) - 1)], __ATOMIC_ACQUIRE)

/* The entry of an address, or NULL when there is none yet, or never. */
static inline uint64_t *ht_shadow_entry(uintptr_t address)
{
    if (HT_UNLIKELY(address >> HT_SHADOW_AREA >= HT_SHADOW_AREAS))
        return NULL;
    struct ht_shadow_area *area = HT_SHADOW_PART(ht_shadow_areas, address, HT_SHADOW_AREA);
    if (HT_UNLIKELY(area == NULL))
        return NULL;
    struct ht_shadow_region *region = HT_SHADOW_PART(area->regions, address, HT_SHADOW_REGION);
    if (HT_UNLIKELY(region == NULL))
        return NULL;
    struct ht_shadow_leaf *leaf = HT_SHADOW_PART(region->leaves, address, HT_SHADOW_LEAF);
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

static inline struct ht_shadow_block ht_shadow_block_of(uint64_t value)
{
    return (struct ht_shadow_block){.site = (ht_site)(value >> 32),
                                    .size = (uint32_t)(value & 0xffff) - 1};
}

/* Within its 32 bytes. */
static inline uintptr_t ht_shadow_offset_of(uint64_t value)
{
    return (uintptr_t)value >> 16 & ((1 << HT_SHADOW_GRANULE) - 1);
}

static inline uint32_t ht_shadow_offset(uintptr_t address)
{
    return (uint32_t)(address & ((1 << HT_SHADOW_GRANULE) - 1)) << 16;
}

/* It is time to have it at hand: the block is known, and the walk of its stack takes long
 * enough. */
static inline void ht_shadow_expect(uintptr_t address)
{
    const uint64_t *entry = ht_shadow_entry(address);
    if (HT_LIKELY(entry != NULL))
        __builtin_prefetch(entry, 1);
}

/* A block of live.h more in its page, or one less. */
void ht_shadow_count_in_page(uintptr_t address, int by);
/* Sets the page's bit for exact blocks; afterwards it is not being cleared. */
HT_COLD void ht_shadow_mark_page(uint8_t *page);
/* Clears it, if no block of that page is here any more, and no other page is being cleared. Context:
 * sample, when no interval of 1 is in force; then it costs frees of strangers in that page a look,
 * for nothing. */
void ht_shadow_clear_page(uintptr_t address);
/* In the child of a fork: who was clearing is no more. */
void ht_shadow_fork_child(void);

/* Remembers a block, before the program gets it. Its page's byte in hot.h says "look" from then on,
 * until ht_shadow_clear_page() finds it empty. False when it is a large block, when no memory is left, or when its entry is taken: by
 * a neighbour, or by a block whose free was not seen. Context: sample. */
static inline bool ht_shadow_insert(uintptr_t address, size_t size, ht_site site)
{
    if (HT_UNLIKELY(size >= HT_SHADOW_SIZE_MAX))
        return false;
    uint64_t *entry = ht_shadow_entry(address);
    if (HT_UNLIKELY(entry == NULL) && (entry = ht_shadow_make_entry(address)) == NULL)
        return false;
    uint64_t value = (uint64_t)site << 32 | ht_shadow_offset(address) | (size + 1);
    /* Two blocks may begin in the same 32 bytes: not with glibc, but where allocators have blocks
     * of 8 and 16 bytes. Whoever comes second finds the entry taken. */
    uint64_t none = 0;
    if (HT_UNLIKELY(!__atomic_compare_exchange_n(entry, &none, value, false, __ATOMIC_SEQ_CST,
                                                 __ATOMIC_RELAXED)))
        return false;
    /* After the entry: see ht_shadow_clear_page(). */
    uint8_t *page = ht_hot_page((void *)address);
    uint8_t state = __atomic_load_n(page, __ATOMIC_SEQ_CST);
    if (HT_UNLIKELY((state & (HT_PAGE_EXACT | HT_PAGE_CLEARING)) != HT_PAGE_EXACT))
        ht_shadow_mark_page(page);
    return true;
}

/* Others than the program may take blocks out (thin.h): set before the first of them does, for ever.
 * Otherwise a store will do, which spares each free 5 ns. */
extern HT_HIDDEN bool ht_shadow_is_thinned;

/* Forgets it, before it is given back. False when it is not here. Context: sample, signal handlers
 * too. */
static inline bool ht_shadow_remove(uintptr_t address, struct ht_shadow_block *ret_block)
{
    uint64_t *entry = ht_shadow_entry(address);
    if (entry == NULL)
        return false;
    uint64_t was = __atomic_load_n(entry, __ATOMIC_RELAXED);
    if (was == 0 || ((uint32_t)was & ~UINT32_C(0xffff)) != ht_shadow_offset(address))
        return false;
    if (HT_LIKELY(!__atomic_load_n(&ht_shadow_is_thinned, __ATOMIC_RELAXED)))
        __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
    else if (!__atomic_compare_exchange_n(entry, &was, 0, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED))
        return false; /* it is in the table of live.h now, or forgotten */
    *ret_block = ht_shadow_block_of(was);
    return true;
}

/* Blocks that are here. Looks at all entries: a millisecond for 8 MiB of them. */
uint64_t ht_shadow_count(void);

#endif
