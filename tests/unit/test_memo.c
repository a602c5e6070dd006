/* A stack in an array, of frames whose rules are ours: random calls and returns, and random words
 * written anywhere. After each step the memo and a walk of the whole stack must say the same. */
#include "test.h"

#include "sample/memo.h"
#include "sample/span.h"
#include "sample/unwind.h"
#include "sample/unwind_rules.h"

#define DEPTH_MAX 60u
#define WORDS     1024u
#define KINDS     6u
#define PLACES    40u /* of each kind */
#define STEPS     400000u

static uintptr_t words[WORDS] __attribute__((aligned(4096)));
static uint64_t seed = 20;

static uint32_t next_random(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(seed >> 33);
}

/* What a function does with its frame. Sizes are in bytes, the return address included. */
enum kind {
    PLAIN,     /* CFA = sp + size */
    CLOBBERS,  /* the same; saves rbp and uses it for something else */
    FRAME,     /* rbp = CFA - 16 */
    REALIGNED, /* rbp as well, but the CFA is in a word beside it */
    BY_STACK,  /* the CFA is in a word at rsp */
    OUTERMOST,
};

static unsigned size_of(unsigned place)
{
    return 32 + place % 5 * 16;
}

static uintptr_t lookup_of(enum kind kind, unsigned place)
{
    return 0x10000 + kind * 0x1000 + place * 16;
}

static struct ht_rule rule_of(enum kind kind, unsigned place)
{
    int size = (int)size_of(place);
    switch (kind) {
    case PLAIN:
        return (struct ht_rule){.kind = HT_RULE_SP, .cfa_offset = size};
    case CLOBBERS:
        return (struct ht_rule){
            .kind = HT_RULE_SP, .cfa_offset = size, .fp = HT_FP_AT_CFA, .fp_offset = -16};
    case FRAME:
        return (struct ht_rule){
            .kind = HT_RULE_FP, .cfa_offset = 16, .fp = HT_FP_AT_CFA, .fp_offset = -16};
    case REALIGNED:
        return (struct ht_rule){.kind = HT_RULE_FP_DEREF, .cfa_offset = -8, .fp = HT_FP_AT_FP};
    case BY_STACK:
        return (struct ht_rule){.kind = HT_RULE_SP_DEREF, .cfa_offset = 0, .deref_offset = 8};
    default:
        return (struct ht_rule){.kind = HT_RULE_END};
    }
}

/* ---- the program ---- */

struct frame {
    uintptr_t lookup, sp, fp; /* while it calls */
};

static struct frame frames[WORDS];
static unsigned frame_count;

static uintptr_t *word_at(uintptr_t address)
{
    return &words[(address - (uintptr_t)words) / sizeof(uintptr_t)];
}

static void enter(enum kind kind, unsigned place)
{
    const struct frame *caller = &frames[frame_count - 1];
    struct frame callee = {.lookup = lookup_of(kind, place), .fp = caller->fp};
    uintptr_t cfa = caller->sp;
    callee.sp = cfa - size_of(place);
    *word_at(cfa - 8) = caller->lookup + 1;
    switch (kind) {
    case CLOBBERS:
        *word_at(cfa - 16) = caller->fp;
        callee.fp = next_random() % 2 == 0 ? next_random() : caller->fp + 8;
        break;
    case FRAME:
        *word_at(cfa - 16) = caller->fp;
        callee.fp = cfa - 16;
        break;
    case REALIGNED:
        *word_at(cfa - 24) = cfa;
        *word_at(cfa - 16) = caller->fp;
        callee.fp = cfa - 16;
        break;
    case BY_STACK:
        *word_at(callee.sp) = cfa - 8;
        break;
    default:
        break;
    }
    frames[frame_count++] = callee;
}

static void call_something(void)
{
    if (frames[frame_count - 1].sp < (uintptr_t)words + 512)
        return;
    /* Few places: the same stacks come again, and others with the same layout. */
    enter(next_random() % OUTERMOST, next_random() % (next_random() % 2 == 0 ? 2 : PLACES));
}

static void begin_program(unsigned place)
{
    frame_count = 1;
    frames[0] = (struct frame){lookup_of(OUTERMOST, place), (uintptr_t)&words[WORDS - 4], 0};
}

/* ---- the comparison ---- */

static struct ht_memo *memo;
static unsigned compared, kept, not_kept, reused;

static bool agree(void)
{
    static uintptr_t pcs[DEPTH_MAX + 1];
    const struct frame *leaf = &frames[frame_count - 1];
    struct ht_frame from = {.pc = leaf->lookup + 1, .sp = leaf->sp, .fp = leaf->fp};
    struct ht_path *path = ht_memo_walk(memo, &from);
    unsigned depth = ht_unwind_walk(&from, pcs, DEPTH_MAX);
    compared++;
    if (path == NULL) {
        not_kept++;
        return true;
    }
    kept++;
    reused += path->known;
    if (path->depth != depth)
        return false;
    for (unsigned i = 0; i < depth; i++) {
        if (path->frames[i].after != pcs[depth - 1 - i] + 1)
            return false;
    }
    if (!ht_tree_intern(path))
        return false;
    uintptr_t in_tree[DEPTH_MAX + 1];
    return ht_tree_stack(path->frames[path->depth - 1].node, in_tree, DEPTH_MAX + 1) == depth &&
           memcmp(in_tree, pcs, depth * sizeof(*pcs)) == 0;
}

