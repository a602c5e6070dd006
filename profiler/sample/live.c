#include "sample/live.h"

#include "sample/hot.h"
#include "sample/shadow.h"
#include "sys/arch.h"
#include "sys/arena.h"
#include "sys/lock.h"

#include "sys/poison.h"

uint8_t ht_page_shadow[HT_PAGE_SHADOW_SIZE] __attribute__((aligned(4096)));

#define STRIPES        64u
#define STRIPE_BITS    6
#define CAPACITY_FIRST 64u
#define PENDING        512u
#define NESTED_SPINS   200

/* `key` is the address in the upper 56 bits and the interval's id in the lower 8; 0 is a free slot.
 * Bits 32 and up of the size are the site's (stacks.h). */
struct entry {
    uint64_t key;
    uint32_t site;
    uint32_t size_low;
};

/* Open addressing, linear probing, power-of-two capacity, backward-shift deletion (Knuth 6.4 R), no
 * tombstones:
 *   used <= capacity * 3 / 4, so a probe always ends;
 *   an address stands in at most one slot of one stripe;
 *   no free slot lies between an entry and the slot its hash names.
 *
 * `pending` holds addresses that were freed while this stripe's lock was held, perhaps by the very
 * code that a signal handler interrupted, or by a fork that is stuck. Whoever takes the lock next
 * removes them first. Their blocks were given back only after they were put here and counted in
 * `deferred`, so nobody can have sampled the address again in between without passing that removal.
 * 32,768 in all: a fork of a large process takes a second, and a free of any block in a page with a
 * sampled one counts. They are apart from the stripes, which they would spread out. */
struct stripe {
    struct ht_lock lock; /* guards all below but `deferred`; what is_absent() reads is atomic */
    uint32_t capacity, used;
    uint32_t deferred; /* addresses in pending; for a moment one less than there are */
    uint32_t version;  /* of the slots: who holds the lock changes it before giving it back */
    struct entry *slots;
} __attribute__((aligned(64)));

static struct stripe stripes[STRIPES];
static uintptr_t pending[STRIPES][PENDING]; /* atomic */
static uint64_t missed_frees;

/* Multiplicative hashing: the top bits choose the stripe, the next ones the slot. */
static uint64_t hash_of(uintptr_t address)
{
    return address * UINT64_C(0x9e3779b97f4a7c15);
}

static struct stripe *stripe_of(uintptr_t address)
{
    return &stripes[hash_of(address) >> (64 - STRIPE_BITS)];
}

static uint32_t home_of(const struct stripe *stripe, uintptr_t address)
{
    return (uint32_t)(hash_of(address) >> (32 - STRIPE_BITS)) & (stripe->capacity - 1);
}

/* Keys are atomic: is_absent() reads them without the lock. */
static void put(struct entry *slot, const struct entry *entry)
{
    slot->site = entry->site;
    slot->size_low = entry->size_low;
    __atomic_store_n(&slot->key, entry->key, __ATOMIC_RELEASE);
}

static uintptr_t address_of(const struct entry *entry)
{
    return (uintptr_t)(entry->key >> 8);
}

/* Top bytes that the processor ignores (pointer tags) are no part of an address. */
static uintptr_t bare(uintptr_t address)
{
    return address & (UINTPTR_MAX >> 8);
}

