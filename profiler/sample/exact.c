#include "sample/exact.h"

#include "sample/hot.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

static struct ht_lock exact_lock; /* rank HT_RANK_EXACT; guards all below */
static struct ht_exact *newest;
static size_t bytes;

/* What a thread at this address left, or else one that is free. The lock is held. */
static struct ht_exact *find(uintptr_t owner)
{
    struct ht_exact *found = NULL;
    for (struct ht_exact *exact = newest; exact != NULL; exact = exact->older) {
        if (exact->owner == owner)
            return exact;
        if (exact->owner == 0)
            found = exact;
    }
    return found;
}

/* The lock is held. */
static struct ht_exact *make(unsigned depth_max)
{
    size_t size = sizeof(struct ht_exact) + ht_memo_size(depth_max);
    if (bytes + size > ht_arena_limit() / 4)
        return NULL;
    struct ht_exact *exact = ht_arena_alloc(size);
    if (exact == NULL)
        return NULL;
    bytes += size;
    exact->memo = ht_memo_make(exact + 1, depth_max);
    exact->older = newest;
    newest = exact;
    ht_tally_publish(&exact->tally);
    return exact;
}

struct ht_exact *ht_exact_take(unsigned depth_max)
{
    uintptr_t self = (uintptr_t)&ht_thread;
    if (!ht_lock_take(&exact_lock))
        return NULL;
    struct ht_exact *exact = find(self);
    if (exact == NULL)
        exact = make(depth_max);
    if (exact != NULL) {
        exact->owner = self;
        exact->pid = ht_os_pid();
        exact->tid = ht_os_tid();
        ht_memo_clear(exact->memo);
    }
    ht_lock_release(&exact_lock);
    return exact;
}

void ht_exact_settle(void)
{
    int32_t pid = ht_os_pid();
    if (!ht_lock_take(&exact_lock))
        return;
    for (struct ht_exact *exact = newest; exact != NULL; exact = exact->older) {
        if (exact->owner != 0 && exact->pid == pid && !ht_os_is_thread(exact->tid))
            exact->owner = 0;
    }
    ht_lock_release(&exact_lock);
}

void ht_exact_fork_prepare(void)
{
    ht_lock_take_always(&exact_lock);
    ht_tally_fork_prepare();
}

void ht_exact_fork_parent(void)
{
    ht_tally_fork_parent();
    ht_lock_release(&exact_lock);
}

void ht_exact_fork_child(void)
{
    uintptr_t self = (uintptr_t)&ht_thread;
    for (struct ht_exact *exact = newest; exact != NULL; exact = exact->older) {
        if (exact->owner == self) {
            exact->pid = ht_os_pid();
            exact->tid = ht_os_tid();
        } else {
            exact->owner = 0;
        }
    }
    ht_tally_fork_child();
    ht_lock_reset(&exact_lock);
}
