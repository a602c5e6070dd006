#include "sample/record.h"

#include "sample/budget.h"
#include "sample/exact.h"
#include "sample/gap.h"
#include "sample/hot.h"
#include "sample/lives.h"
#include "sample/scratch.h"
#include "sample/shadow.h"
#include "sample/sites.h"
#include "sample/thin.h"
#include "sample/unwind_learn.h"

#include "sys/poison.h"

HT_THREAD_LOCAL struct ht_thread ht_thread;

uint32_t ht_record_attention = 1;

#define CLEAR_EVERY 32u
#define THIN_EVERY  4    /* of these */
#define EASE_EVERY  256u /* where every allocation is recorded */

static unsigned depth_max = 128;
static uint64_t samples; /* and those of all tallies */
static uint64_t drops[HT_DROPS];

static void count_drop(enum ht_drop reason)
{
    __atomic_fetch_add(&drops[reason], 1, __ATOMIC_RELAXED);
}

struct ht_record_counts ht_record_counts(void)
{
    struct ht_record_counts counts = {.samples = __atomic_load_n(&samples, __ATOMIC_RELAXED) +
                                                 ht_tally_samples()};
    for (unsigned i = 0; i < HT_DROPS; i++)
        counts.drops[i] = __atomic_load_n(&drops[i], __ATOMIC_RELAXED);
    return counts;
}

void ht_record_set_depth(unsigned depth)
{
    depth_max = depth;
}

/* ---- the guard ---- */

/* While a thread is busy its counter is parked, at every instruction: `busy` is set before the
 * counter is parked, which then undoes whatever a signal handler made of it, and cleared before the
 * counter is put back. The other way round, a handler that allocates in between would borrow, find
 * the thread busy and park the counter for good: nothing this thread allocates would be sampled any
 * more. */
struct ht_record_pause ht_record_pause(void)
{
    struct ht_thread *thread = &ht_thread;
    struct ht_record_pause pause = {thread->bytes_until_sample, thread->busy};
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* or a handler that finds it busy parks it first */
    thread->busy = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->bytes_until_sample = HT_HOT_PARKED;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return pause;
}

void ht_record_resume(struct ht_record_pause pause)
{
    struct ht_thread *thread = &ht_thread;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->busy = pause.busy;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->bytes_until_sample = pause.bytes_until_sample;
}

/* ---- the gap ---- */

__attribute__((weak)) void ht_record_attend(void)
{
    __atomic_store_n(&ht_record_attention, 0, __ATOMIC_RELAXED);
}

/* Gaps have no memory, so a new one may be drawn at any time. */
void ht_record_redraw(void)
{
    struct ht_thread *thread = &ht_thread;
    if (thread->busy == 0) { /* otherwise the next sample will do */
        thread->random = 0;
        thread->bytes_until_sample = 0;
    }
}

void ht_record_ask_attention(void)
{
    __atomic_store_n(&ht_record_attention, 1, __ATOMIC_RELAXED);
    ht_record_redraw();
}

ht_interval_id ht_record_begin(size_t size)
{
    struct ht_thread *thread = &ht_thread;
    thread->borrows++;
    if (HT_UNLIKELY(thread->busy)) {
        thread->bytes_until_sample = HT_HOT_PARKED;
        return 0;
    }
    if (HT_UNLIKELY(__atomic_load_n(&ht_record_attention, __ATOMIC_RELAXED) != 0)) {
        struct ht_record_pause pause = ht_record_pause();
        ht_record_attend();
        ht_record_resume(pause);
    }
    if (HT_UNLIKELY(thread->random == 0) && !ht_gap_start(thread, size))
        return 0;
    ht_interval_id id = (ht_interval_id)thread->gap_interval;
    if (id == HT_INTERVAL_EXACT && ht_sampler_current() == HT_INTERVAL_EXACT) {
        thread->bytes_until_sample = 0;
        return id;
    }
    if ((thread->gap_interval & HT_HOT_GAP_CUT) != 0 && !ht_gap_ends_beyond_cut(thread, id))
        id = 0;
    ht_gap_draw(thread);
    return thread->gap_interval != 0 ? id : 0; /* switched off since: not this one */
}

/* ---- every allocation ---- */

HT_COLD static struct ht_exact *take_tables(struct ht_thread *thread)
{
    if (ht_sampler_current() == 0) /* it takes system calls: see control/sandbox.h */
        return NULL;
    if (thread->exact_wait > 0) {
        thread->exact_wait--;
        return NULL;
    }
    thread->exact_wait = 1000;
    thread->exact = ht_learn_is_ready() ? ht_exact_take(depth_max) : NULL;
    if (thread->exact != NULL) {
        /* A thread that has only freed has no random numbers yet. */
        uint64_t seed = thread->random == 0 ? ht_sampler_seed() : 0;
        thread->exact->gap = ht_lives_gap(seed != 0 ? &seed : &thread->random);
        thread->exact->unfollowed = thread->exact->gap;
    }
    return thread->exact;
}

