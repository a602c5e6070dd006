#include "sample/stacks.h"

#include "sample/frames.h"
#include "sample/tally.h"
#include "sys/arena.h"
#include "sys/lock.h"

#include "sys/poison.h"

/* Sites are numbered and lie in chunks, so that a live block names one in 32 bits. Number 0 is the
 * overflow's, and no stack's: a node whose mark is 0 has none. */
#define CHUNK_SITES 1024u
#define CHUNKS_MAX  (HT_SITES_MAX / CHUNK_SITES)
#define NO_SITE     0u

/* All but the counters, which are atomic, is written before the site is published. */
struct site {
    uint32_t next; /* the stack's next site, or NO_SITE */
    uint32_t size_class;
    ht_node leaf;
    uint32_t lives; /* see lives.h */
    struct ht_counts counts;
};

static struct ht_lock
    stacks_lock; /* rank HT_RANK_STACKS; guards every write below but to counters */
static uint64_t stack_count;
static uint32_t site_count = 1;
static struct site *chunks[CHUNKS_MAX];

static struct site overflow_site = {.next = NO_SITE, .size_class = 0};

static struct site *site_at(ht_site id)
{
    if (HT_UNLIKELY(id == HT_SITE_OVERFLOW))
        return &overflow_site;
    struct site *chunk = __atomic_load_n(&chunks[id / CHUNK_SITES], __ATOMIC_ACQUIRE);
    return &chunk[id % CHUNK_SITES];
}

ht_node ht_stacks_leaf(ht_site site)
{
    return site_at(site)->leaf;
}

uint32_t *ht_stacks_lives(ht_site site)
{
    return &site_at(site)->lives;
}

uint32_t ht_stacks_site_count(void)
{
    return __atomic_load_n(&site_count, __ATOMIC_RELAXED);
}

uint32_t ht_stacks_size_high(ht_site site)
{
    uint32_t size_class = site_at(site)->size_class;
    return size_class > 64 ? size_class - 64 : 0;
}

static ht_site find_site(ht_node leaf, uint32_t size_class)
{
    uint32_t id = __atomic_load_n(&ht_tree_node(leaf)->mark, __ATOMIC_ACQUIRE);
    while (id != NO_SITE) {
        const struct site *site = site_at(id);
        if (site->size_class == size_class)
            return id;
        id = site->next;
    }
    return NO_SITE;
}

/* The lock is held. */
static ht_site add_site(ht_node leaf, uint32_t size_class)
{
    uint32_t id = site_count;
    if (id / CHUNK_SITES >= CHUNKS_MAX)
        return HT_SITE_OVERFLOW;
    if (chunks[id / CHUNK_SITES] == NULL) {
        struct site *chunk = ht_arena_alloc(CHUNK_SITES * sizeof(*chunk));
        if (chunk == NULL)
            return HT_SITE_OVERFLOW;
        __atomic_store_n(&chunks[id / CHUNK_SITES], chunk, __ATOMIC_RELEASE);
    }
    uint32_t *first = &ht_tree_node(leaf)->mark;
    __atomic_store_n(&site_count, id + 1, __ATOMIC_RELAXED);
    if (*first == NO_SITE)
        __atomic_store_n(&stack_count, stack_count + 1, __ATOMIC_RELAXED);
    struct site *site = site_at(id);
    site->size_class = size_class;
    site->leaf = leaf;
    site->next = *first;
    __atomic_store_n(first, id, __ATOMIC_RELEASE);
    return id;
}

ht_site ht_stacks_site(ht_node leaf, size_t size)
{
    uint32_t size_class = ht_stacks_size_class(size);
    ht_site id = find_site(leaf, size_class);
    if (HT_LIKELY(id != NO_SITE))
        return id;
    if (!ht_lock_take(&stacks_lock))
        return HT_SITE_OVERFLOW;
    id = find_site(leaf, size_class);
    if (id == NO_SITE)
        id = add_site(leaf, size_class);
    ht_lock_release(&stacks_lock);
    return id;
}

