#include "report/snapshot.h"

#include "report/tables.h"
#include "report/ages.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sys/os.h"

#include "sys/poison.h"

struct walk {
    ht_sample_visit *visit;
    void *context;
    struct ht_ages ages;
};

/* Where rows are rounded: each at a point of its own, up if its fraction reaches beyond, so that it
 * goes up as often as the fraction says, and a value is right on average. To the nearest would show
 * twelve blocks that count 1.02 each as 12, and eleven of them as 11. A row's point stays the same,
 * so what grows never shows less than before, and a whole number stays what it is. The points of
 * many rows are spread evenly (Weyl): their roundings cancel out. */
static uint64_t first_point;

static uint64_t point_of(ht_site site)
{
    return first_point + site * UINT64_C(0x9e3779b97f4a7c15);
}

static int64_t rounded(uint64_t fixed, unsigned shift, uint64_t point)
{
    return (int64_t)((fixed + (point >> (64 - shift))) >> shift);
}

/* What rounding adds to a variance. */
static double with_rounding(double variance, uint64_t fixed, unsigned shift)
{
    double part = (double)(fixed & ((UINT64_C(1) << shift) - 1)) / (double)(UINT64_C(1) << shift);
    return variance > 0 ? variance + part * (1 - part) : 0;
}

static uint64_t in_use(uint64_t came, uint64_t went)
{
    return (int64_t)(came - went) > 0 ? came - went : 0; /* went may be below 0: thin.h */
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
    uint64_t point = point_of(site->site);
    struct ht_sample sample = {
        .pcs = site->pcs,
        .depth = site->depth,
        .alloc_objects = rounded(counts->alloc_objects, HT_OBJECTS_SHIFT, point),
        .alloc_bytes = rounded(counts->alloc_bytes, HT_BYTES_SHIFT, point),
        .inuse_objects = rounded(objects, HT_OBJECTS_SHIFT, point),
        .inuse_bytes = rounded(bytes, HT_BYTES_SHIFT, point),
    };
    if (sample.alloc_objects == 0 || sample.alloc_bytes == 0)
        return 0;
    sample.block_bytes = mean_size(counts);
    const struct ht_variances *variances = &site->variances;
    sample.variances[0] =
        with_rounding(variances->alloc_objects, counts->alloc_objects, HT_OBJECTS_SHIFT);
    sample.variances[1] =
        with_rounding(variances->alloc_bytes, counts->alloc_bytes, HT_BYTES_SHIFT);
    if (objects != 0) {
        sample.oldest_nanos = ht_ages_oldest(&walk->ages, site->site);
        sample.variances[2] = with_rounding(variances->inuse_objects, objects, HT_OBJECTS_SHIFT);
        sample.variances[3] = with_rounding(variances->inuse_bytes, bytes, HT_BYTES_SHIFT);
    }
    return walk->visit(walk->context, &sample);
}

static int each_sample(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context)
{
    (void)snapshot;
    struct walk walk = {.visit = visit, .context = context};
    if (first_point == 0)
        first_point = ht_sampler_seed();
    ht_ages_load(&walk.ages, false);
    int r = ht_stacks_each(show, &walk);
    ht_ages_free(&walk.ages);
    return r;
}

void ht_snapshot_of_tables(struct ht_snapshot *ret_snapshot)
{
    *ret_snapshot = (struct ht_snapshot){
        .time_nanos = ht_os_wall_nanos(),
        .interval_bytes = ht_max(ht_sampler_interval(), 1),
        .each_sample = each_sample,
    };
}
