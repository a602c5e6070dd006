#include "sample/tree.h"

#include "sample/frames.h"
#include "sys/arena.h"
#include "sys/lock.h"

#include "sys/poison.h"

#define INDEX_FIRST 4096u

/* Open addressing, linear probing, power-of-two capacity, insert only:
 *   used <= capacity * 5 / 8, or 7 / 8 where memory is short, so a probe always ends.
 * A slot is 0 or has the node's id in its low 26 bits and 6 bits of the hash above; another bit of
 * the hash would be worth less than the half of a cache line that 4 bytes save. An index that was
 * outgrown is emptied but stays mapped: who still looks into it finds nothing and asks again under
 * the lock. */
struct index {
    uint32_t capacity;
    unsigned shift; /* 64 - log2(capacity) */
    uint32_t *slots;
};

#define TAG_SHIFT 26
#define ID_MASK   ((UINT32_C(1) << TAG_SHIFT) - 1)

static struct ht_lock tree_lock; /* rank HT_RANK_TREE; guards every write below */
static struct index *current_index;
static uint32_t node_count;
struct ht_tree_node *ht_tree_chunks[HT_NODES_MAX / HT_TREE_CHUNK];

static uintptr_t pc_of(const struct ht_tree_node *node)
{
    return __atomic_load_n(&node->pc, __ATOMIC_RELAXED);
}

uint32_t ht_tree_count(void)
{
    return __atomic_load_n(&node_count, __ATOMIC_ACQUIRE);
}

unsigned ht_tree_stack(ht_node node, uintptr_t *pcs, unsigned depth_max)
{
    unsigned depth = 0;
    for (; node != HT_NODE_ROOT && depth < depth_max; node = ht_tree_node(node)->caller)
        pcs[depth++] = pc_of(ht_tree_node(node));
    return depth;
}

/* ---- the index ---- */

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)hash << TAG_SHIFT;
}

/* Whether this node is the path's frame `i`, and its callers the frames before it, as far as the
 * known ones; then the frames have these nodes. */
static inline bool is_path(ht_node id, struct ht_path *path, unsigned i)
{
    struct ht_path_frame *first = path->frames + path->known;
    for (struct ht_path_frame *frame = path->frames + i;; frame--) {
        const struct ht_tree_node *node = ht_tree_node(id);
        if (pc_of(node) + 1 != frame->after)
            return false;
        frame->node = id;
        id = node->caller;
        if (frame == first)
            return id == (frame == path->frames ? HT_NODE_ROOT : frame[-1].node);
        if (HT_UNLIKELY(id == HT_NODE_ROOT))
            return false;
    }
}

/* Finds the node of the path's frame `i`, and of those before it. */
static inline bool find(const struct index *index, struct ht_path *path, unsigned i)
{
    if (HT_UNLIKELY(index == NULL))
        return false;
    uint64_t hash = path->frames[i].hash;
    uint32_t tag = tag_of(hash), mask = index->capacity - 1;
    const uint32_t *slots = index->slots;
    for (uint32_t at = (uint32_t)(hash >> index->shift);; at = (at + 1) & mask) {
        uint32_t slot = __atomic_load_n(&slots[at], __ATOMIC_ACQUIRE);
        if (((slot ^ tag) & ~ID_MASK) == 0 && HT_LIKELY(slot != 0) &&
            is_path(slot & ID_MASK, path, i))
            return true;
        if (slot == 0)
            return false;
    }
}

static void put(struct index *index, uint64_t hash, ht_node id)
{
    uint32_t at = (uint32_t)(hash >> index->shift);
    while (index->slots[at] != 0)
        at = (at + 1) & (index->capacity - 1);
    __atomic_store_n(&index->slots[at], id | tag_of(hash), __ATOMIC_RELEASE);
}

/* A node's hash from nothing but the tree. The lock is held. */
static uint64_t hash_of(ht_node id)
{
    static uintptr_t pcs[HT_DEPTH_MAX + 1];
    unsigned depth = ht_tree_stack(id, pcs, HT_ARRAY_SIZE(pcs));
    uint64_t hash = 0;
    while (depth-- > 0)
        hash = ht_path_hash(hash, pcs[depth] + 1);
    return hash;
}

/* The lock is held. A caller's hash was computed before its callees'; where there is no memory to
 * keep them all for a moment, it is computed again. */
