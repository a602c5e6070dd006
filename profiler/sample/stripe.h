/* stripe.h: a part of the table of live blocks (live.h): its own lock, its own slots. */
#ifndef HT_SAMPLE_STRIPE_H
#define HT_SAMPLE_STRIPE_H

#include "sys/compiler.h"
#include "sys/lock.h"

/* 64 of them. */
#define HT_STRIPE_BITS 6

/* `key` is the address in the upper 56 bits and the interval's id in the lower 8; 0 is a free slot.
 * Bits 32 and up of the size are the site's (stacks.h). */
struct ht_stripe_entry {
    uint64_t key;
    uint32_t site;
    uint32_t size_low;
    uint64_t birth;
};

/* Open addressing, linear probing, backward-shift deletion (Knuth 6.4 R), no tombstones. A table
 * grows by half, so that it is half full at least:
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
struct ht_stripe {
    struct ht_lock lock; /* guards all below but `deferred`; what is_absent() reads is atomic */
    uint32_t capacity, used;
    uint32_t deferred; /* addresses in pending; for a moment one less than there are */
    uint32_t version;  /* of the slots: who holds the lock changes it before giving it back */
    struct ht_stripe_entry *slots;
} __attribute__((aligned(64)));

/* Multiplicative hashing: the top bits choose the stripe, the next ones the slot. */
static inline uint64_t ht_stripe_hash(uintptr_t address)
{
    return address * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint32_t ht_stripe_home(const struct ht_stripe *stripe, uintptr_t address)
{
    uint64_t hash = (uint32_t)(ht_stripe_hash(address) >> (32 - HT_STRIPE_BITS));
    return (uint32_t)(hash * stripe->capacity >> 32);
}

static inline uint32_t ht_stripe_after(const struct ht_stripe *stripe, uint32_t i)
{
    return i + 1 < stripe->capacity ? i + 1 : 0;
}

static inline uintptr_t ht_stripe_address(const struct ht_stripe_entry *entry)
{
    return (uintptr_t)(entry->key >> 8);
}

/* The slot of an address, or the free slot where it would go. The stripe has slots. Here and below
 * the lock is held. */
uint32_t ht_stripe_find(const struct ht_stripe *stripe, uintptr_t address);

/* Puts an entry where ht_stripe_find() said; there is room. */
void ht_stripe_insert(struct ht_stripe *stripe, const struct ht_stripe_entry *entry);

/* Takes the entry of slot i out. */
void ht_stripe_erase(struct ht_stripe *stripe, uint32_t i);

/* Makes room for one more entry. False when no memory is left. */
bool ht_stripe_make_room(struct ht_stripe *stripe);

#endif
