#include "test.h"

#include "sys/lock.h"

#define THREADS 4
#define ROUNDS  200000

static struct ht_lock lock;
static long shared;

static void *count(void *argument)
{
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        ht_lock_take(&lock);
        shared++; /* lost updates would show */
        ht_lock_release(&lock);
    }
    return NULL;
}

TEST(lock_excludes)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(shared, THREADS * (long)ROUNDS);
    CHECK_EQ(lock.word, 0);
}

TEST(lock_try_says_no_when_held)
{
    CHECK(ht_lock_try(&lock));
    CHECK(!ht_lock_try(&lock));
    ht_lock_release(&lock);
    CHECK(ht_lock_try(&lock));
    ht_lock_reset(&lock);
    CHECK_EQ(lock.word, 0);
}

TEST(lock_within_a_time)
{
    CHECK(ht_lock_take_within(&lock, 0));
    CHECK(!ht_lock_take_within(&lock, 0));
    CHECK(!ht_lock_take_within(&lock, 5000000));
    ht_lock_release(&lock);
    CHECK(ht_lock_take_within(&lock, 1000000000));
    ht_lock_reset(&lock);
}

static void *take_twice(void *ret_taken)
{
    bool *taken = ret_taken;
    taken[0] = ht_lock_take(&lock); /* waits, and gives up */
    taken[1] = ht_lock_take(&lock); /* does not wait */
    return NULL;
}

TEST(lock_nobody_waits_for_a_stuck_fork)
{
    pthread_t thread;
    bool taken[2] = {true, true};
    ht_lock_take_always(&lock);
    ht_lock_fork_begin();
    CHECK_EQ(pthread_create(&thread, NULL, take_twice, taken), 0);
    pthread_join(thread, NULL);
    CHECK(!taken[0]);
    CHECK(!taken[1]);
    ht_lock_fork_end();
    ht_lock_release(&lock);
    CHECK(ht_lock_take(&lock));
    ht_lock_release(&lock);
    CHECK_EQ(lock.word, 0);
}
