#include "sample/gap.h"

#include "sample/budget.h"

#include "sys/poison.h"

void ht_gap_draw(struct ht_thread *thread)
{
    ht_interval_id id = ht_sampler_current();
    uint64_t gap = ht_sampler_draw(id, &thread->random);
    bool is_cut = gap >= HT_BUDGET_GAP_MAX && id != 0 && ht_budget_is_auto();
    thread->gap_interval = is_cut ? id | HT_HOT_GAP_CUT : id;
    thread->bytes_until_sample = is_cut ? HT_BUDGET_GAP_MAX : gap;
}

bool ht_gap_start(struct ht_thread *thread, size_t size)
{
    thread->random = ht_sampler_seed();
    ht_gap_draw(thread);
    bool reaches = thread->bytes_until_sample < size;
    thread->bytes_until_sample -= size;
    return reaches;
}

bool ht_gap_ends_beyond_cut(struct ht_thread *thread, ht_interval_id id)
{
    uint64_t beyond = 0 - thread->bytes_until_sample;
    ht_budget_look();
    return ht_sampler_draw(id, &thread->random) < beyond;
}
