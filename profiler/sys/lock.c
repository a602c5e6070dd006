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

void ht_lock_take(struct ht_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        if (ht_lock_try(lock))
            return;
        ht_arch_pause();
    }
    while (__atomic_exchange_n(&lock->word, CONTENDED, __ATOMIC_ACQUIRE) != FREE)
        ht_os_futex_wait(&lock->word, CONTENDED, -1);
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
