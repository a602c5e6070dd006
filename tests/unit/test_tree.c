#include "test.h"

#include "sample/frames.h"
#include "sample/tree.h"
#include "sys/arena.h"

#define DEPTH   20
#define STACKS  30000
#define THREADS 4

struct stack {
    struct ht_path path;
    struct ht_path_frame frames[DEPTH];
};

static void hash(struct stack *stack)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < DEPTH; i++)
        stack->frames[i].hash = hash = ht_path_hash(hash, stack->frames[i].after);
}

/* Frame i of stack n depends on n / 2^(DEPTH - i): those near the root are shared. */
static void make_stack(struct stack *stack, uint64_t n)
{
    stack->path = (struct ht_path){.depth = DEPTH, .frames = stack->frames};
    for (unsigned i = 0; i < DEPTH; i++)
        stack->frames[i].after = 0x400000 + (n >> (DEPTH - 1 - i)) * 7 + i;
    hash(stack);
}

static ht_node leaf_of(const struct stack *stack)
{
    return stack->frames[DEPTH - 1].node;
}

static bool is_in_tree(const struct stack *stack)
{
    uintptr_t pcs[DEPTH + 1];
    if (ht_tree_stack(leaf_of(stack), pcs, DEPTH + 1) != DEPTH)
        return false;
    for (unsigned i = 0; i < DEPTH; i++) {
        if (pcs[i] + 1 != stack->frames[DEPTH - 1 - i].after)
            return false;
    }
    return true;
}

TEST(tree_shares_what_is_common)
{
    static struct stack first, second;
    make_stack(&first, 0);
    CHECK(ht_tree_intern(&first.path));
    CHECK_EQ(ht_tree_count(), DEPTH);
    make_stack(&second, 0);
    second.frames[DEPTH - 1].after ^= 1;
    hash(&second);
    CHECK(ht_tree_intern(&second.path));
    CHECK_EQ(ht_tree_count(), DEPTH + 1);
    CHECK_EQ(second.frames[DEPTH - 2].node, first.frames[DEPTH - 2].node);
    CHECK(leaf_of(&second) != leaf_of(&first));
    CHECK(is_in_tree(&first));
    CHECK(is_in_tree(&second));
}

TEST(tree_ids_stay)
{
    static ht_node leaves[STACKS];
    struct stack stack;
    for (unsigned n = 0; n < STACKS; n++) {
        make_stack(&stack, n);
        CHECK(ht_tree_intern(&stack.path));
        leaves[n] = leaf_of(&stack);
    }
    uint32_t count = ht_tree_count();
    for (unsigned n = 0; n < STACKS; n++) {
        make_stack(&stack, n);
        CHECK(ht_tree_intern(&stack.path));
        CHECK_EQ(leaf_of(&stack), leaves[n]);
        CHECK(is_in_tree(&stack));
    }
    CHECK_EQ(ht_tree_count(), count);
}

/* A path whose beginning is known already: what is kept of a walk. */
TEST(tree_goes_on_from_what_is_known)
{
    struct stack stack, again;
    for (unsigned n = 0; n < 1000; n++) {
        make_stack(&stack, n * 31 + 7777777);
        CHECK(ht_tree_intern(&stack.path));
        again = stack;
        again.path = (struct ht_path){.depth = DEPTH, .known = n % DEPTH, .frames = again.frames};
        for (unsigned i = n % DEPTH; i < DEPTH; i++)
            again.frames[i].node = 0;
        uint32_t count = ht_tree_count();
        CHECK(ht_tree_intern(&again.path));
        CHECK_EQ(ht_tree_count(), count);
        for (unsigned i = 0; i < DEPTH; i++)
            CHECK_EQ(again.frames[i].node, stack.frames[i].node);
        /* The same end under another beginning is another stack. */
        if (n % DEPTH > 0) {
            again.frames[n % DEPTH - 1].after ^= UINT64_C(1) << 40;
            hash(&again);
            again.path.known = n % DEPTH - 1;
            CHECK(ht_tree_intern(&again.path));
            CHECK(leaf_of(&again) != leaf_of(&stack));
            CHECK(is_in_tree(&again));
        }
    }
}

/* Where there is memory for a larger index, and not for what makes filling it quick. */
TEST(tree_grows_when_memory_is_short)
{
    struct stack stack;
    static ht_node leaves[3 * STACKS];
    size_t limit = ht_arena_limit(), reserve = (size_t)2560 * 1024;
    for (uint64_t n = 0; n < 3 * STACKS; n++) {
        make_stack(&stack, n + 5000000);
        ht_arena_set_limit(ht_arena_used() + reserve + 600 * 1024);
        leaves[n] = ht_tree_intern(&stack.path) ? leaf_of(&stack) : 0;
    }
    ht_arena_set_limit(limit);
    for (uint64_t n = 0; n < 3 * STACKS; n++) {
        make_stack(&stack, n + 5000000);
        CHECK(ht_tree_intern(&stack.path));
        CHECK(leaves[n] == 0 || leaves[n] == leaf_of(&stack));
        CHECK(is_in_tree(&stack));
    }
}

TEST(tree_stack_of_a_short_buffer)
{
    struct stack stack;
    uintptr_t pcs[3] = {0, 0, 42};
    make_stack(&stack, 5);
    CHECK(ht_tree_intern(&stack.path));
    CHECK_EQ(ht_tree_stack(leaf_of(&stack), pcs, 2), 2);
    CHECK_EQ(pcs[0] + 1, stack.frames[DEPTH - 1].after);
    CHECK_EQ(pcs[2], 42);
}

static ht_node seen[THREADS][5000];

static void *intern_all(void *argument)
{
    ht_node *leaves = argument;
    struct stack stack;
    for (uint64_t i = 0; i < 5000; i++) {
        make_stack(&stack, i + 99000000);
        CHECK(ht_tree_intern(&stack.path));
        leaves[i] = leaf_of(&stack);
    }
    return NULL;
}

TEST(tree_threads_agree)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, intern_all, seen[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 1; i < THREADS; i++)
        CHECK_EQ(memcmp(seen[0], seen[i], sizeof(seen[0])), 0);
}

/* A library goes: its places have other addresses, and what comes to the old ones is new. */
TEST(tree_moves_what_is_gone)
{
    struct stack stack, after;
    const uintptr_t by = UINT64_C(1) << 60;
    make_stack(&stack, 123456);
    stack.frames[DEPTH - 2].after = 0x7f0000001000;
    hash(&stack);
    CHECK(ht_tree_intern(&stack.path));
    ht_node leaf = leaf_of(&stack);
    ht_tree_move(0x7f0000000000, 0x7f0000002000, by);
    after = stack;
    after.path = (struct ht_path){.depth = DEPTH, .frames = after.frames};
    CHECK(ht_tree_intern(&after.path));
    CHECK(leaf_of(&after) != leaf);
    CHECK_EQ(after.frames[DEPTH - 3].node, stack.frames[DEPTH - 3].node);
    after.path.known = 0;
    after.frames[DEPTH - 2].after += by;
    hash(&after);
    CHECK(ht_tree_intern(&after.path));
    CHECK_EQ(leaf_of(&after), leaf);
}
