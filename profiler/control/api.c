/* api.c: what heaptap.h promises. */
#include "heaptap.h"

#include <errno.h>
#include <string.h>

#include "control/copies.h"
#include "control/dump.h"
#include "control/sandbox.h"
#include "sample/budget.h"
#include "sample/live.h"
#include "sample/record.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sys/arena.h"

#include "sys/poison.h"

/* The interval to come back to after heaptap_stop(). */
static uint64_t interval_when_on;

HT_EXPORT const char *heaptap_version(void)
{
    return HT_VERSION;
}

/* A copy that is not in front does nothing. */
static int check_alone(void)
{
    return ht_copies_in_front() != NULL ? -EEXIST : 0;
}

/* This thread notices at once, others at their next sample. */
static int set_interval(uint64_t bytes)
{
    int r = check_alone();
    if (r == 0)
        r = ht_budget_set_interval(bytes);
    if (r == 0)
        ht_record_redraw();
    return r;
}

HT_EXPORT int heaptap_stop(void)
{
    uint64_t now = ht_budget_is_auto() ? HT_INTERVAL_AUTO : ht_sampler_interval();
    if (now != 0)
        __atomic_store_n(&interval_when_on, now, __ATOMIC_RELAXED);
    return set_interval(0);
}

HT_EXPORT int heaptap_start(void)
{
    if (ht_sampler_interval() != 0)
        return 0;
    uint64_t interval = __atomic_load_n(&interval_when_on, __ATOMIC_RELAXED);
    return set_interval(interval != 0 ? interval : HT_INTERVAL_DEFAULT);
}

HT_EXPORT int heaptap_set_interval(uint64_t bytes)
{
    return bytes == 0 ? heaptap_stop() : set_interval(bytes);
}

HT_EXPORT int heaptap_snapshot(const char *path)
{
    int r = check_alone();
    if (r < 0)
        return r;
    if (path != NULL && path[0] == 0)
        return -ENOENT;
    if (ht_sandbox_is_closed())
        return -EPERM;
    return path != NULL ? ht_dump_to_path(path) : ht_dump_next(NULL, 0, false);
}

HT_EXPORT int heaptap_snapshot_fd(int fd)
{
    int r = check_alone();
    return r < 0 ? r : ht_dump_to_fd(fd);
}

HT_EXPORT int heaptap_statistics_sized(struct heaptap_statistics *statistics, uint64_t size)
{
    if (statistics == NULL)
        return -EINVAL;
    struct ht_record_counts counts = ht_record_counts();
    struct heaptap_statistics now = {
        .interval_bytes = ht_sampler_interval(),
        .samples = counts.samples,
        .live_samples = ht_live_count(),
        .stacks = ht_stacks_total(),
        .profiles = ht_dump_count(),
        .memory_bytes = ht_arena_used(),
        .memory_limit_bytes = ht_arena_limit(),
    };
    for (unsigned i = 0; i < HT_DROPS; i++)
        now.dropped += counts.drops[i];
    memset(statistics, 0, size);
    memcpy(statistics, &now, ht_min(size, sizeof(now)));
    return 0;
}
