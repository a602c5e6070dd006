#include "sys/lock.h"

#include "sys/arch.h"
#include "sys/os.h"

#include "sys/poison.h"

enum { FREE, HELD, CONTENDED };

/* About a microsecond: longer than any of our locks is held when nothing is scheduled out. */
#define SPINS 100

bool ht_lock_try(struct ht_lock *lock)
{
    uint32_t expected = FREE;
    return __atomic_compare_exchange_n(&lock->word, &expected, HELD, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static bool spin(struct ht_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        if (ht_lock_try(lock))
            return true;
        ht_arch_pause();
    }
    return false;
}

/* NO_FORK, or how the one that holds the locks is getting on. */
static uint32_t fork_state;

enum { NO_FORK, FORK_GOES_ON, FORK_IS_STUCK };

/* Whether the fork that holds the lock, if it is one, is waiting for something that this thread may
 * have. */
static bool is_hopeless(int64_t since)
{
    uint32_t state = __atomic_load_n(&fork_state, __ATOMIC_ACQUIRE);
    if (state == FORK_GOES_ON && ht_os_steady_nanos() - since >= HT_LOCK_PATIENCE_NANOS &&
        __atomic_compare_exchange_n(&fork_state, &state, FORK_IS_STUCK, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        return true;
    return state == FORK_IS_STUCK;
}

bool ht_lock_take(struct ht_lock *lock)
{
    if (spin(lock))
        return true;
    int64_t since = ht_os_steady_nanos();
    while (__atomic_exchange_n(&lock->word, CONTENDED, __ATOMIC_ACQUIRE) != FREE) {
        if (is_hopeless(since))
            return false;
        ht_os_futex_wait(&lock->word, CONTENDED, HT_LOCK_PATIENCE_NANOS);
    }
    return true;
}

void ht_lock_take_always(struct ht_lock *lock)
{
    if (spin(lock))
        return;
    while (__atomic_exchange_n(&lock->word, CONTENDED, __ATOMIC_ACQUIRE) != FREE)
        ht_os_futex_wait(&lock->word, CONTENDED, -1);
}

bool ht_lock_take_within(struct ht_lock *lock, int64_t nanos)
{
    if (spin(lock))
        return true;
    int64_t until = ht_os_steady_nanos() + nanos;
    while (__atomic_exchange_n(&lock->word, CONTENDED, __ATOMIC_ACQUIRE) != FREE) {
        int64_t left = until - ht_os_steady_nanos();
        if (left <= 0)
            return false;
        ht_os_futex_wait(&lock->word, CONTENDED, left);
    }
    return true;
}

void ht_lock_release(struct ht_lock *lock)
{
    if (__atomic_exchange_n(&lock->word, FREE, __ATOMIC_RELEASE) == CONTENDED)
        ht_os_futex_wake(&lock->word, 1);
}

void ht_lock_reset(struct ht_lock *lock)
{
    __atomic_store_n(&lock->word, FREE, __ATOMIC_RELEASE);
}

void ht_lock_fork_begin(void)
{
    __atomic_store_n(&fork_state, FORK_GOES_ON, __ATOMIC_RELEASE);
}

void ht_lock_fork_end(void)
{
    __atomic_store_n(&fork_state, NO_FORK, __ATOMIC_RELEASE);
}
