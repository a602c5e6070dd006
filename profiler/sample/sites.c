#include "sample/sites.h"

#include "sample/frames.h"
#include "sample/scratch.h"
#include "sample/unwind.h"
#include "sample/unwind_check.h"

#include "sys/poison.h"

static ht_site site_of(struct ht_path *path, size_t size)
{
    return ht_tree_intern(path) ? ht_stacks_site(path->frames[path->depth - 1].node, size)
                                : HT_SITE_OVERFLOW;
}

static unsigned walk(const struct ht_frame *caller, uintptr_t *pcs, unsigned depth_max)
{
    unsigned depth = ht_unwind_walk(caller, pcs, depth_max);
    if (HT_UNLIKELY(depth == 0)) /* frames of ours alone */
        pcs[depth++] = HT_PC_TRUNCATED;
    return depth;
}

bool ht_sites_find(const struct ht_frame *caller, size_t size, unsigned depth_max,
                   ht_site *ret_site)
{
    struct ht_scratch *scratch = ht_scratch_take(depth_max);
    if (scratch == NULL)
        return false;
    struct ht_path *path = &scratch->path;
    path->known = 0;
    path->depth = walk(caller, scratch->pcs, depth_max);
    uint64_t hash = 0;
    for (unsigned i = 0; i < path->depth; i++) {
        uintptr_t after = scratch->pcs[path->depth - 1 - i] + 1;
        hash = ht_path_hash(hash, after);
        path->frames[i].after = after;
        path->frames[i].hash = hash;
    }
    *ret_site = site_of(path, size);
    ht_scratch_give(scratch);
    return true;
}

void ht_sites_check_memo(const struct ht_path *path, const struct ht_frame *caller,
                         unsigned depth_max)
{
    struct ht_scratch *scratch = ht_scratch_take(depth_max);
    if (scratch == NULL)
        return;
    unsigned depth = walk(caller, scratch->pcs, depth_max);
    bool same = depth == path->depth;
    for (unsigned i = 0; same && i < depth; i++)
        same = path->frames[i].after == scratch->pcs[depth - 1 - i] + 1;
    ht_scratch_give(scratch);
    ht_unwind_check_memo(same);
}
