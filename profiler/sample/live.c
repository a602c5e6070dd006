#include "sample/live.h"

#include "sample/hot.h"
#include "sample/shadow.h"
#include "sample/stripe.h"
#include "sys/arch.h"
#include "sys/arena.h"
#include "sys/lock.h"
#include "sys/os.h"

#include "sys/poison.h"

uint8_t ht_page_shadow[HT_PAGE_SHADOW_SIZE] __attribute__((aligned(4096)));

#define STRIPES      (1u << HT_STRIPE_BITS)
#define PENDING      512u
#define NESTED_SPINS 200

static struct ht_stripe stripes[STRIPES];
static uintptr_t pending[STRIPES][PENDING]; /* atomic */
static uint64_t missed_frees, ends_unseen;

static struct ht_stripe *stripe_of(uintptr_t address)
{
    return &stripes[ht_stripe_hash(address) >> (64 - HT_STRIPE_BITS)];
}

/* Top bytes that the processor ignores (pointer tags) are no part of an address. */
static uintptr_t bare(uintptr_t address)
{
    return address & (UINTPTR_MAX >> 8);
}

static struct ht_live_block block_of(const struct ht_stripe_entry *entry)
{
    return (struct ht_live_block){
        .size = (size_t)ht_stacks_size_high(entry->site) << 32 | entry->size_low,
        .site = entry->site,
        .interval = (ht_interval_id)entry->key,
        .birth = entry->birth,
    };
}

/* Later than it was: nobody knows any more how it lived. */
static void count_as_freed(const struct ht_live_block *block)
{
    ht_stacks_count_free(block->site, ht_sampler_weight(block->size, block->interval));
    if (block->birth != 0)
        __atomic_fetch_add(&ends_unseen, 1, __ATOMIC_RELAXED);
}

/* The lock is held. */
static bool take_out(struct ht_stripe *stripe, uintptr_t address, struct ht_live_block *ret_block)
{
    if (stripe->used == 0)
        return false;
    uint32_t i = ht_stripe_find(stripe, address);
    if (stripe->slots[i].key == 0)
        return false;
    *ret_block = block_of(&stripe->slots[i]);
    ht_stripe_erase(stripe, i);
    ht_shadow_count_in_page(address, -1);
    return true;
}

static uintptr_t *pending_of(const struct ht_stripe *stripe)
{
    return pending[stripe - stripes];
}

/* The lock is held. */
static void settle_pending(struct ht_stripe *stripe)
{
    if (HT_LIKELY(__atomic_load_n(&stripe->deferred, __ATOMIC_ACQUIRE) == 0))
        return;
    uintptr_t *addresses = pending_of(stripe);
    uint32_t settled = 0;
    for (unsigned i = 0; i < PENDING; i++) {
        if (__atomic_load_n(&addresses[i], __ATOMIC_RELAXED) == 0)
            continue;
        uintptr_t address = __atomic_exchange_n(&addresses[i], 0, __ATOMIC_ACQUIRE);
        struct ht_live_block block;
        if (take_out(stripe, address, &block))
            count_as_freed(&block);
        settled++;
    }
    __atomic_fetch_sub(&stripe->deferred, settled, __ATOMIC_RELAXED);
}

static void release(struct ht_stripe *stripe)
{
    __atomic_store_n(&stripe->version, stripe->version + 1, __ATOMIC_RELEASE);
    ht_lock_release(&stripe->lock);
}

static bool take(struct ht_stripe *stripe)
{
    if (!ht_lock_take(&stripe->lock))
        return false;
    settle_pending(stripe);
    return true;
}

static bool take_nested(struct ht_stripe *stripe)
{
    for (int i = 0; i < NESTED_SPINS; i++) {
        if (ht_lock_try(&stripe->lock)) {
            settle_pending(stripe);
            return true;
        }
        ht_arch_pause();
    }
    return false;
}

