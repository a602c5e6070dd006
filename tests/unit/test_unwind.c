#include "test.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "sample/frames.h"
#include "sample/unwind.h"
#include "sample/unwind_check.h"
#include "sample/unwind_learn.h"
#include "sample/unwind_rules.h"

#define DEPTH 200

static uintptr_t pcs[DEPTH + 1];
static unsigned depth;

/* Like a hook: starts at the frame that called it. */
__attribute__((noinline)) static void walk_from_caller(unsigned depth_max)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    depth = ht_unwind_walk(&caller, pcs, depth_max);
}

static bool is_cut(void)
{
    return pcs[depth - 1] == HT_PC_TRUNCATED;
}

/* Mismatches with libgcc's walk, of all walks so far. */
static uint64_t mismatches(void)
{
    return ht_unwind_check_result().mismatches;
}

TEST(unwind_before_start_knows_the_caller)
{
    walk_from_caller(DEPTH);
    CHECK_EQ(depth, 2);
    CHECK(is_cut());
}

TEST(unwind_starts_and_leaves_no_descriptor)
{
    int before = dup(0);
    const char *reason = NULL;
    CHECK(ht_unwind_start(&reason));
    CHECK(ht_unwind_check_start());
    int after = dup(0);
    close(before);
    close(after);
    CHECK_EQ(after, before + 1);
}

/* The empty asm keeps the compiler from making a loop of it, or of several levels one. */
__attribute__((noinline)) static int recurse(int levels, unsigned depth_max)
{
    int result = levels;
    if (levels == 0)
        walk_from_caller(depth_max);
    else
        result = recurse(levels - 1, depth_max);
    __asm__ volatile("" : "+r"(result));
    return result;
}

TEST(unwind_reaches_the_root)
{
    recurse(0, DEPTH);
    unsigned shallow = depth;
    CHECK(!is_cut());
    recurse(50, DEPTH);
    CHECK_EQ(depth, shallow + 50);
    CHECK(!is_cut());
    CHECK_EQ(mismatches(), 0);
}

TEST(unwind_cuts_and_says_so)
{
    recurse(100, 10);
    CHECK_EQ(depth, 11);
    CHECK(is_cut());
    CHECK_EQ(mismatches(), 0);
}

TEST(unwind_is_warm_the_second_time)
{
    uint64_t rules[2];
    for (volatile int i = 0; i < 2; i++) { /* volatile: one call site, not two */
        recurse(5, DEPTH);
        rules[i] = ht_rules_count();
    }
    CHECK_EQ(rules[0], rules[1]);
}

/* gcc realigns the stack and finds its frame by a word that it saved: CFA = [rbp - 8]. */
__attribute__((noinline)) static int realigned(int n)
{
    __attribute__((aligned(64))) volatile char wide[128 + 64];
    wide[n] = 1;
    char *moving = __builtin_alloca((size_t)n + 16);
    moving[0] = 1;
    walk_from_caller(DEPTH);
    return wide[n] + moving[0];
}

TEST(unwind_frames_that_realign_their_stack)
{
    realigned(40);
    CHECK(!is_cut());
    CHECK_EQ(mismatches(), 0);
}

static volatile sig_atomic_t handled;

static void on_signal(int signal)
{
    (void)signal;
    walk_from_caller(DEPTH);
    handled++;
}

TEST(unwind_through_a_signal)
{
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    CHECK_EQ(handled, 1);
    CHECK(!is_cut());
    CHECK_EQ(mismatches(), 0);
}

TEST(unwind_through_a_signal_on_another_stack)
{
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    CHECK_EQ(sigaltstack(&alternate, NULL), 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK_EQ(handled, 2);
    CHECK(!is_cut());
    CHECK_EQ(mismatches(), 0);
    alternate.ss_flags = SS_DISABLE;
    sigaltstack(&alternate, NULL);
}

static int compare(const void *a, const void *b)
{
    walk_from_caller(DEPTH);
    return *(const int *)a - *(const int *)b;
}

TEST(unwind_through_the_c_library)
{
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof(*numbers), compare);
    CHECK(!is_cut());
    CHECK_EQ(mismatches(), 0);
}

