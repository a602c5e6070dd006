#include "hooks/early.h"

#include "sample/hot.h"
#include "sys/os.h"

#define REGION_BYTES ((size_t)256 * 1024)
#define REGIONS      64u

/* Regions are added and never go; `used` grows. Nothing is freed: there is little, and only at
 * start. */
static struct region {
    uintptr_t start, end;
    uintptr_t used;
} regions[REGIONS];
static unsigned region_count;
uintptr_t ht_early_low, ht_early_high;

struct header {
    size_t size;
};

bool ht_early_finds(const void *block)
{
    unsigned count = __atomic_load_n(&region_count, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < count; i++) {
        if ((uintptr_t)block >= regions[i].start && (uintptr_t)block < regions[i].end)
            return true;
    }
    return false;
}

size_t ht_early_size(const void *block)
{
    return ((const struct header *)block)[-1].size;
}

static struct region *add_region(size_t at_least)
{
    unsigned i = region_count;
    if (i == REGIONS || at_least > SIZE_MAX / 2)
        return NULL;
    size_t size = ht_round_up(ht_max(at_least, REGION_BYTES), HT_PAGE);
    void *pages = ht_os_map(size);
    if (pages == NULL)
        return NULL;
    regions[i] = (struct region){(uintptr_t)pages, (uintptr_t)pages + size, (uintptr_t)pages};
    for (uintptr_t page = regions[i].start; page < regions[i].end; page += HT_PAGE)
        __atomic_store_n(ht_hot_page((void *)page), UINT8_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(&region_count, i + 1, __ATOMIC_RELEASE);
    uintptr_t low = i == 0 ? regions[i].start : ht_min(ht_early_low, regions[i].start);
    __atomic_store_n(&ht_early_low, low, __ATOMIC_RELAXED);
    __atomic_store_n(&ht_early_high, ht_max(ht_early_high, regions[i].end), __ATOMIC_RELAXED);
    return &regions[i];
}

static uintptr_t place(const struct region *region, size_t alignment)
{
    return ht_round_up(region->used + sizeof(struct header), alignment);
}

void *ht_early_alloc(size_t size, size_t alignment)
{
    static uint32_t taken; /* a bare spin: this is before threads, or nearly so */
    if (size > SIZE_MAX / 4 || alignment > SIZE_MAX / 4)
        return NULL;
    while (__atomic_exchange_n(&taken, 1, __ATOMIC_ACQUIRE) != 0)
        ht_os_yield();
    alignment = ht_max(alignment, 16);
    struct region *region = region_count == 0 ? NULL : &regions[region_count - 1];
    if (region == NULL || place(region, alignment) + size > region->end)
        region = add_region(size + alignment + sizeof(struct header));
    void *block = NULL;
    if (region != NULL) {
        uintptr_t at = place(region, alignment);
        region->used = at + size;
        block = (void *)at;
        ((struct header *)block)[-1].size = size;
    }
    __atomic_store_n(&taken, 0, __ATOMIC_RELEASE);
    return block;
}