static void start(void)
{
    static bool started;
    const char *reason = NULL;
    ht_thread.stack_low = (uintptr_t)words;
    ht_thread.stack_high = (uintptr_t)(words + WORDS);
    begin_program(0);
    if (started) {
        ht_memo_clear(memo);
        return;
    }
    started = true;
    CHECK(ht_unwind_start(&reason));
    for (unsigned place = 0; place < PLACES; place++) {
        for (enum kind kind = PLAIN; kind <= OUTERMOST; kind++)
            ht_rules_add(lookup_of(kind, place), rule_of(kind, place));
    }
    memo = ht_memo_make(calloc(1, ht_memo_size(DEPTH_MAX)), DEPTH_MAX);
}

static void call_and_return(void)
{
    unsigned returns = next_random() % 4 == 0 ? next_random() % frame_count : next_random() % 3;
    frame_count -= (unsigned)ht_min(returns, frame_count - 1);
    for (unsigned calls = next_random() % 4; calls > 0; calls--)
        call_something();
    if (next_random() % 1000 == 0)
        begin_program(next_random() % PLACES);
}

TEST(memo_agrees_with_a_whole_walk)
{
    start();
    compared = kept = reused = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        call_and_return();
        CHECK(agree());
    }
    CHECK(kept > compared / 10 * 9);
    CHECK(reused > 2 * kept);
}

/* Whatever is written over the stack, and whatever rbp holds. */
TEST(memo_agrees_when_words_change)
{
    start();
    compared = kept = not_kept = reused = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        call_and_return();
        struct frame *leaf = &frames[frame_count - 1];
        uintptr_t fp = leaf->fp, *changed = NULL, was = 0;
        if (next_random() % 3 == 0) {
            changed = &words[next_random() % WORDS];
            was = *changed;
            /* Something that could be there: another word of the stack, or nearly the same. */
            *changed = next_random() % 2 == 0 ? words[next_random() % WORDS]
                                              : was + (next_random() % 5 - 2) * 8;
        }
        if (next_random() % 3 == 0)
            leaf->fp = next_random() % 2 == 0 ? words[next_random() % WORDS] : fp + 16;
        CHECK(agree());
        leaf->fp = fp;
        if (changed != NULL && next_random() % 2 == 0)
            *changed = was;
        CHECK(agree());
    }
    CHECK(kept > compared / 4);
    CHECK(not_kept > 1000);
    CHECK(reused > kept);
}

/* A frame that lives on rbp, under one that saved it, under one that does not use it: who changes
 * the saved word changes where the walk goes. */
TEST(memo_saved_frame_pointer_that_is_used)
{
    start();
    enter(FRAME, 0);
    uintptr_t right = frames[1].fp;
    enter(PLAIN, 1);
    enter(CLOBBERS, 2);
    enter(PLAIN, 3);
    CHECK(agree());
    reused = 0;
    CHECK(agree());
    CHECK_EQ(reused, 5);
    uintptr_t *saved = word_at(frames[2].sp - 16);
    CHECK_EQ(*saved, right);
    *saved = right + 16; /* another frame, or none */
    CHECK(agree());
    *saved = right;
    CHECK(agree());
    reused = 0;
    frames[4].fp = 12345; /* nobody uses that one */
    CHECK(agree());
    CHECK_EQ(reused, 5);
}

TEST(memo_word_of_a_realigned_frame)
{
    start();
    enter(PLAIN, 0);
    enter(PLAIN, 0);
    enter(REALIGNED, 1);
    enter(PLAIN, 2);
    CHECK(agree());
    reused = 0;
    CHECK(agree());
    CHECK_EQ(reused, 5);
    uintptr_t *cfa = word_at(frames[2].sp - 24);
    CHECK_EQ(*cfa, frames[2].sp);
    *cfa = frames[1].sp; /* as if the frame in between were not there */
    reused = 0;
    CHECK(agree());
    CHECK(reused < 5);
}

TEST(memo_is_forgotten_with_the_rules)
{
    start();
    enter(PLAIN, 0);
    CHECK(agree());
    reused = 0;
    CHECK(agree());
    CHECK_EQ(reused, 2);
    ht_rules_hide();
    not_kept = 0;
    CHECK(agree());
    CHECK_EQ(not_kept, 1);
    ht_rules_show(1);
    reused = 0;
    CHECK(agree());
    CHECK_EQ(reused, 0);
    CHECK(agree());
    CHECK_EQ(reused, 2);
}

TEST(memo_not_of_a_stack_that_is_cut)
{
    start();
    for (unsigned i = 0; i < DEPTH_MAX - 1; i++)
        enter(PLAIN, 0);
    not_kept = 0;
    CHECK(agree());
    CHECK_EQ(not_kept, 0);
    enter(PLAIN, 0);
    CHECK(agree());
    CHECK_EQ(not_kept, 1);
    frame_count--;
    CHECK(agree());
    CHECK_EQ(not_kept, 1);
}

/* What lies on a stack that is not the thread's own may be unmapped at any time. */
TEST(memo_not_of_another_stack)
{
    start();
    enter(PLAIN, 0);
    ht_thread.stack_low = 0;
    ht_thread.stack_high = 0;
    not_kept = 0;
    CHECK(agree());
    CHECK_EQ(not_kept, 1);
}