static void page_count(uintptr_t address, int by)
{
    uint8_t *page = ht_hot_page((void *)address);
    uint8_t old = __atomic_load_n(page, __ATOMIC_RELAXED);
    while ((old & HT_PAGE_COUNT) != HT_PAGE_COUNT &&
           !__atomic_compare_exchange_n(page, &old, (uint8_t)(old + by), true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        ;
}

static struct ht_live_block block_of(const struct entry *entry)
{
    return (struct ht_live_block){
        .size = (size_t)ht_stacks_size_high(entry->site) << 32 | entry->size_low,
        .site = entry->site,
        .interval = (ht_interval_id)entry->key,
    };
}

static void count_as_freed(const struct ht_live_block *block)
{
    ht_stacks_count_free(block->site, ht_sampler_weight(block->size, block->interval));
}

/* The slot of an address, or the free slot where it would go. The stripe has slots. */
static uint32_t find(const struct stripe *stripe, uintptr_t address)
{
    uint32_t i = home_of(stripe, address);
    while (stripe->slots[i].key != 0 && address_of(&stripe->slots[i]) != address)
        i = (i + 1) & (stripe->capacity - 1);
    return i;
}

/* Closes the gap at slot i: each later entry of the run moves back if its home is not after the
 * gap. */
static void erase(struct stripe *stripe, uint32_t i)
{
    uint32_t mask = stripe->capacity - 1;
    for (uint32_t j = (i + 1) & mask; stripe->slots[j].key != 0; j = (j + 1) & mask) {
        uint32_t home = home_of(stripe, address_of(&stripe->slots[j]));
        if (((j - home) & mask) >= ((j - i) & mask)) {
            put(&stripe->slots[i], &stripe->slots[j]);
            i = j;
        }
    }
    __atomic_store_n(&stripe->slots[i].key, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&stripe->used, stripe->used - 1, __ATOMIC_RELAXED);
}

/* The lock is held. */
static bool take_out(struct stripe *stripe, uintptr_t address, struct ht_live_block *ret_block)
{
    if (stripe->used == 0)
        return false;
    uint32_t i = find(stripe, address);
    if (stripe->slots[i].key == 0)
        return false;
    *ret_block = block_of(&stripe->slots[i]);
    erase(stripe, i);
    page_count(address, -1);
    return true;
}

static uintptr_t *pending_of(const struct stripe *stripe)
{
    return pending[stripe - stripes];
}

/* The lock is held. */
static void settle_pending(struct stripe *stripe)
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

static void release(struct stripe *stripe)
{
    __atomic_store_n(&stripe->version, stripe->version + 1, __ATOMIC_RELEASE);
    ht_lock_release(&stripe->lock);
}

static bool take(struct stripe *stripe)
{
    if (!ht_lock_take(&stripe->lock))
        return false;
    settle_pending(stripe);
    return true;
}

static bool take_nested(struct stripe *stripe)
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

static bool defer(struct stripe *stripe, uintptr_t address)
{
    uintptr_t *addresses = pending_of(stripe);
    for (unsigned i = 0; i < PENDING; i++) {
        uintptr_t none = 0;
        if (__atomic_load_n(&addresses[i], __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(&addresses[i], &none, address, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
            __atomic_fetch_add(&stripe->deferred, 1, __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

/* Makes room for one more entry. The lock is held. */
static bool make_room(struct stripe *stripe)
{
    if (stripe->used < stripe->capacity / 4 * 3)
        return true;
    struct stripe grown = {.capacity =
                               stripe->capacity == 0 ? CAPACITY_FIRST : stripe->capacity * 2};
    size_t size = grown.capacity * sizeof(*grown.slots);
    /* The first tables are less than a page: cut from a chunk, and left there when they are
     * outgrown. */
    grown.slots = size < 4096 ? ht_arena_alloc(size) : ht_arena_map_table(size);
    if (grown.slots == NULL)
        return stripe->used < stripe->capacity / 8 * 7; /* longer probes, that still end */
    for (uint32_t i = 0; i < stripe->capacity; i++) {
        if (stripe->slots[i].key != 0)
            grown.slots[find(&grown, address_of(&stripe->slots[i]))] = stripe->slots[i];
    }
    size_t old_size = stripe->capacity * sizeof(*stripe->slots);
    struct entry *old = stripe->slots;
    __atomic_store_n(&stripe->slots, grown.slots, __ATOMIC_RELAXED);
    __atomic_store_n(&stripe->capacity, grown.capacity, __ATOMIC_RELAXED);
    if (old_size >= 4096)
        ht_arena_retire_table(old, old_size); /* somebody may be looking into it */
    return true;
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
    return block->interval == HT_INTERVAL_EXACT &&
           ht_shadow_insert(address, block->size, block->site);
}

/* Not of a huge block for whose stack there was no memory: the overflow's site has blocks of all
 * sizes. */
static bool has_size_in_site(const struct ht_live_block *block)
{
    uint64_t high = (uint64_t)block->size >> 32;
    return HT_LIKELY(high == 0) || high == ht_stacks_size_high(block->site);
}

bool ht_live_insert(uintptr_t address, const struct ht_live_block *block)
{
    address = bare(address);
    if (insert_into_shadow(address, block))
        return true;
    struct stripe *stripe = stripe_of(address);
    bool inserted = false;
    if (!take(stripe))
        return false;
    struct ht_live_block missed;
    if (HT_UNLIKELY(take_out(stripe, address, &missed))) {
        count_missed(&missed);
    }
    if (has_size_in_site(block) && make_room(stripe)) {
        struct entry entry = {
            .key = (uint64_t)address << 8 | block->interval,
            .site = block->site,
            .size_low = (uint32_t)block->size,
        };
        put(&stripe->slots[find(stripe, address)], &entry);
        __atomic_store_n(&stripe->used, stripe->used + 1, __ATOMIC_RELAXED);
        page_count(address, 1);
        inserted = true;
    }
    release(stripe);
    return inserted;
}

static bool is_unchanged(const struct stripe *stripe, uint32_t version)
{
    return __atomic_load_n(&stripe->lock.word, __ATOMIC_ACQUIRE) == 0 &&
           __atomic_load_n(&stripe->version, __ATOMIC_ACQUIRE) == version;
}

/* Whether the address is surely not in the table; without the lock, because at small intervals most
 * frees ask, and few blocks are there: at 4 KiB, two of three pages have one. Nobody else inserts or
 * removes this address meanwhile, since its block is the caller's. A change of another entry may
 * move this one: then it is not sure. */
static bool is_absent(const struct stripe *stripe, uintptr_t address)
{
    if (__atomic_load_n(&stripe->used, __ATOMIC_RELAXED) == 0)
        return true;
    uint32_t version = __atomic_load_n(&stripe->version, __ATOMIC_ACQUIRE);
    const struct stripe view = {.slots = __atomic_load_n(&stripe->slots, __ATOMIC_RELAXED),
                                .capacity = __atomic_load_n(&stripe->capacity, __ATOMIC_RELAXED)};
    if (!is_unchanged(stripe, version)) /* or the two are of two tables */
        return false;
    uint32_t i = home_of(&view, address);
    for (uint32_t n = 0; n < view.capacity; n++, i = (i + 1) & (view.capacity - 1)) {
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
    struct stripe *stripe = stripe_of(address);
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

uint64_t ht_live_missed_frees(void)
{
    return __atomic_load_n(&missed_frees, __ATOMIC_RELAXED);
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
