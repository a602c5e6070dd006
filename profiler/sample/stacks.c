#include "sample/stacks.h"

#include <string.h>

#include "sample/frames.h"
#include "sys/arena.h"
#include "sys/lock.h"

#include "sys/poison.h"

/* Sites are numbered from 0 and lie in chunks, so that a live block names one in 32 bits. */
#define CHUNK_SITES 1024u
#define CHUNKS_MAX  4096u
#define NO_SITE     UINT32_MAX

#define INDEX_FIRST 1024u

/* A size class is the bit length of the size, below 64, or 64 plus its high half for blocks of 4
 * GiB and more. All but `next` and the counters are written before the site is published; counters
 * are atomic. */
struct site {
    uint32_t next; /* the stack's next site, or NO_SITE */
    uint32_t size_class;
    uint64_t alloc_objects, alloc_bytes, free_objects, free_bytes;
};

/* `first_site` is atomic, the rest is written before the stack is published. */
struct stack {
    struct stack *older; /* the one added before: the order ht_stacks_each() goes */
    uint32_t first_site;
    uint32_t depth;
    uintptr_t pcs[];
};

/* Open addressing, linear probing, power-of-two capacity, insert only:
 *   used <= capacity * 3 / 4, so a probe always ends.
 * A slot holds the stack's address in its low 48 bits and 16 bits of its hash above. A table that
 * was outgrown is emptied but stays mapped: a thread that still looks into it finds nothing and
 * asks again under the lock. */
struct index {
    uint64_t capacity;
    uint64_t *slots;
};

static struct ht_lock
    stacks_lock; /* rank HT_RANK_STACKS; guards every write below but to counters */
static struct index *current_index;
static struct stack *newest;
static uint64_t stack_count;
static uint32_t site_count = 1; /* site 0 is the overflow's */
static struct site *chunks[CHUNKS_MAX];

static struct site overflow_site = {.next = NO_SITE, .size_class = 0};

static struct site *site_at(ht_site id)
{
    if (id == HT_SITE_OVERFLOW)
        return &overflow_site;
    struct site *chunk = __atomic_load_n(&chunks[id / CHUNK_SITES], __ATOMIC_ACQUIRE);
    return &chunk[id % CHUNK_SITES];
}

static uint32_t size_class_of(size_t size)
{
    uint64_t high = (uint64_t)size >> 32;
    if (high != 0)
        return (uint32_t)ht_min(64 + high, UINT32_MAX);
    return size == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(size);
}

uint32_t ht_stacks_size_high(ht_site site)
{
    uint32_t size_class = site_at(site)->size_class;
    return size_class > 64 ? size_class - 64 : 0;
}

/* A multiply and a rotation for each pc (the constant is 2^64 / golden ratio), and a final mix
 * (Murmur3). */
static uint64_t hash_of(const uintptr_t *pcs, unsigned depth)
{
    uint64_t hash = depth;
    for (unsigned i = 0; i < depth; i++) {
        hash = (hash ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash = hash << 27 | hash >> 37;
    }
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 33;
}

#define TAG_SHIFT 48
#define TAG_MASK  (UINT64_MAX << TAG_SHIFT)

static struct stack *slot_stack(uint64_t slot)
{
    return (struct stack *)(uintptr_t)(slot & ~TAG_MASK);
}

static struct stack *find(const struct index *index, uint64_t hash, const uintptr_t *pcs,
                          unsigned depth)
{
    if (index == NULL)
        return NULL;
    uint64_t mask = index->capacity - 1;
    for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
        uint64_t slot = __atomic_load_n(&index->slots[i], __ATOMIC_ACQUIRE);
        if (slot == 0)
            return NULL;
        if ((slot & TAG_MASK) != (hash & TAG_MASK))
            continue;
        struct stack *stack = slot_stack(slot);
        if (stack->depth == depth && memcmp(stack->pcs, pcs, depth * sizeof(*pcs)) == 0)
            return stack;
    }
}

static void put(struct index *index, uint64_t hash, const struct stack *stack)
{
    uint64_t mask = index->capacity - 1;
    uint64_t i = hash & mask;
    while (index->slots[i] != 0)
        i = (i + 1) & mask;
    __atomic_store_n(&index->slots[i], (uintptr_t)stack | (hash & TAG_MASK), __ATOMIC_RELEASE);
}

static struct index *new_index(uint64_t capacity)
{
    size_t size = capacity * sizeof(uint64_t);
    uint64_t *slots = ht_arena_map_table(size);
    struct index *index = slots == NULL ? NULL : ht_arena_alloc(sizeof(*index));
    if (index == NULL) {
        ht_arena_unmap_table(slots, size);
        return NULL;
    }
    *index = (struct index){.capacity = capacity, .slots = slots};
    return index;
}

/* Makes room for one more stack. The lock is held. */
static bool make_room(void)
{
    struct index *old = current_index;
    if (old != NULL && stack_count < old->capacity / 4 * 3)
        return true;
    struct index *grown = new_index(old == NULL ? INDEX_FIRST : old->capacity * 2);
    if (grown == NULL)
        return old != NULL &&
               stack_count < old->capacity / 8 * 7; /* longer probes, that still end */
    for (uint64_t i = 0; old != NULL && i < old->capacity; i++) {
        if (old->slots[i] != 0) {
            const struct stack *stack = slot_stack(old->slots[i]);
            put(grown, hash_of(stack->pcs, stack->depth), stack);
        }
    }
    __atomic_store_n(&current_index, grown, __ATOMIC_RELEASE);
    if (old != NULL)
        ht_arena_retire_table(old->slots, old->capacity * sizeof(*old->slots));
    return true;
}

