#include "report/snapshot.h"

#include "report/tables.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sys/os.h"

#include "sys/poison.h"

struct walk {
    ht_sample_visit *visit;
    void *context;
};

static int64_t rounded(uint64_t fixed, unsigned shift)
{
    return (int64_t)((fixed + (UINT64_C(1) << (shift - 1))) >> shift);
}

static uint64_t in_use(uint64_t came, uint64_t went)
{
    return came > went ? came - went : 0;
}

/* From the exact sums: the rounded ones of a block that stands for 1.3 would give a size that no
 * block of the bucket has. */
static int64_t mean_size(const struct ht_counts *counts)
{
    double bytes = (double)counts->alloc_bytes / (1 << HT_BYTES_SHIFT);
    double objects = (double)counts->alloc_objects / (1 << HT_OBJECTS_SHIFT);
    return (int64_t)(bytes / objects + 0.5);
}

static int show(void *context, const struct ht_site_view *site)
{
    struct walk *walk = context;
    const struct ht_counts *counts = &site->counts;
    uint64_t objects = in_use(counts->alloc_objects, counts->free_objects);
    uint64_t bytes = in_use(counts->alloc_bytes, counts->free_bytes);
    /* The two were not read in one instant: never show bytes without objects. */
    if (objects == 0 || bytes == 0)
        objects = bytes = 0;
    struct ht_sample sample = {
        .pcs = site->pcs,
        .depth = site->depth,
        .alloc_objects = rounded(counts->alloc_objects, HT_OBJECTS_SHIFT),
        .alloc_bytes = rounded(counts->alloc_bytes, HT_BYTES_SHIFT),
        .inuse_objects = rounded(objects, HT_OBJECTS_SHIFT),
        .inuse_bytes = rounded(bytes, HT_BYTES_SHIFT),
    };
    if (sample.alloc_objects == 0 || sample.alloc_bytes == 0)
        return 0;
    sample.block_bytes = mean_size(counts);
    const struct ht_variances *variances = &site->variances;
    sample.variances[0] = variances->alloc_objects;
    sample.variances[1] = variances->alloc_bytes;
    if (objects != 0) {
        sample.variances[2] = variances->inuse_objects;
        sample.variances[3] = variances->inuse_bytes;
    }
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
