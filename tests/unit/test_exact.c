/* Who has which tables: a thread for as long as it lives, whoever shares its memory. */
#include "test.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#include "intern.h"
#include "sample/exact.h"
#include "sample/hot.h"
#include "sys/arena.h"

#define DEPTH 128

static void *take(void *unused)
{
    (void)unused;
    return ht_exact_take(DEPTH);
}

static struct ht_exact *take_in_a_thread(void)
{
    pthread_t thread;
    void *taken = NULL;
    if (pthread_create(&thread, NULL, take, NULL) == 0)
        pthread_join(thread, &taken);
    return taken;
}

TEST(exact_tables_of_a_thread_that_ended_are_taken_over)
{
    struct ht_exact *own = ht_exact_take(DEPTH), *first = take_in_a_thread();
    CHECK(own != NULL && first != NULL && own != first);
    CHECK_EQ((intptr_t)ht_exact_take(DEPTH), (intptr_t)own);
    ht_exact_settle();
    CHECK_EQ(own->owner, (uintptr_t)&ht_thread);
    CHECK_EQ(first->owner, 0);
    CHECK_EQ((intptr_t)take_in_a_thread(), (intptr_t)first);
}

/* ThreadSanitizer makes vfork() a fork(). */
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#define THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define THREAD_SANITIZER 0
#endif

#if !THREAD_SANITIZER
/* It has the thread-local storage of the thread that made it, and a number of its own. */
static struct ht_exact *taken_in_child;