/* The lock is held. */
static struct stack *add_stack(uint64_t hash, const uintptr_t *pcs, unsigned depth)
{
    if (!make_room())
        return NULL;
    struct stack *stack = ht_arena_alloc(sizeof(*stack) + depth * sizeof(*pcs));
    if (stack == NULL)
        return NULL;
    stack->older = newest;
    stack->first_site = NO_SITE;
    stack->depth = depth;
    memcpy(stack->pcs, pcs, depth * sizeof(*pcs));
    put(current_index, hash, stack);
    __atomic_store_n(&newest, stack, __ATOMIC_RELEASE);
    __atomic_store_n(&stack_count, stack_count + 1, __ATOMIC_RELAXED);
    return stack;
}

static ht_site find_site(const struct stack *stack, uint32_t size_class)
{
    uint32_t id = __atomic_load_n(&stack->first_site, __ATOMIC_ACQUIRE);
    while (id != NO_SITE) {
        const struct site *site = site_at(id);
        if (site->size_class == size_class)
            return id;
        id = site->next;
    }
    return NO_SITE;
}

/* The lock is held. */
static ht_site add_site(struct stack *stack, uint32_t size_class)
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
    site_count = id + 1;
    struct site *site = site_at(id);
    site->size_class = size_class;
    site->next = stack->first_site;
    __atomic_store_n(&stack->first_site, id, __ATOMIC_RELEASE);
    return id;
}

ht_site ht_stacks_intern(const uintptr_t *pcs, unsigned depth, size_t size)
{
    uint64_t hash = hash_of(pcs, depth);
    uint32_t size_class = size_class_of(size);
    struct stack *stack = find(__atomic_load_n(&current_index, __ATOMIC_ACQUIRE), hash, pcs, depth);
    ht_site id = stack != NULL ? find_site(stack, size_class) : NO_SITE;
    if (HT_LIKELY(id != NO_SITE))
        return id;

    if (!ht_lock_take(&stacks_lock))
        return HT_SITE_OVERFLOW;
    stack = find(current_index, hash, pcs, depth);
    if (stack == NULL)
        stack = add_stack(hash, pcs, depth);
    if (stack == NULL) {
        id = HT_SITE_OVERFLOW;
    } else {
        id = find_site(stack, size_class);
        if (id == NO_SITE)
            id = add_site(stack, size_class);
    }
    ht_lock_release(&stacks_lock);
    return id;
}

static void add(uint64_t *counter, uint64_t value)
{
    __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

/* What went must never be seen before what came: a free is counted after its allocation in the same
 * order (release), and ht_stacks_each() reads it first (acquire). */
void ht_stacks_count_alloc(ht_site id, struct ht_weight weight)
{
    struct site *site = site_at(id);
    add(&site->alloc_objects, weight.objects);
    add(&site->alloc_bytes, weight.bytes);
}

void ht_stacks_count_free(ht_site id, struct ht_weight weight)
{
    struct site *site = site_at(id);
    __atomic_fetch_add(&site->free_objects, weight.objects, __ATOMIC_RELEASE);
    __atomic_fetch_add(&site->free_bytes, weight.bytes, __ATOMIC_RELEASE);
}

static int show(const struct site *site, const uintptr_t *pcs, unsigned depth,
                ht_stacks_visit *visit, void *context)
{
    struct ht_site_view view = {.pcs = pcs, .depth = depth};
    view.free_objects = __atomic_load_n(&site->free_objects, __ATOMIC_ACQUIRE);
    view.free_bytes = __atomic_load_n(&site->free_bytes, __ATOMIC_ACQUIRE);
    view.alloc_objects = __atomic_load_n(&site->alloc_objects, __ATOMIC_RELAXED);
    view.alloc_bytes = __atomic_load_n(&site->alloc_bytes, __ATOMIC_RELAXED);
    return visit(context, &view);
}

int ht_stacks_each(ht_stacks_visit *visit, void *context)
{
    static const uintptr_t overflow_pcs[] = {HT_PC_OVERFLOW};
    int r = 0;
    if (__atomic_load_n(&overflow_site.alloc_objects, __ATOMIC_RELAXED) != 0)
        r = show(&overflow_site, overflow_pcs, 1, visit, context);

    /* Not through the index: that may be outgrown, and emptied, meanwhile. */
    for (const struct stack *stack = __atomic_load_n(&newest, __ATOMIC_ACQUIRE);
         stack != NULL && r == 0; stack = stack->older) {
        uint32_t id = __atomic_load_n(&stack->first_site, __ATOMIC_ACQUIRE);
        for (; id != NO_SITE && r == 0; id = site_at(id)->next)
            r = show(site_at(id), stack->pcs, stack->depth, visit, context);
    }
    return r;
}

/* The lock is held. In place: who looks meanwhile may miss a stack, and looks again under the
 * lock. */
static void index_again(void)
{
    struct index *index = current_index;
    for (uint64_t i = 0; i < index->capacity; i++)
        __atomic_store_n(&index->slots[i], 0, __ATOMIC_RELAXED);
    for (const struct stack *stack = newest; stack != NULL; stack = stack->older)
        put(index, hash_of(stack->pcs, stack->depth), stack);
}

void ht_stacks_move(uintptr_t low, uintptr_t high, uintptr_t by)
{
    bool changed = false;
    ht_lock_take_always(&stacks_lock); /* we have the learn lock: no fork can be in between */
    for (struct stack *stack = newest; stack != NULL; stack = stack->older) {
        for (uint32_t i = 0; i < stack->depth; i++) {
            if (stack->pcs[i] - low < high - low) {
                __atomic_store_n(&stack->pcs[i], stack->pcs[i] + by, __ATOMIC_RELAXED);
                changed = true;
            }
        }
    }
    if (changed)
        index_again();
    ht_lock_release(&stacks_lock);
}

uint64_t ht_stacks_count(void)
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