/* The thread's own tables, if it can have them. */
static inline struct ht_exact *own_tables(struct ht_thread *thread)
{
    return HT_LIKELY(thread->exact != NULL) ? thread->exact : take_tables(thread);
}

/* ---- blocks ---- */

/* `nested`: in a signal handler that may have interrupted the tally. */
static void count_free(const struct ht_live_block *block, bool nested)
{
    struct ht_exact *exact = NULL;
    if (block->interval == HT_INTERVAL_EXACT && HT_LIKELY(!nested))
        exact = own_tables(&ht_thread);
    if (exact != NULL)
        ht_tally_free(&exact->tally, block->site, block->size);
    else
        ht_stacks_count_free(block->site, ht_sampler_weight(block->size, block->interval));
}

/* The block is given back: what it was is counted, and how it lived. */
static void end(const struct ht_live_block *block, bool nested)
{
    count_free(block, nested);
    if (block->birth == 0)
        return;
    if (HT_LIKELY(!nested))
        ht_lives_end(block, depth_max);
    else
        ht_lives_lose();
}

static void insert(const void *block, const struct ht_live_block *live)
{
    if (HT_UNLIKELY(live->site == HT_SITE_OVERFLOW))
        count_drop(HT_DROP_OVERFLOW);
    if (HT_UNLIKELY(!ht_live_insert((uintptr_t)block, live))) {
        count_free(live, false);
        count_drop(HT_DROP_LIVE_FULL);
    }
}

static void record(const void *block, size_t size, ht_interval_id interval,
                   const struct ht_frame *caller)
{
    struct ht_live_block live = {.size = size, .interval = interval};
    if (!ht_sites_find(caller, size, depth_max, &live.site)) {
        count_drop(HT_DROP_SCRATCH);
        return;
    }
    if (interval == HT_INTERVAL_EXACT)
        ht_budget_tell(size);
    struct ht_weight weight = ht_sampler_weight(size, interval);
    if (ht_lives_follows(size, interval, weight.objects, &ht_thread.random))
        live.birth = ht_lives_birth();
    ht_stacks_count_alloc(live.site, weight);
    __atomic_fetch_add(&samples, 1, __ATOMIC_RELAXED);
    insert(block, &live);
    ht_budget_ease();
}

/* At an interval of 1, in a thread that has tables of its own. */
static void record_exact(struct ht_exact *exact, const void *block, size_t size,
                         const struct ht_frame *caller)
{
    struct ht_live_block live = {.size = size, .interval = HT_INTERVAL_EXACT};
    ht_shadow_expect((uintptr_t)block);
    if (HT_UNLIKELY(!ht_sites_find_exact(exact, caller, size, depth_max, &live.site))) {
        count_drop(HT_DROP_SCRATCH);
        return;
    }
    ht_tally_alloc(&exact->tally, live.site, size);
    if (HT_UNLIKELY(ht_lives_follows_exact(&exact->unfollowed, size))) {
        live.birth = ht_lives_birth();
        ht_budget_tell(exact->gap - exact->unfollowed + size);
        exact->gap = exact->unfollowed = ht_lives_gap(&ht_thread.random);
    }
    if (HT_UNLIKELY(live.site == HT_SITE_OVERFLOW || live.birth != 0 ||
                    !ht_shadow_insert((uintptr_t)block, size, live.site)))
        insert(block, &live);
    if (HT_UNLIKELY(exact->tally.samples % EASE_EVERY == 0))
        ht_budget_ease();
}

void ht_record_block(const void *block, size_t size, ht_interval_id interval,
                     const struct ht_frame *caller)
{
    /* No block is so large; tcmalloc's pvalloc() wraps, and gives a small one. */
    if (HT_UNLIKELY(size > PTRDIFF_MAX))
        return;
    struct ht_record_pause pause = ht_record_pause();
    uint32_t one_in = interval == HT_INTERVAL_EXACT ? HT_BUDGET_EXACT_ONE_IN : HT_BUDGET_ONE_IN;
    bool is_timed = ht_budget_times(ht_budget_hash(ht_thread.borrows), one_in);
    uint64_t began = is_timed ? ht_budget_clock() : 0;
    struct ht_exact *exact = interval == HT_INTERVAL_EXACT ? own_tables(&ht_thread) : NULL;
    if (exact != NULL)
        record_exact(exact, block, size, caller);
    else
        record(block, size, interval, caller);
    ht_thread.last_block = (uintptr_t)block;
    if (HT_UNLIKELY(is_timed))
        ht_budget_add(began, one_in);
    ht_record_resume(pause);
}

static enum ht_live_result forget(const void *block, bool nested, struct ht_live_block *ret_block)
{
    enum ht_live_result result = ht_live_remove((uintptr_t)block, nested, ret_block);
    if (HT_UNLIKELY(result == HT_LIVE_MISSED))
        count_drop(HT_DROP_FREE);
    return result;
}

/* Every allocation of this thread is recorded: nearly all frees are of blocks that are known. */
static inline bool is_exact_now(void)
{
    return ht_thread.exact != NULL && ht_sampler_current() == HT_INTERVAL_EXACT;
}

