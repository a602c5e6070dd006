/* Who has which tables: a thread for as long as it lives, whoever shares its memory. */
#include "test.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#include "sample/exact.h"
#include "sample/hot.h"

#define DEPTH 16

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