/* Once is enough: a handler may allocate and free at the same address again and again. */
static bool defer(struct ht_stripe *stripe, uintptr_t address)
{
    uintptr_t *addresses = pending_of(stripe);
    for (unsigned i = 0; i < PENDING; i++) {
        uintptr_t found = __atomic_load_n(&addresses[i], __ATOMIC_RELAXED);
        if (found == address)
            return true;
        if (found == 0 && __atomic_compare_exchange_n(&addresses[i], &found, address, false,
                                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            __atomic_fetch_add(&stripe->deferred, 1, __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

static struct ht_live_block exact_block(struct ht_shadow_block block)
{
    return (struct ht_live_block){
        .size = block.size, .site = block.site, .interval = HT_INTERVAL_EXACT};
}

static void count_missed(const struct ht_live_block *missed)
{
    count_as_freed(missed);
    __atomic_fetch_add(&missed_frees, 1, __ATOMIC_RELAXED);
}

/* False: the block is for the table. In neither case the shadow still has another one there. */
static bool insert_into_shadow(uintptr_t address, const struct ht_live_block *block)
{
    struct ht_shadow_block was;
    if (ht_shadow_remove(address, &was)) {
        struct ht_live_block missed = exact_block(was);
        count_missed(&missed);
    }
    return block->interval == HT_INTERVAL_EXACT && block->birth == 0 &&
           ht_shadow_insert(address, block->size, block->site);
}

/* Not of a huge block without a stack: the overflow's site has blocks of all sizes. */
static bool has_size_in_site(const struct ht_live_block *block)
{
    uint64_t high = (uint64_t)block->size >> 32;
    return HT_LIKELY(high == 0) || high == ht_stacks_size_high(block->site);
}

/* There is room, and the lock is held. */
static void put(struct ht_stripe *stripe, uintptr_t address, const struct ht_live_block *block)
{
    struct ht_stripe_entry entry = {
        .key = (uint64_t)address << 8 | block->interval,
        .site = block->site,
        .size_low = (uint32_t)block->size,
        .birth = block->birth,
    };
    ht_stripe_insert(stripe, &entry);
    ht_shadow_count_in_page(address, 1);
}

bool ht_live_insert(uintptr_t address, const struct ht_live_block *block)
{
    address = bare(address);
    if (insert_into_shadow(address, block))
        return true;
    struct ht_stripe *stripe = stripe_of(address);
    bool inserted = false;
    struct ht_live_block missed;
    if (!take(stripe))
        return false;
    if (HT_UNLIKELY(take_out(stripe, address, &missed)))
        count_missed(&missed);
    if (has_size_in_site(block) && ht_stripe_make_room(stripe)) {
        put(stripe, address, block);
        inserted = true;
    }
    release(stripe);
    return inserted;
}

/* In this order, under the lock: who frees the block finds it in the shadow, and then takes it from
 * there, or waits for the lock and finds it here. */
bool ht_live_adopt(uintptr_t address, const struct ht_live_block *block, uint64_t *entry,
                   uint64_t value)
{
    struct ht_stripe *stripe = stripe_of(address);
    struct ht_live_block unused;
    bool adopted = false;
    if (!take(stripe))
        return false;
    if (ht_stripe_make_room(stripe) && stripe->slots[ht_stripe_find(stripe, address)].key == 0) {
        put(stripe, address, block);
        adopted = __atomic_compare_exchange_n(entry, &value, 0, false, __ATOMIC_SEQ_CST,
                                              __ATOMIC_RELAXED);
        if (!adopted)
            take_out(stripe, address, &unused);
    }
    release(stripe);
    return adopted;
}

static bool is_unchanged(const struct ht_stripe *stripe, uint32_t version)
{
    return __atomic_load_n(&stripe->lock.word, __ATOMIC_ACQUIRE) == 0 &&
           __atomic_load_n(&stripe->version, __ATOMIC_ACQUIRE) == version;
}

/* Whether the address is surely not in the table; without the lock, because at small intervals most
 * frees ask, and few blocks are there: at 4 KiB, two of three pages have one. Nobody else inserts or
 * removes this address meanwhile, since its block is the caller's. A change of another entry may
 * move this one: then it is not sure. */
static bool is_absent(const struct ht_stripe *stripe, uintptr_t address)
{
    if (__atomic_load_n(&stripe->used, __ATOMIC_RELAXED) == 0)
        return true;
    uint32_t version = __atomic_load_n(&stripe->version, __ATOMIC_ACQUIRE);
    const struct ht_stripe view = {.slots = __atomic_load_n(&stripe->slots, __ATOMIC_RELAXED),
                                   .capacity =
                                       __atomic_load_n(&stripe->capacity, __ATOMIC_RELAXED)};
    if (!is_unchanged(stripe, version)) /* or the two are of two tables */
        return false;
    uint32_t i = ht_stripe_home(&view, address);
    for (uint32_t n = 0; n < view.capacity; n++, i = ht_stripe_after(&view, i)) {
        uint64_t key = __atomic_load_n(&view.slots[i].key, __ATOMIC_ACQUIRE);
        if (key == 0)
            return is_unchanged(stripe, version);
        if (key >> 8 == address)
            return false;
    }
    return false;
}

bool ht_live_is_absent(uintptr_t address)
{
    address = bare(address);
    const uint64_t *entry = ht_shadow_entry(address);
    return (entry == NULL || __atomic_load_n(entry, __ATOMIC_RELAXED) == 0) &&
           is_absent(stripe_of(address), address);
}

enum ht_live_result ht_live_remove(uintptr_t address, bool nested, struct ht_live_block *ret_block)
{
    address = bare(address);
    struct ht_shadow_block exact;
    if (ht_shadow_remove(address, &exact)) {
        *ret_block = exact_block(exact);
        return HT_LIVE_REMOVED;
    }
    struct ht_stripe *stripe = stripe_of(address);
    if (HT_LIKELY(is_absent(stripe, address)))
        return HT_LIVE_UNKNOWN;
    if (!(nested ? take_nested(stripe) : take(stripe)))
        return defer(stripe, address) ? HT_LIVE_DEFERRED : HT_LIVE_MISSED;
    bool found = take_out(stripe, address, ret_block);
    release(stripe);
    return found ? HT_LIVE_REMOVED : HT_LIVE_UNKNOWN;
}

void ht_live_settle(void)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        if (__atomic_load_n(&stripes[i].deferred, __ATOMIC_RELAXED) != 0 &&
            take_nested(&stripes[i]))
            release(&stripes[i]);
    }
}

uint64_t ht_live_count(void)
{
    uint64_t count = ht_shadow_count();
    for (unsigned i = 0; i < STRIPES; i++)
        count += __atomic_load_n(&stripes[i].used, __ATOMIC_RELAXED);
    return count;
}

/* Slots and capacity of one table. False when it changes all the time. */
static bool look_at(const struct ht_stripe *stripe, struct ht_stripe *ret_view)
{
    for (int i = 0; i < NESTED_SPINS; i++) {
        uint32_t version = __atomic_load_n(&stripe->version, __ATOMIC_ACQUIRE);
        ret_view->slots = __atomic_load_n(&stripe->slots, __ATOMIC_RELAXED);
        ret_view->capacity = __atomic_load_n(&stripe->capacity, __ATOMIC_RELAXED);
        if (is_unchanged(stripe, version))
            return true;
        ht_arch_pause();
    }
    return false;
}

/* False when there is none, or it changes. */
static bool read_entry(const struct ht_stripe_entry *slot, struct ht_stripe_entry *ret_entry)
{
    ret_entry->key = __atomic_load_n(&slot->key, __ATOMIC_ACQUIRE);
    ret_entry->site = __atomic_load_n(&slot->site, __ATOMIC_RELAXED);
    ret_entry->size_low = __atomic_load_n(&slot->size_low, __ATOMIC_RELAXED);
    ret_entry->birth = __atomic_load_n(&slot->birth, __ATOMIC_ACQUIRE);
    return ret_entry->key != 0 && __atomic_load_n(&slot->key, __ATOMIC_RELAXED) == ret_entry->key;
}

static void show_followed(const struct ht_stripe *stripe,
                          void (*visit)(void *, const struct ht_live_block *), void *context)
{
    struct ht_stripe view;
    if (!look_at(stripe, &view))
        return;
    for (uint32_t i = 0; i < view.capacity; i++) {
        struct ht_stripe_entry entry;
        struct ht_live_block block;
        if (!read_entry(&view.slots[i], &entry) || entry.birth == 0)
            continue;
        block = block_of(&entry);
        visit(context, &block);
    }
}

void ht_live_each_followed(void (*visit)(void *context, const struct ht_live_block *block),
                           void *context)
{
    for (unsigned i = 0; i < STRIPES; i++)
        show_followed(&stripes[i], visit, context);
}

uint64_t ht_live_missed_frees(void)
{
    return __atomic_load_n(&missed_frees, __ATOMIC_RELAXED);
}

uint64_t ht_live_ends_unseen(void)
{
    return __atomic_load_n(&ends_unseen, __ATOMIC_RELAXED);
}

void ht_live_fork_prepare(void)
{
    for (unsigned i = 0; i < STRIPES; i++)
        ht_lock_take_always(&stripes[i].lock);
}

void ht_live_fork_parent(void)
{
    for (unsigned i = STRIPES; i-- > 0;) {
        settle_pending(&stripes[i]);
        release(&stripes[i]);
    }
}

void ht_live_fork_child(bool whole)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        if (whole) {
            settle_pending(&stripes[i]);
            stripes[i].deferred = 0; /* who was about to count one is no more */
        }
        ht_lock_reset(&stripes[i].lock);
    }
}
