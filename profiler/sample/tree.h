/* tree.h: the call tree: every distinct stack that was ever sampled, as a path from the root.
 *
 * A node is a place: a lookup address (frames.h) and the node of its caller. Stacks that begin
 * alike share their beginning: real programs have 3 to 6 nodes a stack, however deep it is. Nothing
 * is ever forgotten, and a node keeps its id. A node costs 16 bytes, and 6 to 13 in the index.
 *
 * Finding takes no lock; adding does (rank HT_RANK_TREE). The index finds a node by the hash of the
 * whole path to it, so that a stack is found by one look-up of its leaf; the pcs are then compared
 * up to the frames that the caller knows already. The hash alone is never believed. */
#ifndef HT_SAMPLE_TREE_H
#define HT_SAMPLE_TREE_H

#include "sys/compiler.h"

typedef uint32_t ht_node;

#define HT_NODE_ROOT ((ht_node)0) /* stands above the outermost frames; no place */
#define HT_NODES_MAX (UINT32_C(1) << 26)

/* A frame of a path. `slot` and `fp` are the business of who walks (memo.h). */
struct ht_path_frame {
    uintptr_t slot;
    uintptr_t after; /* the lookup address + 1: for most frames, the return address */
    uintptr_t fp;
    uint64_t hash; /* of the path to it */
    ht_node node;
    bool needs_fp;
};

/* A stack, outermost frame first: all frames have their addresses and hashes, and the first `known`
 * their nodes. The array is the caller's. */
struct ht_path {
    unsigned depth, known;
    struct ht_path_frame *frames;
};

/* The hash of a path by that of its beginning: a multiply by 2^64 / golden ratio, whose high half
 * depends on all bits below, and that half onto the low one. The root's is 0. */
static inline uint64_t ht_path_hash(uint64_t hash, uintptr_t after)
{
    hash = (hash ^ after) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

/* Finds or adds the stack and fills in all its nodes. False when no memory is left, or a
 * fork keeps the lock: `known` tells then how far it came. Context: sample. */
bool ht_tree_intern(struct ht_path *path);

/* Writes the stack that ends in this node, leaf first, and returns its depth, at most
 * `depth_max`. */
unsigned ht_tree_stack(ht_node node, uintptr_t *pcs, unsigned depth_max);

/* Nodes have the ids 1 to this. */
uint32_t ht_tree_count(void);

/* Nodes lie in chunks. All is written before the node is published, but for `pc`, which
 * ht_tree_move() changes, and `mark`, which is the business of stacks.c and 0 in a new node; both
 * are atomic. A caller's id is below its callees'. */
#define HT_TREE_CHUNK 4096u

struct ht_tree_node {
    uintptr_t pc;
    ht_node caller;
    uint32_t mark;
};

extern HT_HIDDEN struct ht_tree_node *ht_tree_chunks[HT_NODES_MAX / HT_TREE_CHUNK];

static inline struct ht_tree_node *ht_tree_node(ht_node id)
{
    struct ht_tree_node *chunk =
        __atomic_load_n(&ht_tree_chunks[id / HT_TREE_CHUNK], __ATOMIC_ACQUIRE);
    return &chunk[id % HT_TREE_CHUNK];
}

/* Adds `by` to every address in [low, high): that code is gone, and what is sampled there from now
 * on belongs to other nodes. Takes the lock; who reads meanwhile may see either. */
void ht_tree_move(uintptr_t low, uintptr_t high, uintptr_t by);

/* Around a fork, in rank order (control/fork.c). */
void ht_tree_fork_prepare(void);
void ht_tree_fork_parent(void);
void ht_tree_fork_child(void);

#endif
