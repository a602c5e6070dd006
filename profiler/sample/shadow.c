#include "sample/shadow.h"

#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

struct ht_shadow_area *ht_shadow_areas[HT_SHADOW_AREAS];

bool ht_shadow_is_thinned;

static struct ht_shadow_region *newest;
static size_t bytes; /* of leaves and regions */

/* NULL when the shadow has had its part of the memory. */
static void *take_memory(size_t size)
{
    if (__atomic_load_n(&bytes, __ATOMIC_RELAXED) + size > ht_arena_table_limit() / 4)
        return NULL;
    void *memory = ht_arena_alloc(size);
    if (memory != NULL)
        __atomic_fetch_add(&bytes, size, __ATOMIC_RELAXED);
    return memory;
}

/* Puts `made`, which may be NULL, where `place` is NULL. If another thread was faster, `made` is
 * lost: 4 KiB for a leaf, at most once for each. */
static void *put(void **place, void *made)
{
    void *found = NULL;
    if (made == NULL)
        return __atomic_load_n(place, __ATOMIC_ACQUIRE);
    return __atomic_compare_exchange_n(place, &found, made, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_ACQUIRE)
               ? made
               : found;
}

static void *fill(void **place, size_t size)
{
    void *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    return found != NULL ? found : put(place, take_memory(size));
}

/* In the list before it is in its place: who looks for blocks goes through the list, and must not
 * miss one. */
static struct ht_shadow_region *fill_region(struct ht_shadow_region **place, uintptr_t number)
{
    struct ht_shadow_region *region = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (region != NULL || (region = take_memory(sizeof(*region))) == NULL)
        return region;
    region->number = number;
    region->older = __atomic_load_n(&newest, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&newest, &region->older, region, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
        ;
    return put((void **)place, region);
}

uint64_t *ht_shadow_make_entry(uintptr_t address)
{
    if (address >> HT_SHADOW_AREA >= HT_SHADOW_AREAS)
        return NULL;
    struct ht_shadow_area *area =
        fill((void **)&ht_shadow_areas[address >> HT_SHADOW_AREA], sizeof(*area));
    if (area == NULL)
        return NULL;
    unsigned i = address >> HT_SHADOW_REGION & (HT_ARRAY_SIZE(area->regions) - 1);
    struct ht_shadow_region *region = fill_region(&area->regions[i], address >> HT_SHADOW_REGION);
    if (region == NULL)
        return NULL;
    i = address >> HT_SHADOW_LEAF & (HT_ARRAY_SIZE(region->leaves) - 1);
    if (fill((void **)&region->leaves[i], sizeof(struct ht_shadow_leaf)) == NULL)
        return NULL;
    return ht_shadow_entry(address);
}

/* ---- pages ---- */

void ht_shadow_count_in_page(uintptr_t address, int by)
{
    uint8_t *page = ht_hot_page((void *)address);
    uint8_t old = __atomic_load_n(page, __ATOMIC_RELAXED);
    while ((old & HT_PAGE_COUNT) != HT_PAGE_COUNT &&
           !__atomic_compare_exchange_n(page, &old, (uint8_t)(old + by), true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        ;
}

void ht_shadow_mark_page(uint8_t *page)
{
    uint8_t old = __atomic_load_n(page, __ATOMIC_RELAXED), marked;
    do
        marked = (uint8_t)((old | HT_PAGE_EXACT) & ~HT_PAGE_CLEARING);
    while (
        !__atomic_compare_exchange_n(page, &old, marked, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

/* Whether no block of a page is in the region. */
static bool is_page_empty(const struct ht_shadow_region *region, uintptr_t address)
{
    unsigned number = address >> HT_SHADOW_LEAF & (HT_ARRAY_SIZE(region->leaves) - 1);
    const struct ht_shadow_leaf *leaf = __atomic_load_n(&region->leaves[number], __ATOMIC_SEQ_CST);
    if (leaf == NULL)
        return true;
    uintptr_t first = ht_round_down(address, HT_PAGE) >> HT_SHADOW_GRANULE;
    const uint64_t *entries = &leaf->entries[first & (HT_ARRAY_SIZE(leaf->entries) - 1)];
    for (unsigned i = 0; i < HT_PAGE >> HT_SHADOW_GRANULE; i++) {
        if (__atomic_load_n(&entries[i], __ATOMIC_SEQ_CST) != 0)
            return false;
    }
    return true;
}

/* Whether no block is in any of the pages that share a byte of hot.h with this one, 64 GiB apart. */
static bool are_pages_empty(uintptr_t address)
{
    const uintptr_t same = ((uintptr_t)HT_PAGE_SHADOW_SIZE * HT_PAGE - 1) >> HT_SHADOW_REGION;
    const struct ht_shadow_region *region = __atomic_load_n(&newest, __ATOMIC_SEQ_CST);
    for (; region != NULL; region = region->older) {
        if (((region->number ^ address >> HT_SHADOW_REGION) & same) == 0 &&
            !is_page_empty(region, address))
            return false;
    }
    return true;
}

/* One thread clears at a time. Otherwise a second one could set the bit again that an insertion had
 * taken from the first, which would find it as it left it, and believe what it saw before. */
static uint32_t is_clearing;

/* No block is missed, in the one order that all these accesses have: who inserts one sets its entry
 * and then reads the page's byte. If that says "exact" and not "being cleared", either no clearing
 * is under way, or it begins later: then it changes the byte first and looks at the entries
 * afterwards, so it finds the block. Otherwise the byte is made "exact" before the program gets the
 * block, and a clearing that comes to its end after that finds the byte changed. */
static void clear_page(uintptr_t address)
{
    uint8_t *page = ht_hot_page((void *)address);
    uint8_t state = __atomic_load_n(page, __ATOMIC_RELAXED);
    const uint8_t both = HT_PAGE_EXACT | HT_PAGE_CLEARING;
    if ((state & both) != HT_PAGE_EXACT ||
        !__atomic_compare_exchange_n(page, &state, (uint8_t)(state | HT_PAGE_CLEARING), false,
                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return;
    uint8_t gone = are_pages_empty(address) ? both : HT_PAGE_CLEARING;
    state |= HT_PAGE_CLEARING; /* the count of live.h may change meanwhile */
    while ((state & both) == both &&
           !__atomic_compare_exchange_n(page, &state, (uint8_t)(state & ~gone), true,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
}

void ht_shadow_clear_page(uintptr_t address)
{
    if (__atomic_load_n(&is_clearing, __ATOMIC_RELAXED) != 0 ||
        __atomic_exchange_n(&is_clearing, 1, __ATOMIC_SEQ_CST) != 0)
        return;
    clear_page(address);
    __atomic_store_n(&is_clearing, 0, __ATOMIC_SEQ_CST);
}

void ht_shadow_fork_child(void)
{
    __atomic_store_n(&is_clearing, 0, __ATOMIC_RELAXED);
}

/* ---- the whole ---- */

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