__attribute__((noinline)) static void take_in_vfork(void)
{
    pid_t child = vfork();
    if (child == 0) {
        taken_in_child = ht_exact_take(DEPTH);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void *be_first_seen_in_a_vfork_child(void *unused)
{
    (void)unused;
    take_in_vfork();
    ht_exact_settle(); /* the child is no more; this thread is */
    return taken_in_child->owner == (uintptr_t)&ht_thread ? NULL : taken_in_child;
}

TEST(exact_tables_taken_by_a_vfork_child_are_its_parents)
{
    pthread_t thread;
    void *lost = NULL;
    CHECK_EQ(pthread_create(&thread, NULL, be_first_seen_in_a_vfork_child, NULL), 0);
    pthread_join(thread, &lost);
    CHECK(taken_in_child != NULL);
    CHECK(lost == NULL);
}
#endif

/* A child that no handler of fork told of itself keeps what its thread had. */
TEST(exact_tables_stay_in_the_child_of_a_bare_fork)
{
    struct ht_exact *own = ht_exact_take(DEPTH);
    int status = -1;
    CHECK(own != NULL);
    pid_t child = (pid_t)syscall(SYS_fork);
    if (child == 0) {
        ht_exact_settle();
        _exit(own->owner == (uintptr_t)&ht_thread ? 0 : 1);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

static ht_site a_site(void)
{
    uintptr_t pcs[] = {0x1234, 0x5678};
    return intern(pcs, 2, 100);
}

static int add_up(void *context, const struct ht_site_view *site)
{
    *(uint64_t *)context += site->counts.alloc_objects >> HT_OBJECTS_SHIFT;
    return 0;
}

static uint64_t allocs(void)
{
    uint64_t sum = 0;
    ht_stacks_each(add_up, &sum);
    return sum;
}

TEST(exact_same_thread_same_tables)
{
    struct ht_exact *exact = ht_exact_take(DEPTH);
    CHECK(exact != NULL);
    CHECK(ht_exact_take(DEPTH) == exact);
    CHECK_EQ(exact->owner, (uintptr_t)&ht_thread);
    CHECK_EQ(exact->tid, (int)gettid());
    ht_exact_settle();
    CHECK(ht_exact_take(DEPTH) == exact);
}

static void *count_one(void *argument)
{
    struct ht_exact *exact = ht_exact_take(DEPTH);
    CHECK(exact != NULL);
    ht_tally_alloc(&exact->tally, a_site(), 100);
    *(struct ht_exact **)argument = exact;
    return NULL;
}

/* What a thread that is no more has counted stays, and its tables are another's. */
TEST(exact_tables_of_threads_that_ended)
{
    struct ht_exact *own = ht_exact_take(DEPTH), *its = NULL, *first = NULL;
    uint64_t before = allocs();
    for (unsigned i = 1; i <= 200; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, count_one, &its), 0);
        pthread_join(thread, NULL);
        CHECK(its != own);
        CHECK_EQ(allocs(), before + i);
        /* It has been joined, and is still there for a moment. */
        for (int j = 0; j < 10000 && its->owner != 0; j++) {
            ht_exact_settle();
            sched_yield();
        }
        CHECK_EQ(its->owner, 0);
        if (first == NULL)
            first = its;
        CHECK(its == first); /* one for all of them */
    }
    CHECK_EQ(own->owner, (uintptr_t)&ht_thread);
}

static pthread_barrier_t barrier;

static void *wait_with_tables(void *argument)
{
    *(struct ht_exact **)argument = ht_exact_take(DEPTH);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

TEST(exact_tables_of_threads_that_live)
{
    pthread_t threads[4];
    struct ht_exact *tables[4];
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_with_tables, &tables[i]), 0);
    pthread_barrier_wait(&barrier);
    ht_exact_settle();
    for (int i = 0; i < 4; i++) {
        CHECK(tables[i] != NULL && tables[i]->owner != 0);
        for (int j = 0; j < i; j++)
            CHECK(tables[i] != tables[j]);
    }
    /* In a child they are free, but for the forking thread's. */
    struct ht_exact *own = ht_exact_take(DEPTH);
    ht_exact_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        ht_exact_fork_child();
        bool right = own->owner == (uintptr_t)&ht_thread && own->tid == (int)gettid();
        for (int i = 0; i < 4; i++)
            right = right && tables[i]->owner == 0;
        right = right && ht_exact_take(DEPTH) == own;
        _exit(right ? 0 : 1);
    }
    ht_exact_fork_parent();
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(tables[i]->owner != 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

TEST(exact_site_is_that_of_the_stack_and_size)
{
    struct ht_exact *exact = ht_exact_take(DEPTH);
    struct ht_path_frame frame = {.after = 0x777, .hash = ht_path_hash(0, 0x777)};
    struct ht_path path = {.depth = 1, .frames = &frame};
    CHECK(ht_tree_intern(&path));
    for (int round = 0; round < 2; round++) {
        for (unsigned bits = 0; bits < 50; bits++) {
            size_t size = (size_t)1 << bits;
            CHECK_EQ(ht_exact_site(exact, frame.node, size), ht_stacks_site(frame.node, size));
        }
        CHECK_EQ(ht_exact_site(exact, frame.node, 0), ht_stacks_site(frame.node, 0));
    }
}

static void *take_none(void *argument)
{
    *(bool *)argument = ht_exact_take(DEPTH) == NULL;
    return NULL;
}

TEST(exact_takes_a_quarter_of_the_memory_at_most)
{
    bool refused = false;
    pthread_t holders[5];
    struct ht_exact *tables[5];
    pthread_t thread;
    size_t limit = ht_arena_limit();
    pthread_barrier_init(&barrier, NULL, 6);
    for (int i = 0; i < 5; i++) /* nothing is free */
        CHECK_EQ(pthread_create(&holders[i], NULL, wait_with_tables, &tables[i]), 0);
    pthread_barrier_wait(&barrier);
    ht_arena_set_limit(8 * sizeof(struct ht_exact));
    CHECK_EQ(pthread_create(&thread, NULL, take_none, &refused), 0);
    pthread_join(thread, NULL);
    ht_arena_set_limit(limit);
    CHECK(refused);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 5; i++)
        pthread_join(holders[i], NULL);
}
