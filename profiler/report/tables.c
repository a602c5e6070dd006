#include "report/snapshot.h"

#include "report/tables.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sample/frames.h"
#include "sys/os.h"

#include "sys/poison.h"

/* The bounds of HT_IN_STACKS, made by the linker. */
extern HT_HIDDEN const char __start_heaptap_frames[], __stop_heaptap_frames[];

struct walk {
    ht_sample_visit *visit;
    void *context;
    uintptr_t pcs[HT_DEPTH_MAX + 1];
};

static bool is_ours(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_heaptap_frames && pc < (uintptr_t)__stop_heaptap_frames;
}

/* The stack without frames of ours; the very same array when there are none. */
static const uintptr_t *without_ours(struct walk *walk, const struct ht_site_view *site,
                                     unsigned *ret_depth)
{
    unsigned kept = 0;
    *ret_depth = site->depth;
    for (unsigned i = 0; i < site->depth; i++) {
        if (!is_ours(site->pcs[i]))
            walk->pcs[kept++] = site->pcs[i];
    }
    if (kept == site->depth || kept == 0)
        return site->pcs;
    *ret_depth = kept;
    return walk->pcs;
}

static int64_t rounded(uint64_t fixed, unsigned shift)
{
    return (int64_t)((fixed + (UINT64_C(1) << (shift - 1))) >> shift);
}

static uint64_t in_use(uint64_t came, uint64_t went)
{
    return came > went ? came - went : 0;
}

static int show(void *context, const struct ht_site_view *site)
{
    struct walk *walk = context;
    uint64_t objects = in_use(site->alloc_objects, site->free_objects);
    uint64_t bytes = in_use(site->alloc_bytes, site->free_bytes);
    /* The two were not read in one instant: never show bytes without objects. */
    if (objects == 0 || bytes == 0)
        objects = bytes = 0;
    struct ht_sample sample = {
        .alloc_objects = rounded(site->alloc_objects, HT_OBJECTS_SHIFT),
        .alloc_bytes = rounded(site->alloc_bytes, HT_BYTES_SHIFT),
        .inuse_objects = rounded(objects, HT_OBJECTS_SHIFT),
        .inuse_bytes = rounded(bytes, HT_BYTES_SHIFT),
    };
    if (sample.alloc_objects == 0 || sample.alloc_bytes == 0)
        return 0;
    sample.pcs = without_ours(walk, site, &sample.depth);
    sample.block_bytes = (sample.alloc_bytes + sample.alloc_objects / 2) / sample.alloc_objects;
    return walk->visit(walk->context, &sample);
}

static int each_sample(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context)
{
    (void)snapshot;
    struct walk walk = {.visit = visit, .context = context};
    return ht_stacks_each(show, &walk);
}

void ht_snapshot_of_tables(struct ht_snapshot *ret_snapshot)
{
    *ret_snapshot = (struct ht_snapshot){
        .time_nanos = ht_os_wall_nanos(),
        .interval_bytes = ht_max(ht_sampler_interval(), 1),
        .each_sample = each_sample,
    };
}
