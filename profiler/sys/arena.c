#include "sys/arena.h"

#include "sys/lock.h"
#include "sys/os.h"

#include "sys/poison.h"

#define CHUNK         ((size_t)256 * 1024)
#define LIMIT_DEFAULT ((size_t)64 * 1024 * 1024)
#define ALIGNMENT     16

static size_t limit = LIMIT_DEFAULT;
static size_t used, peak;       /* of all */
static size_t tables;           /* of them: for ht_arena_alloc() and tables */
static unsigned long fail_from; /* counts down to 1, then every request fails; 0: none does */

static struct ht_lock arena_lock; /* rank HT_RANK_ARENA; guards next and end */
static char *next, *end;

void ht_arena_set_limit(size_t limit_bytes)
{
    __atomic_store_n(&limit, limit_bytes, __ATOMIC_RELAXED);
}

size_t ht_arena_limit(void)
{
    return __atomic_load_n(&limit, __ATOMIC_RELAXED);
}

size_t ht_arena_used(void)
{
    return __atomic_load_n(&used, __ATOMIC_RELAXED);
}

size_t ht_arena_peak(void)
{
    return __atomic_load_n(&peak, __ATOMIC_RELAXED);
}

void ht_arena_fail_from(unsigned long n)
{
    __atomic_store_n(&fail_from, n, __ATOMIC_RELAXED);
}

static bool test_says_fail(void)
{
    unsigned long n = __atomic_load_n(&fail_from, __ATOMIC_RELAXED);
    if (HT_LIKELY(n == 0))
        return false;
    if (n > 1)
        __atomic_store_n(&fail_from, n - 1, __ATOMIC_RELAXED);
    return n == 1;
}

#define RESERVE_LEAST ((size_t)2560 * 1024)

size_t ht_arena_table_limit(void)
{
    size_t all = ht_arena_limit();
    size_t reserve = ht_max(all / 8, RESERVE_LEAST);
    return all > reserve ? all - reserve : 0;
}

static void raise_peak(size_t now)
{
    size_t before = __atomic_load_n(&peak, __ATOMIC_RELAXED);
    while (now > before && !__atomic_compare_exchange_n(&peak, &before, now, true, __ATOMIC_RELAXED,
                                                        __ATOMIC_RELAXED))
        ;
}

/* What is mapped, for ht_arena_each(); more than fits is not told of. */
static struct range {
    uintptr_t address; /* 0: free; 1: being filled */
    size_t size;
} ranges[HT_ARENA_RANGES];

static void remember(uintptr_t address, size_t size)
{
    for (unsigned i = 0; i < HT_ARENA_RANGES; i++) {
        uintptr_t none = 0;
        if (!__atomic_compare_exchange_n(&ranges[i].address, &none, 1, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue;
        __atomic_store_n(&ranges[i].size, size, __ATOMIC_RELAXED);
        __atomic_store_n(&ranges[i].address, address, __ATOMIC_RELEASE);
        return;
    }
}

static void forget(uintptr_t address)
{
    for (unsigned i = 0; i < HT_ARENA_RANGES; i++) {
        if (__atomic_load_n(&ranges[i].address, __ATOMIC_RELAXED) == address) {
            __atomic_store_n(&ranges[i].address, 0, __ATOMIC_RELEASE);
            return;
        }
    }
}

void ht_arena_each(void (*take)(uintptr_t address, size_t size, void *context), void *context)
{
    for (unsigned i = 0; i < HT_ARENA_RANGES; i++) {
        uintptr_t address = __atomic_load_n(&ranges[i].address, __ATOMIC_ACQUIRE);
        if (address > 1)
            take(address, __atomic_load_n(&ranges[i].size, __ATOMIC_RELAXED), context);
    }
}

static void *map_pages(size_t size)
{
    size_t now = __atomic_add_fetch(&used, size, __ATOMIC_RELAXED);
    void *pages = now <= ht_arena_limit() ? ht_os_map(size) : NULL;
    if (pages == NULL) {
        __atomic_sub_fetch(&used, size, __ATOMIC_RELAXED);
    } else {
        remember((uintptr_t)pages, size);
        raise_peak(now);
    }
    return pages;
}

static void *map_table_pages(size_t size)
{
    size_t now = __atomic_add_fetch(&tables, size, __ATOMIC_RELAXED);
    void *pages = now <= ht_arena_table_limit() ? map_pages(size) : NULL;
    if (pages == NULL)
        __atomic_sub_fetch(&tables, size, __ATOMIC_RELAXED);
    return pages;
}

unsigned ht_arena_table_fullness(void)
{
    size_t limit_now = ht_arena_table_limit();
    size_t now = __atomic_load_n(&tables, __ATOMIC_RELAXED);
    return limit_now == 0 ? HT_ARENA_FULL
                          : (unsigned)ht_min(now * HT_ARENA_FULL / limit_now, HT_ARENA_FULL);
}

void *ht_arena_map(size_t size)
{
    return test_says_fail() ? NULL : map_pages(ht_round_up(size, HT_PAGE));
}

void *ht_arena_map_table(size_t size)
{
    return test_says_fail() ? NULL : map_table_pages(ht_round_up(size, HT_PAGE));
}

void ht_arena_unmap(void *address, size_t size)
{
    if (address == NULL)
        return;
    size = ht_round_up(size, HT_PAGE);
    forget((uintptr_t)address);
    ht_os_unmap(address, size);
    __atomic_sub_fetch(&used, size, __ATOMIC_RELAXED);
}

void ht_arena_unmap_table(void *address, size_t size)
{
    ht_arena_unmap(address, size);
    if (address != NULL)
        __atomic_sub_fetch(&tables, ht_round_up(size, HT_PAGE), __ATOMIC_RELAXED);
}

void ht_arena_retire(void *address, size_t size)
{
    size = ht_round_up(size, HT_PAGE);
    ht_os_discard(address, size);
    __atomic_sub_fetch(&used, size, __ATOMIC_RELAXED);
}

void ht_arena_retire_table(void *address, size_t size)
{
    ht_arena_retire(address, size);
    __atomic_sub_fetch(&tables, ht_round_up(size, HT_PAGE), __ATOMIC_RELAXED);
}

void *ht_arena_alloc(size_t size)
{
    if (test_says_fail())
        return NULL;
    size = ht_round_up(size, ALIGNMENT);
    if (size > CHUNK / 4)
        return map_table_pages(ht_round_up(size, HT_PAGE));
    if (!ht_lock_take(&arena_lock))
        return NULL;
    if ((size_t)(end - next) < size) {
        char *chunk = map_table_pages(CHUNK);
        if (chunk == NULL) {
            ht_lock_release(&arena_lock);
            return NULL;
        }
        next = chunk;
        end = chunk + CHUNK;
    }
    void *result = next;
    next += size;
    ht_lock_release(&arena_lock);
    return result;
}

void ht_arena_fork_prepare(void)
{
    ht_lock_take_always(&arena_lock);
}

void ht_arena_fork_parent(void)
{
    ht_lock_release(&arena_lock);
}

void ht_arena_fork_child(void)
{
    ht_lock_reset(&arena_lock);
}
