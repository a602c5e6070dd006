#include "report/lifetimes.h"

#include "report/ages.h"
#include "report/tables.h"

#include "sys/poison.h"

struct walk {
    ht_sample_visit *visit;
    void *context;
    struct ht_ages ages;
    const struct ht_site_view *site;
};

static int64_t rounded(double value)
{
    return (int64_t)(value + 0.5);
}

static int show_ended(void *context, const struct ht_lives_view *view)
{
    struct walk *walk = context;
    struct ht_sample_life life = {
        .age = view->age,
        .end = view->same_thread ? HT_LIFE_SAME_THREAD : HT_LIFE_OTHER_THREAD,
        .freed_pc = view->frame < walk->site->depth ? view->pc : 0,
        .freed_frame = view->frame,
    };
    struct ht_sample sample = {
        .pcs = walk->site->pcs,
        .depth = walk->site->depth,
        .alloc_objects = rounded(view->objects),
        .alloc_bytes = rounded(view->bytes),
        .variances = {view->objects_variance, view->bytes_variance},
        .life = &life,
    };
    if (sample.alloc_objects == 0 || sample.alloc_bytes == 0)
        return 0; /* being written just now */
    sample.block_bytes = rounded(view->bytes / view->objects);
    return walk->visit(walk->context, &sample);
}

static int show_live(struct walk *walk, unsigned age)
{
    const struct ht_ages_sum *sum = ht_ages_find(&walk->ages, walk->site->site, age);
    if (sum == NULL)
        return 0;
    struct ht_sample_life life = {.age = age, .end = HT_LIFE_GOES_ON};
    struct ht_sample sample = {
        .pcs = walk->site->pcs,
        .depth = walk->site->depth,
        .alloc_objects = rounded((double)sum->objects),
        .alloc_bytes = rounded((double)sum->bytes),
        .inuse_objects = rounded((double)sum->objects),
        .inuse_bytes = rounded((double)sum->bytes),
        .block_bytes = rounded((double)(sum->bytes / sum->objects)),
        .variances = {(double)sum->objects_variance, (double)sum->bytes_variance,
                      (double)sum->objects_variance, (double)sum->bytes_variance},
        .life = &life,
    };
    return walk->visit(walk->context, &sample);
}

static int show_site(void *context, const struct ht_site_view *site)
{
    struct walk *walk = context;
    walk->site = site;
    int r = ht_lives_each(site->site, show_ended, walk);
    for (unsigned age = 0; age < HT_LIVES_AGES && r == 0; age++)
        r = show_live(walk, age);
    return r;
}

static int each_sample(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context)
{
    (void)snapshot;
    struct walk walk = {.visit = visit, .context = context};
    ht_ages_load(&walk.ages, true);
    int r = ht_stacks_each(show_site, &walk);
    ht_ages_free(&walk.ages);
    return r;
}

void ht_snapshot_of_lifetimes(struct ht_snapshot *ret_snapshot)
{
    ht_snapshot_of_tables(ret_snapshot);
    ret_snapshot->each_sample = each_sample;
    ret_snapshot->has_lives = true;
    /* That of the next blocks that are followed, not of those that are sampled. */
    ret_snapshot->interval_bytes = ht_max(ret_snapshot->interval_bytes, HT_LIVES_INTERVAL);
}