static uint8_t page_of(const void *block)
{
    return __atomic_load_n(ht_hot_page(block), __ATOMIC_RELAXED);
}

/* Most frees that look are of strangers: neighbours of a sampled block, or, where every allocation
 * was recorded before, of one that is still there. */
static inline __attribute__((always_inline)) bool is_stranger(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    const uint64_t *entry = ht_shadow_entry(address);
    if (entry != NULL && __atomic_load_n(entry, __ATOMIC_RELAXED) != 0)
        return false;
    return (page_of(block) & HT_PAGE_COUNT) == 0 || ht_live_is_absent(address);
}

/* Frees in pages where exact blocks were would look for ever: now and then one has a look whether
 * all of them are gone, and at times sees to it (thin.h). */
HT_COLD static void clear_page(const void *block)
{
    struct ht_thread *thread = &ht_thread;
    ht_interval_id interval = ht_sampler_current();
    if ((page_of(block) & HT_PAGE_EXACT) == 0 || interval == HT_INTERVAL_EXACT)
        return;
    struct ht_record_pause pause = ht_record_pause();
    if (pause.busy == 0 && interval != 0 && thread->random != 0 && ht_budget_is_auto() &&
        ht_sampler_uniform(&thread->random) < 1.0 / THIN_EVERY)
        ht_thin_page((uintptr_t)block, interval, &thread->random);
    ht_record_resume(pause);
    ht_shadow_clear_page((uintptr_t)block);
}

/* False when it was recorded exactly. */
static inline __attribute__((always_inline)) bool free_known(const void *block)
{
    struct ht_live_block was = {.interval = HT_INTERVAL_EXACT};
    struct ht_shadow_block small;
    struct ht_exact *exact = ht_thread.exact;
    struct ht_record_pause pause = ht_record_pause();
    if (exact != NULL && pause.busy == 0 && ht_shadow_remove((uintptr_t)block, &small))
        ht_tally_free(&exact->tally, small.site, small.size);
    else if (forget(block, pause.busy != 0, &was) == HT_LIVE_REMOVED)
        end(&was, pause.busy != 0);
    ht_record_resume(pause);
    return was.interval != HT_INTERVAL_EXACT;
}

/* A longer interval saves the frees of sampled blocks; not those of blocks that were recorded
 * exactly before, nor looks for nothing. `began` 0: nothing was timed. */
HT_COLD static void add_time_of_free(uint64_t began, bool is_sampled)
{
    int32_t weight = 2 * HT_BUDGET_FREE_ONE_IN;
    struct ht_record_pause pause = ht_record_pause();
    if (pause.busy == 0)
        ht_budget_add_free(began != 0 ? began : ht_budget_clock(), began != 0 ? weight : -weight,
                           is_sampled || is_exact_now());
    ht_record_resume(pause);
}

void ht_record_free(const void *block)
{
    uint32_t hash = ht_budget_hash(ht_thread.looks++);
    bool is_timed = ht_budget_times(hash, HT_BUDGET_FREE_ONE_IN), is_sampled = false;
    uint64_t began = HT_UNLIKELY(is_timed) && hash % 2 == 0 ? ht_budget_clock() : 0;
    if (is_exact_now() || !is_stranger(block))
        is_sampled = free_known(block);
    else if (HT_UNLIKELY(ht_budget_times(~hash, CLEAR_EVERY)))
        clear_page(block);
    if (HT_UNLIKELY(is_timed))
        add_time_of_free(began, is_sampled);
}

enum ht_live_result ht_record_forget(const void *block, struct ht_live_block *ret_block)
{
    struct ht_record_pause pause = ht_record_pause();
    enum ht_live_result result = forget(block, pause.busy != 0, ret_block);
    ht_record_resume(pause);
    return result;
}

void ht_record_freed(const struct ht_live_block *block)
{
    struct ht_record_pause pause = ht_record_pause();
    end(block, pause.busy != 0);
    ht_record_resume(pause);
}

void ht_record_restore(const void *block, const struct ht_live_block *was)
{
    struct ht_record_pause pause = ht_record_pause();
    /* In a signal handler that interrupted the table, insertion could wait for a lock of this very
     * thread. */
    bool can_be_put_back = was != NULL && pause.busy == 0;
    if (!can_be_put_back || !ht_live_insert((uintptr_t)block, was)) {
        if (was != NULL)
            count_free(was, pause.busy != 0);
        count_drop(can_be_put_back ? HT_DROP_LIVE_FULL : HT_DROP_FREE);
    }
    ht_record_resume(pause);
}

void ht_record_unload_begin(void)
{
    ht_learn_unload_begin();
}

void ht_record_unload_end(void)
{
    ht_learn_unload_end();
}

void ht_record_fork_child(struct ht_record_pause pause)
{
    if (HT_UNLIKELY(pause.busy != 0)) {
        ht_record_resume(pause);
        return;
    }
    ht_thread.busy = 0; /* first, as in ht_record_resume() */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ht_thread.random = 0;
    ht_thread.bytes_until_sample = 0;
    ht_shadow_fork_child();
    ht_scratch_fork_child();
}
