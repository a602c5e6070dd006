#include "sample/lives.h"

#include "sample/clock.h"
#include "sample/frames.h"
#include "sample/hot.h"
#include "sample/scratch.h"
#include "sample/unwind.h"
#include "sys/arena.h"

#include "sys/poison.h"

const char *const ht_lives_age_names[HT_LIVES_AGES] = {
    "<10us", "<100us", "<1ms", "<10ms", "<100ms", "<1s", "<10s", "<100s", "<1000s", ">=1000s"};

/* ---- which are followed ---- */

static uint64_t interval_of(ht_interval_id id)
{
    return ht_max(ht_sampler_interval_of(id), HT_LIVES_INTERVAL);
}

struct ht_weight ht_lives_weight(size_t size, ht_interval_id interval)
{
    return ht_sampler_weight_at(size, interval_of(interval));
}

/* With the probability p(L) / p(T). p(L) is below size / L, which spares most blocks of short
 * intervals the exponential. */
bool ht_lives_follows(size_t size, ht_interval_id interval, uint64_t weight_objects,
                      uint64_t *random)
{
    uint64_t longer = interval_of(interval);
    if (HT_LIKELY(longer == ht_sampler_interval_of(interval)))
        return true;
    double x = (double)size / (double)longer;
    double u = ht_sampler_uniform(random) * (1 << HT_OBJECTS_SHIFT) / (double)weight_objects;
    return u <= x && u <= ht_sampler_hit_probability(x);
}

uint64_t ht_lives_gap(uint64_t *random)
{
    return ht_sampler_gap(HT_LIVES_INTERVAL, random);
}

/* ---- birth and age ---- */

/* From above: 48 bits of the clock in units of 1,024 ticks (a third of a microsecond; 3 years), 15
 * of a hash of the thread's address, and a 1. */
#define CLOCK_SHIFT  10
#define THREAD_BITS  15
#define THREAD_SHIFT 1

static uint64_t this_thread(void)
{
    uint64_t hash = (uintptr_t)&ht_thread * UINT64_C(0x9e3779b97f4a7c15);
    return hash >> (64 - THREAD_BITS);
}

uint64_t ht_lives_birth(void)
{
    uint64_t clock = ht_clock_ticks() >> CLOCK_SHIFT;
    return clock << (THREAD_BITS + THREAD_SHIFT) | this_thread() << THREAD_SHIFT | 1;
}

static bool is_of_this_thread(uint64_t birth)
{
    return (birth >> THREAD_SHIFT & ((1 << THREAD_BITS) - 1)) == this_thread();
}

/* While sampling is off, perhaps because the program may make no such system call any more
 * (control/sandbox.h), nothing here makes one. */
static bool may_call(void)
{
    return ht_sampler_current() != 0;
}

static int64_t age_by(double rate, uint64_t birth)
{
    uint64_t born = birth >> (THREAD_BITS + THREAD_SHIFT) << CLOCK_SHIFT, now = ht_clock_ticks();
    return rate > 0 && now > born ? (int64_t)((double)(now - born) / rate) : 0;
}

int64_t ht_lives_age(uint64_t birth)
{
    return age_by(ht_clock_rate(), birth);
}

unsigned ht_lives_age_of(int64_t nanos)
{
    unsigned age = 0;
    for (int64_t below = 10000; age < HT_LIVES_AGES - 1 && nanos >= below; below *= 10)
        age++;
    return age;
}

/* ---- records ---- */

/* Numbered from 1, in chunks, which may take an eighth of the tables' memory. All but the sums, which
 * are atomic doubles by their bits, and the pc, which ht_lives_move() changes, is written before the
 * record is published in its site's list. Two threads may add the same one at once: then there are
 * two, which add up. */
#define CHUNK_RECORDS 128u
#define CHUNKS_MAX    8192u

struct record {
    uint32_t next, key;
    uintptr_t pc;
    uint64_t objects, bytes, objects_variance, bytes_variance;
};

static struct record *chunks[CHUNKS_MAX];
static uint32_t record_count;
static uint64_t lost;

static uint32_t key_of(unsigned age, bool same_thread, uint32_t frame)
{
    return frame << 8 | age << 1 | same_thread;
}

static struct record *record_at(uint32_t number)
{
    return &chunks[number / CHUNK_RECORDS][number % CHUNK_RECORDS];
}

