#include "sample/stripe.h"

#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

#define CAPACITY_FIRST 64u

/* Steps from one slot to another, around the end. */
static uint32_t distance(const struct ht_stripe *stripe, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + stripe->capacity - from;
}

/* Atomic, because is_absent() and ht_live_each_followed() read without the lock. */
static void put(struct ht_stripe_entry *slot, const struct ht_stripe_entry *entry)
{
    __atomic_store_n(&slot->site, entry->site, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->size_low, entry->size_low, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->birth, entry->birth, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->key, entry->key, __ATOMIC_RELEASE);
}

uint32_t ht_stripe_find(const struct ht_stripe *stripe, uintptr_t address)
{
    uint32_t i = ht_stripe_home(stripe, address);
    while (stripe->slots[i].key != 0 && ht_stripe_address(&stripe->slots[i]) != address)
        i = ht_stripe_after(stripe, i);
    return i;
}

/* Closes the gap at slot i: each later entry of the run moves back if its home is not after the
 * gap. */
void ht_stripe_erase(struct ht_stripe *stripe, uint32_t i)
{
    for (uint32_t j = ht_stripe_after(stripe, i); stripe->slots[j].key != 0;
         j = ht_stripe_after(stripe, j)) {
        uint32_t home = ht_stripe_home(stripe, ht_stripe_address(&stripe->slots[j]));
        if (distance(stripe, home, j) >= distance(stripe, i, j)) {
            put(&stripe->slots[i], &stripe->slots[j]);
            i = j;
        }
    }
    __atomic_store_n(&stripe->slots[i].key, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&stripe->used, stripe->used - 1, __ATOMIC_RELAXED);
}

/* Whole pages, but for the first tables. */
static uint32_t next_capacity(uint32_t capacity)
{
    size_t size = (size_t)capacity * 3 / 2 * sizeof(struct ht_stripe_entry);
    return capacity == 0 ? CAPACITY_FIRST
                         : (uint32_t)(ht_round_up(size, HT_PAGE) / sizeof(struct ht_stripe_entry));
}

bool ht_stripe_make_room(struct ht_stripe *stripe)
{
    if (stripe->used < stripe->capacity / 4 * 3)
        return true;
    struct ht_stripe grown = {.capacity = next_capacity(stripe->capacity)};
    size_t size = grown.capacity * sizeof(*grown.slots);
    /* The first tables are less than a page: cut from a chunk, and left there when they are
     * outgrown. */
    grown.slots = stripe->capacity == 0 ? ht_arena_alloc(size) : ht_arena_map_table(size);
    if (grown.slots == NULL)
        return stripe->used < stripe->capacity / 8 * 7; /* longer probes, that still end */
    for (uint32_t i = 0; i < stripe->capacity; i++) {
        if (stripe->slots[i].key != 0)
            grown.slots[ht_stripe_find(&grown, ht_stripe_address(&stripe->slots[i]))] =
                stripe->slots[i];
    }
    const struct ht_stripe old = {.slots = stripe->slots, .capacity = stripe->capacity};
    __atomic_store_n(&stripe->slots, grown.slots, __ATOMIC_RELAXED);
    __atomic_store_n(&stripe->capacity, grown.capacity, __ATOMIC_RELAXED);
    if (old.capacity > CAPACITY_FIRST) /* somebody may be looking into it */
        ht_arena_retire_table(old.slots, old.capacity * sizeof(*old.slots));
    return true;
}

void ht_stripe_insert(struct ht_stripe *stripe, const struct ht_stripe_entry *entry)
{
    put(&stripe->slots[ht_stripe_find(stripe, ht_stripe_address(entry))], entry);
    __atomic_store_n(&stripe->used, stripe->used + 1, __ATOMIC_RELAXED);
}
