#include "sample/thin.h"

#include "sample/live.h"
#include "sample/shadow.h"
#include "sys/os.h"

#include "sys/poison.h"

/* Whatever was in use of the block before, `weight` is now. The frees that a site has counted may
 * so become fewer than none: what is in use is the difference (report/tables.c). */
static void count_instead(ht_site site, struct ht_weight exact, struct ht_weight weight)
{
    ht_stacks_count(site, &(struct ht_counts){.free_objects = exact.objects - weight.objects,
                                              .free_bytes = exact.bytes - weight.bytes});
    ht_variances_add_inuse(site, &weight);
}

static void thin(uintptr_t address, uint64_t *entry, uint64_t value, ht_interval_id interval,
                 uint64_t *random)
{
    struct ht_shadow_block small = ht_shadow_block_of(value);
    struct ht_live_block block = {.size = small.size, .site = small.site, .interval = interval};
    struct ht_weight exact = ht_sampler_weight(small.size, HT_INTERVAL_EXACT);
    struct ht_weight weight = ht_sampler_weight(small.size, interval);
    double p = (double)exact.objects / (double)weight.objects;
    if (ht_sampler_uniform(random) > p) {
        if (__atomic_compare_exchange_n(entry, &value, 0, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
            ht_stacks_count_free(small.site, exact);
    } else if (ht_live_adopt(address, &block, entry, value)) {
        count_instead(small.site, exact, weight);
    }
}

void ht_thin_page(uintptr_t address, ht_interval_id interval, uint64_t *random)
{
    uintptr_t page = ht_round_down(address, HT_PAGE);
    uint64_t *entries = ht_shadow_entry(page);
    if (entries == NULL)
        return;
    for (unsigned i = 0; i < HT_PAGE >> HT_SHADOW_GRANULE; i++) {
        uint64_t value = __atomic_load_n(&entries[i], __ATOMIC_RELAXED);
        if (value != 0)
            thin(page + ((uintptr_t)i << HT_SHADOW_GRANULE) + ht_shadow_offset_of(value),
                 &entries[i], value, interval, random);
    }
}