static bool has_chunk(uint32_t chunk)
{
    struct record **place = &chunks[chunk], *none = NULL;
    if (HT_LIKELY(__atomic_load_n(place, __ATOMIC_ACQUIRE) != NULL))
        return true;
    const size_t size = CHUNK_RECORDS * sizeof(**place);
    struct record *made = NULL;
    if ((chunk + 1) * size <= ht_arena_table_limit() / 8 && may_call())
        made = ht_arena_alloc(size);
    if (made != NULL) /* if another thread is faster, it is lost, once for each */
        __atomic_compare_exchange_n(place, &none, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return made != NULL;
}

/* Only a number whose memory is there is taken: memory may come back. */
static struct record *make_record(uint32_t *ret_number)
{
    uint32_t last = __atomic_load_n(&record_count, __ATOMIC_RELAXED);
    do {
        uint32_t chunk = (last + 1) / CHUNK_RECORDS;
        if (chunk >= CHUNKS_MAX || !has_chunk(chunk))
            return NULL;
    } while (!__atomic_compare_exchange_n(&record_count, &last, last + 1, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    *ret_number = last + 1;
    return record_at(last + 1);
}

static struct record *find(uint32_t number, uint32_t key, uintptr_t pc, unsigned *ret_places)
{
    for (*ret_places = 0; number != 0; (*ret_places)++) {
        struct record *record = record_at(number);
        if (record->key == key && __atomic_load_n(&record->pc, __ATOMIC_RELAXED) == pc)
            return record;
        number = record->next;
    }
    return NULL;
}

static struct record *find_or_make(ht_site site, uint32_t key, uintptr_t pc)
{
    uint32_t *first = ht_stacks_lives(site), number;
    uint32_t head = __atomic_load_n(first, __ATOMIC_ACQUIRE);
    unsigned places;
    struct record *record = find(head, key, pc, &places);
    if (record == NULL && places >= HT_LIVES_PLACES && pc != 0) {
        pc = 0;
        key |= HT_LIVES_NO_FRAME << 8;
        record = find(head, key, pc, &places);
    }
    if (record != NULL || (record = make_record(&number)) == NULL)
        return record;
    record->key = key;
    __atomic_store_n(&record->pc, pc, __ATOMIC_RELAXED);
    record->next = head;
    while (!__atomic_compare_exchange_n(first, &record->next, number, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
    return record;
}

static void count(struct record *record, const struct ht_live_block *block)
{
    struct ht_weight weight = ht_lives_weight(block->size, block->interval);
    ht_variances_add(&record->objects, (double)weight.objects / (1 << HT_OBJECTS_SHIFT));
    ht_variances_add(&record->bytes, (double)weight.bytes / (1 << HT_BYTES_SHIFT));
    ht_variances_add(&record->objects_variance, weight.objects_variance);
    ht_variances_add(&record->bytes_variance, weight.bytes_variance);
}

/* ---- where it ends ---- */

struct place {
    uint32_t frame;
    uintptr_t pc;
};

/* The frame nearest the root in which the stack of the leaf differs from the other one. */
static struct place compare(ht_node leaf, const uintptr_t *pcs, unsigned depth)
{
    const struct place unknown = {HT_LIVES_NO_FRAME, 0};
    unsigned leaf_depth = 0, frame = 0;
    for (ht_node node = leaf; node != HT_NODE_ROOT; node = ht_tree_node(node)->caller)
        leaf_depth++;
    uintptr_t pc = 0;
    unsigned i = 0;
    for (ht_node node = leaf; node != HT_NODE_ROOT; node = ht_tree_node(node)->caller, i++) {
        pc = __atomic_load_n(&ht_tree_node(node)->pc, __ATOMIC_RELAXED);
        unsigned from_root = leaf_depth - 1 - i;
        if (from_root >= depth || pcs[depth - 1 - from_root] != pc)
            frame = i;
    }
    /* Without a common root, or with one that is a cut, nothing is known. */
    if (leaf_depth < 2 || frame == leaf_depth - 1 || pc == HT_PC_TRUNCATED ||
        leaf_depth - 1 - frame >= depth || frame >= HT_LIVES_NO_FRAME)
        return unknown;
    return (struct place){frame, pcs[depth - 1 - (leaf_depth - 1 - frame)]};
}

__attribute__((noinline)) void ht_lives_end(const struct ht_live_block *block, unsigned depth_max)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    bool may_walk = may_call();
    double rate = may_walk ? ht_clock_rate() : ht_clock_known_rate();
    if (!may_walk && rate == 0) { /* nor can the age be told */
        ht_lives_lose();
        return;
    }
    unsigned age = ht_lives_age_of(age_by(rate, block->birth));
    bool same_thread = is_of_this_thread(block->birth);
    struct place place = {HT_LIVES_NO_FRAME, 0};
    ht_node leaf = ht_stacks_leaf(block->site);
    struct ht_scratch *scratch =
        may_walk && same_thread && leaf != HT_NODE_ROOT ? ht_scratch_take(depth_max) : NULL;
    if (scratch != NULL) {
        unsigned depth = ht_unwind_walk(&caller, scratch->pcs, depth_max);
        place = compare(leaf, scratch->pcs, depth);
        ht_scratch_give(scratch);
    }
    struct record *record =
        find_or_make(block->site, key_of(age, same_thread, place.frame), place.pc);
    if (record != NULL)
        count(record, block);
    else
        ht_lives_lose();
}

void ht_lives_move(uintptr_t low, uintptr_t high, uintptr_t by)
{
    uint32_t last = __atomic_load_n(&record_count, __ATOMIC_ACQUIRE);
    for (uint32_t number = 1; number <= last; number++) {
        uintptr_t *pc = &record_at(number)->pc, was = __atomic_load_n(pc, __ATOMIC_RELAXED);
        if (was - low < high - low)
            __atomic_store_n(pc, was + by, __ATOMIC_RELAXED);
    }
}

/* ---- for readers ---- */

int ht_lives_each(ht_site site, ht_lives_visit *visit, void *context)
{
    int r = 0;
    uint32_t number = __atomic_load_n(ht_stacks_lives(site), __ATOMIC_ACQUIRE);
    while (number != 0 && r == 0) {
        struct record *record = record_at(number);
        struct ht_lives_view view = {
            .age = record->key >> 1 & 15,
            .same_thread = record->key & 1,
            .frame = record->key >> 8,
            .pc = __atomic_load_n(&record->pc, __ATOMIC_RELAXED),
            .objects = ht_variances_read(&record->objects),
            .bytes = ht_variances_read(&record->bytes),
            .objects_variance = ht_variances_read(&record->objects_variance),
            .bytes_variance = ht_variances_read(&record->bytes_variance),
        };
        number = record->next;
        r = visit(context, &view);
    }
    return r;
}

void ht_lives_lose(void)
{
    __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
}

uint64_t ht_lives_lost(void)
{
    return __atomic_load_n(&lost, __ATOMIC_RELAXED) + ht_live_ends_unseen();
}
