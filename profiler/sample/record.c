#include "sample/record.h"

#include "sample/frames.h"
#include "sample/hot.h"
#include "sample/unwind.h"
#include "sample/unwind_learn.h"
#include "sys/arena.h"

#include "sys/poison.h"

HT_THREAD_LOCAL struct ht_thread ht_thread;

uint32_t ht_record_attention = 1;

static unsigned depth_max = 128;
static uint64_t samples;
static uint64_t drops[HT_DROPS];
static unsigned eased; /* times that ease() has doubled the interval */

static void count_drop(enum ht_drop reason)
{
    __atomic_fetch_add(&drops[reason], 1, __ATOMIC_RELAXED);
}

struct ht_record_counts ht_record_counts(void)
{
    struct ht_record_counts counts = {.samples = __atomic_load_n(&samples, __ATOMIC_RELAXED)};
    for (unsigned i = 0; i < HT_DROPS; i++)
        counts.drops[i] = __atomic_load_n(&drops[i], __ATOMIC_RELAXED);
    counts.eased = __atomic_load_n(&eased, __ATOMIC_RELAXED);
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

static void draw_gap(struct ht_thread *thread)
{
    ht_interval_id id = ht_sampler_current();
    thread->gap_interval = id;
    thread->bytes_until_sample = ht_sampler_draw(id, &thread->random);
}

/* The first gap starts before this allocation: it is sampled as often as any other of its size. */
static ht_interval_id begin_thread(struct ht_thread *thread, size_t size)
{
    thread->random = ht_sampler_seed();
    draw_gap(thread);
    if (thread->bytes_until_sample >= size) {
        thread->bytes_until_sample -= size;
        return 0;
    }
    ht_interval_id id = (ht_interval_id)thread->gap_interval;
    draw_gap(thread);
    return id;
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
    if (HT_UNLIKELY(thread->random == 0))
        return begin_thread(thread, size);
    ht_interval_id id = (ht_interval_id)thread->gap_interval;
    draw_gap(thread);
    return thread->gap_interval != 0 ? id : 0; /* switched off since: not this one */
}

/* ---- buffers for stacks: not on the program's stack, which may be small ---- */

#define BUFFERS 64u

static struct buffer {
    uintptr_t *pcs; /* depth_max + 1 of them, made at first use */
    uint32_t taken;
} buffers[BUFFERS];

static struct buffer *take_buffer(void)
{
    /* Each thread begins elsewhere, so that it usually finds its own again, warm. */
    unsigned first = (unsigned)((uintptr_t)&ht_thread >> 12);
    for (unsigned i = 0; i < BUFFERS; i++) {
        struct buffer *buffer = &buffers[(first + i) % BUFFERS];
        if (__atomic_exchange_n(&buffer->taken, 1, __ATOMIC_ACQUIRE) != 0)
            continue;
        if (buffer->pcs == NULL)
            buffer->pcs = ht_arena_alloc((depth_max + 1) * sizeof(*buffer->pcs));
        if (buffer->pcs != NULL)
            return buffer;
        __atomic_store_n(&buffer->taken, 0, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void give_buffer(struct buffer *buffer)
{
    __atomic_store_n(&buffer->taken, 0, __ATOMIC_RELEASE);
}

/* ---- before memory ends ---- */

/* From half of the tables' memory on, every further 32nd doubles the interval: tables then fill
 * ever more slowly, and what is recorded goes on being unbiased. An interval below 64 would slow
 * nothing down, since hardly a block is that small. */
#define EASE_FROM      (HT_ARENA_FULL / 2)
#define EASE_STEP      2u
#define EASED_INTERVAL 64u

static void ease(void)
{
    unsigned fullness = ht_arena_table_fullness();
    unsigned done = __atomic_load_n(&eased, __ATOMIC_RELAXED);
    uint64_t interval = ht_sampler_interval();
    if (HT_LIKELY(fullness < EASE_FROM + done * EASE_STEP) || interval == 0 ||
        !__atomic_compare_exchange_n(&eased, &done, done + 1, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
        return;
    ht_sampler_set_interval(ht_min(ht_max(interval * 2, EASED_INTERVAL), HT_INTERVAL_MAX));
}

/* ---- blocks ---- */

static void record(const void *block, size_t size, ht_interval_id interval,
                   const struct ht_frame *caller)
{
    struct buffer *buffer = take_buffer();
    if (buffer == NULL) {
        count_drop(HT_DROP_SCRATCH);
        return;
    }
    unsigned depth = ht_unwind_walk(caller, buffer->pcs, depth_max);
    ht_site site = ht_stacks_intern(buffer->pcs, depth, size);
    give_buffer(buffer);
    if (site == HT_SITE_OVERFLOW)
        count_drop(HT_DROP_OVERFLOW);

    struct ht_weight weight = ht_sampler_weight(size, interval);
    struct ht_live_block live = {.size = size, .site = site, .interval = interval};
    ht_stacks_count_alloc(site, weight);
    if (!ht_live_insert((uintptr_t)block, &live)) {
        ht_stacks_count_free(site, weight);
        count_drop(HT_DROP_LIVE_FULL);
    }
    __atomic_fetch_add(&samples, 1, __ATOMIC_RELAXED);
    ease();
}

void ht_record_block(const void *block, size_t size, ht_interval_id interval,
                     const struct ht_frame *caller)
{
    struct ht_record_pause pause = ht_record_pause();
    record(block, size, interval, caller);
    ht_thread.last_block = (uintptr_t)block;
    ht_record_resume(pause);
}

enum ht_live_result ht_record_forget(const void *block, struct ht_live_block *ret_block)
{
    struct ht_record_pause pause = ht_record_pause();
    enum ht_live_result result = ht_live_remove((uintptr_t)block, pause.busy != 0, ret_block);
    if (result == HT_LIVE_MISSED)
        count_drop(HT_DROP_FREE);
    ht_record_resume(pause);
    return result;
}

void ht_record_freed(const struct ht_live_block *block)
{
    ht_stacks_count_free(block->site, ht_sampler_weight(block->size, block->interval));
}

void ht_record_restore(const void *block, const struct ht_live_block *was)
{
    struct ht_record_pause pause = ht_record_pause();
    /* In a signal handler that interrupted the table, insertion could wait for a lock of this very
     * thread. */
    bool can_be_put_back = was != NULL && pause.busy == 0;
    if (!can_be_put_back || !ht_live_insert((uintptr_t)block, was)) {
        if (was != NULL)
            ht_record_freed(was);
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

void ht_record_fork_child(void)
{
    ht_thread.busy = 0; /* first, as in ht_record_resume() */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ht_thread.random = 0;
    ht_thread.bytes_until_sample = 0;
    for (unsigned i = 0; i < BUFFERS; i++)
        __atomic_store_n(&buffers[i].taken, 0, __ATOMIC_RELAXED);
}