static void *in_thread(void *argument)
{
    recurse(20, DEPTH);
    return argument;
}

TEST(unwind_in_threads)
{
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, in_thread, NULL), 0);
        pthread_join(thread, NULL);
        CHECK(!is_cut());
    }
    CHECK_EQ(mismatches(), 0);
}

static ucontext_t main_context, coroutine;

static void in_coroutine(void)
{
    recurse(3, DEPTH);
}

TEST(unwind_on_a_coroutine)
{
    const size_t size = 64 * 1024, guard = 4096;
    char *memory = mmap(NULL, size + 2 * guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory + guard, size, PROT_READ | PROT_WRITE);
    for (volatile int i = 0; i < 2; i++) {
        getcontext(&coroutine);
        coroutine.uc_stack.ss_sp = memory + guard;
        coroutine.uc_stack.ss_size = size;
        coroutine.uc_link = &main_context;
        makecontext(&coroutine, in_coroutine, 0);
        swapcontext(&main_context, &coroutine);
        CHECK(depth >= 5);
    }
    munmap(memory, size + 2 * guard);
    recurse(1, DEPTH);
    CHECK(!is_cut());
}

/* A frame whose words are anything: nothing may fault. */
TEST(unwind_survives_nonsense)
{
    uint64_t seed = 7;
    static uintptr_t garbage[512];
    for (int round = 0; round < 20000; round++) {
        for (unsigned i = 0; i < HT_ARRAY_SIZE(garbage); i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            uintptr_t code = (uintptr_t)recurse + (seed >> 40) % 200;
            uintptr_t data = (uintptr_t)garbage + (seed >> 44) % sizeof(garbage);
            uintptr_t choices[] = {seed, seed >> 17, code, data, 0, (uintptr_t)qsort + seed % 4096};
            garbage[i] = choices[(seed >> 33) % HT_ARRAY_SIZE(choices)];
        }
        struct ht_frame from = {.pc = garbage[0], .sp = (uintptr_t)&garbage[8], .fp = garbage[1]};
        bool check = ht_unwind_check_on;
        ht_unwind_check_on = false;
        depth = ht_unwind_walk(&from, pcs, DEPTH);
        ht_unwind_check_on = check;
        CHECK(depth >= 1 && depth <= DEPTH + 1);
    }
}

TEST(unwind_forgets_rules_when_a_library_goes)
{
    CHECK(ht_rules_count() > 0);
    ht_learn_unload_begin();
    recurse(2, DEPTH); /* without the table */
    CHECK(!is_cut());
    ht_learn_unload_end();
    CHECK_EQ(ht_rules_count(), 0);
    recurse(2, DEPTH);
    CHECK(!is_cut());
    CHECK_EQ(mismatches(), 0);
}

TEST(unwind_second_tier_agrees_with_the_first)
{
    recurse(4, DEPTH);
    struct ht_frame here = HT_ARCH_CALLER_FRAME();
    uintptr_t by_rule[DEPTH + 1], by_library[DEPTH + 1];
    unsigned one = ht_unwind_walk(&here, by_rule, DEPTH);
    unsigned two = ht_learn_walk(&here, by_library, DEPTH);
    CHECK_EQ(one, two);
    for (unsigned i = 0; i < one; i++)
        CHECK_EQ(by_rule[i], by_library[i]);
}

static void *begin_to_unload(void *unused)
{
    ht_learn_unload_begin();
    return unused;
}

TEST(unwind_child_of_a_fork_ends_the_unloadings_of_other_threads)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, begin_to_unload, NULL), 0);
    pthread_join(thread, NULL);
    ht_learn_unload_begin(); /* a destructor that forks */
    CHECK_EQ(ht_rules_hidden(), 2);
    ht_learn_fork_prepare();
    ht_learn_fork_child();
    CHECK_EQ(ht_rules_hidden(), 1);
    ht_learn_unload_end();
    CHECK_EQ(ht_rules_hidden(), 0);
}