static void put_all(struct index *index)
{
    size_t size = ((size_t)node_count + 1) * sizeof(uint64_t);
    uint64_t *hashes = ht_arena_map(size);
    for (ht_node id = 1; id <= node_count; id++) {
        const struct ht_tree_node *node = ht_tree_node(id);
        uint64_t callers = hashes != NULL ? hashes[node->caller] : hash_of(node->caller);
        uint64_t hash = ht_path_hash(callers, pc_of(node) + 1);
        if (hashes != NULL)
            hashes[id] = hash;
        put(index, hash, id);
    }
    ht_arena_unmap(hashes, size);
}

static struct index *new_index(uint32_t capacity)
{
    size_t size = capacity * sizeof(uint32_t);
    uint32_t *slots = ht_arena_map_table(size);
    struct index *index = slots == NULL ? NULL : ht_arena_alloc(sizeof(*index));
    if (index == NULL) {
        ht_arena_unmap_table(slots, size);
        return NULL;
    }
    *index = (struct index){
        .capacity = capacity, .shift = (unsigned)__builtin_clz(capacity) + 33, .slots = slots};
    return index;
}

/* Makes room for one more node. The lock is held. */
static bool make_room(void)
{
    struct index *old = current_index;
    if (old != NULL && node_count < old->capacity / 8 * 5)
        return true;
    struct index *grown = NULL;
    if (old == NULL || old->capacity < 2 * HT_NODES_MAX)
        grown = new_index(old == NULL ? INDEX_FIRST : old->capacity * 2);
    if (grown == NULL)
        return old != NULL &&
               node_count < old->capacity / 8 * 7; /* longer probes, that still end */
    put_all(grown);
    __atomic_store_n(&current_index, grown, __ATOMIC_RELEASE);
    if (old != NULL)
        ht_arena_retire_table(old->slots, old->capacity * sizeof(*old->slots));
    return true;
}

/* ---- adding ---- */

/* The lock is held. */
static bool add_node(struct ht_path *path, unsigned i)
{
    ht_node id = node_count + 1;
    if (id >= HT_NODES_MAX || !make_room())
        return false;
    if (ht_tree_chunks[id / HT_TREE_CHUNK] == NULL) {
        struct ht_tree_node *chunk = ht_arena_alloc(HT_TREE_CHUNK * sizeof(*chunk));
        if (chunk == NULL)
            return false;
        __atomic_store_n(&ht_tree_chunks[id / HT_TREE_CHUNK], chunk, __ATOMIC_RELEASE);
    }
    struct ht_path_frame *frame = &path->frames[i];
    struct ht_tree_node *node = ht_tree_node(id);
    node->caller = i == 0 ? HT_NODE_ROOT : frame[-1].node;
    __atomic_store_n(&node->pc, frame->after - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&node_count, id, __ATOMIC_RELEASE);
    put(current_index, frame->hash, id);
    frame->node = id;
    return true;
}

/* A comparison that failed has left other nodes in what is not known. */
HT_COLD static bool add(struct ht_path *path)
{
    if (!ht_lock_take(&tree_lock))
        return false;
    if (find(current_index, path, path->depth - 1))
        path->known = path->depth;
    while (path->known < path->depth &&
           (find(current_index, path, path->known) || add_node(path, path->known)))
        path->known++;
    ht_lock_release(&tree_lock);
    return path->known == path->depth;
}

bool ht_tree_intern(struct ht_path *path)
{
    if (path->known == path->depth)
        return true;
    if (HT_UNLIKELY(
            !find(__atomic_load_n(&current_index, __ATOMIC_ACQUIRE), path, path->depth - 1)))
        return add(path);
    path->known = path->depth;
    return true;
}

/* The index is filled again in place: who looks meanwhile may miss a node, and looks again under
 * the lock. */
void ht_tree_move(uintptr_t low, uintptr_t high, uintptr_t by)
{
    bool changed = false;
    ht_lock_take_always(&tree_lock); /* we have the learn lock: no fork can be in between */
    for (ht_node id = 1; id <= node_count; id++) {
        struct ht_tree_node *node = ht_tree_node(id);
        if (node->pc - low < high - low) {
            __atomic_store_n(&node->pc, node->pc + by, __ATOMIC_RELAXED);
            changed = true;
        }
    }
    if (changed) {
        for (uint32_t i = 0; i < current_index->capacity; i++)
            __atomic_store_n(&current_index->slots[i], 0, __ATOMIC_RELAXED);
        put_all(current_index);
    }
    ht_lock_release(&tree_lock);
}

void ht_tree_fork_prepare(void)
{
    ht_lock_take_always(&tree_lock);
}

void ht_tree_fork_parent(void)
{
    ht_lock_release(&tree_lock);
}

void ht_tree_fork_child(void)
{
    ht_lock_reset(&tree_lock);
}