static void add(uint64_t *counter, uint64_t value)
{
    if (value != 0)
        __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

static void add_last(uint64_t *counter, uint64_t value)
{
    if (value != 0)
        __atomic_fetch_add(counter, value, __ATOMIC_RELEASE);
}

/* What went must never be seen before what came: a free is counted after its allocation in the same
 * order (release), and ht_stacks_each() reads it first (acquire). */
void ht_stacks_count(ht_site id, const struct ht_counts *counts)
{
    struct ht_counts *sums = &site_at(id)->counts;
    add(&sums->alloc_objects, counts->alloc_objects);
    add(&sums->alloc_bytes, counts->alloc_bytes);
    add_last(&sums->free_objects, counts->free_objects);
    add_last(&sums->free_bytes, counts->free_bytes);
}

void ht_stacks_count_alloc(ht_site id, struct ht_weight weight)
{
    ht_stacks_count(
        id, &(struct ht_counts){.alloc_objects = weight.objects, .alloc_bytes = weight.bytes});
    if (weight.objects_variance > 0)
        ht_variances_add_alloc(id, &weight);
}

void ht_stacks_count_free(ht_site id, struct ht_weight weight)
{
    ht_stacks_count(
        id, &(struct ht_counts){.free_objects = weight.objects, .free_bytes = weight.bytes});
    if (weight.objects_variance > 0)
        ht_variances_add_free(id, &weight);
}

/* While a thread gives what it has tallied to the site, neither is right: then all is read
 * again. */
static struct ht_counts counts_of(ht_site id)
{
    const struct ht_counts *sums = &site_at(id)->counts;
    struct ht_tally_reading reading = ht_tally_begin(id);
    struct ht_counts counts;
    do {
        counts = (struct ht_counts){0};
        ht_tally_add_frees(&reading, &counts);
        counts.free_objects += __atomic_load_n(&sums->free_objects, __ATOMIC_ACQUIRE);
        counts.free_bytes += __atomic_load_n(&sums->free_bytes, __ATOMIC_ACQUIRE);
        counts.alloc_objects += __atomic_load_n(&sums->alloc_objects, __ATOMIC_ACQUIRE);
        counts.alloc_bytes += __atomic_load_n(&sums->alloc_bytes, __ATOMIC_ACQUIRE);
        ht_tally_add_allocs(&reading, &counts);
    } while (!ht_tally_is_right(&reading));
    return counts;
}

static int show_sites(ht_node leaf, ht_stacks_visit *visit, void *context)
{
    static uintptr_t pcs[HT_DEPTH_MAX + 1]; /* one walk at a time */
    uint32_t id = __atomic_load_n(&ht_tree_node(leaf)->mark, __ATOMIC_ACQUIRE);
    if (id == NO_SITE)
        return 0;
    struct ht_site_view view = {.pcs = pcs, .depth = ht_tree_stack(leaf, pcs, HT_ARRAY_SIZE(pcs))};
    int r = 0;
    for (; id != NO_SITE && r == 0; id = site_at(id)->next) {
        view.site = id;
        view.counts = counts_of(id);
        view.variances = ht_variances_of(id);
        r = visit(context, &view);
    }
    return r;
}

int ht_stacks_each(ht_stacks_visit *visit, void *context)
{
    static const uintptr_t overflow_pcs[] = {HT_PC_OVERFLOW};
    int r = 0;
    struct ht_site_view overflow = {HT_SITE_OVERFLOW, overflow_pcs, 1, counts_of(HT_SITE_OVERFLOW),
                                    ht_variances_of(HT_SITE_OVERFLOW)};
    if (overflow.counts.alloc_objects != 0)
        r = visit(context, &overflow);
    uint32_t count = ht_tree_count();
    for (ht_node leaf = 1; leaf <= count && r == 0; leaf++)
        r = show_sites(leaf, visit, context);
    return r;
}

uint64_t ht_stacks_total(void)
{
    return __atomic_load_n(&stack_count, __ATOMIC_RELAXED);
}

void ht_stacks_fork_prepare(void)
{
    ht_lock_take_always(&stacks_lock);
}

void ht_stacks_fork_parent(void)
{
    ht_lock_release(&stacks_lock);
}

void ht_stacks_fork_child(void)
{
    ht_lock_reset(&stacks_lock);
}
