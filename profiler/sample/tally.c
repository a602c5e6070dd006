#include "sample/tally.h"

#include "sys/arch.h"
#include "sys/os.h"

#include "sys/poison.h"

static struct ht_tally *newest;

static const struct ht_tally *all(void)
{
    return __atomic_load_n(&newest, __ATOMIC_ACQUIRE);
}

void ht_tally_publish(struct ht_tally *tally)
{
    tally->older = newest;
    __atomic_store_n(&newest, tally, __ATOMIC_RELEASE);
}

/* ---- the thread's side ---- */

static struct ht_counts counts_of(const struct ht_tally_entry *entry)
{
    return (struct ht_counts){
        .alloc_objects = (uint64_t)entry->allocs << HT_OBJECTS_SHIFT,
        .alloc_bytes = entry->alloc_bytes << HT_BYTES_SHIFT,
        .free_objects = (uint64_t)entry->frees << HT_OBJECTS_SHIFT,
        .free_bytes = entry->free_bytes << HT_BYTES_SHIFT,
    };
}

bool ht_tally_give(struct ht_tally *tally, ht_site site)
{
    struct ht_tally_entry *entry = &tally->entries[site % HT_TALLY_ENTRIES];
    if (!ht_lock_take(&tally->lock))
        return false;
    uint32_t version = entry->version;
    __atomic_exchange_n(&entry->version, version + 1,
                        __ATOMIC_ACQUIRE); /* before all that follows */
    struct ht_counts counts = counts_of(entry);
    ht_stacks_count(entry->site, &counts);
    __atomic_store_n(&entry->allocs, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->frees, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->alloc_bytes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->free_bytes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->site, site, __ATOMIC_RELEASE); /* last: it is empty then */
    __atomic_store_n(&entry->version, version + 2, __ATOMIC_RELEASE);
    ht_lock_release(&tally->lock);
    return true;
}

/* ---- the reader's side ---- */

/* A thread gives an entry in 50 ns, if it is not scheduled out meanwhile; 10 ms in all. */
#define TRIES_SPINNING 1000u
#define TRIES_MAX      1200u
#define WAIT_NANOS     50000

uint64_t ht_tally_samples(void)
{
    uint64_t samples = 0;
    for (const struct ht_tally *tally = all(); tally != NULL; tally = tally->older)
        samples += __atomic_load_n(&tally->samples, __ATOMIC_RELAXED);
    return samples;
}

static bool is_of(const struct ht_tally_entry *entry, ht_site site)
{
    return __atomic_load_n(&entry->site, __ATOMIC_ACQUIRE) == site;
}

static const struct ht_tally_entry *read_entry(const struct ht_tally *tally, ht_site site)
{
    return &tally->entries[site % HT_TALLY_ENTRIES];
}

struct ht_tally_reading ht_tally_begin(ht_site site)
{
    return (struct ht_tally_reading){.site = site, .newest = all()};
}

static void wait_a_little(struct ht_tally_reading *reading)
{
    static const uint32_t never;
    if (reading->tries < TRIES_SPINNING)
        ht_arch_pause();
    else
        ht_os_futex_wait(&never, never, WAIT_NANOS);
    reading->tries++;
}

/* An even version of the entry, if one is to be had. While it is given from one site to another,
 * the first one alone has to wait: to the second it is empty, and to all others nothing. */
static uint32_t settled_version(struct ht_tally_reading *reading,
                                const struct ht_tally_entry *entry)
{
    uint32_t version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    while (version % 2 != 0 && is_of(entry, reading->site) && reading->tries < TRIES_MAX) {
        wait_a_little(reading);
        version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);
    }
    return version;
}

void ht_tally_add_frees(struct ht_tally_reading *reading, struct ht_counts *counts)
{
    reading->versions = 0;
    for (const struct ht_tally *tally = reading->newest; tally != NULL; tally = tally->older) {
        const struct ht_tally_entry *entry = read_entry(tally, reading->site);
        reading->versions += settled_version(reading, entry);
        if (!is_of(entry, reading->site))
            continue;
        counts->free_objects += (uint64_t)__atomic_load_n(&entry->frees, __ATOMIC_ACQUIRE)
                                << HT_OBJECTS_SHIFT;
        counts->free_bytes += __atomic_load_n(&entry->free_bytes, __ATOMIC_ACQUIRE)
                              << HT_BYTES_SHIFT;
    }
}

void ht_tally_add_allocs(const struct ht_tally_reading *reading, struct ht_counts *counts)
{
    for (const struct ht_tally *tally = reading->newest; tally != NULL; tally = tally->older) {
        const struct ht_tally_entry *entry = read_entry(tally, reading->site);
        if (!is_of(entry, reading->site))
            continue;
        counts->alloc_objects += (uint64_t)__atomic_load_n(&entry->allocs, __ATOMIC_ACQUIRE)
                                 << HT_OBJECTS_SHIFT;
        counts->alloc_bytes += __atomic_load_n(&entry->alloc_bytes, __ATOMIC_ACQUIRE)
                               << HT_BYTES_SHIFT;
    }
}

bool ht_tally_is_right(struct ht_tally_reading *reading)
{
    uint64_t versions = 0;
    for (const struct ht_tally *tally = reading->newest; tally != NULL; tally = tally->older)
        versions += __atomic_load_n(&read_entry(tally, reading->site)->version, __ATOMIC_RELAXED);
    const struct ht_tally *now = all(); /* a free that was read may be of what a new one has */
    if (HT_LIKELY(versions == reading->versions && now == reading->newest) ||
        reading->tries >= TRIES_MAX)
        return true;
    reading->newest = now;
    wait_a_little(reading);
    return false;
}

/* ---- fork ---- */

void ht_tally_fork_prepare(void)
{
    for (struct ht_tally *tally = newest; tally != NULL; tally = tally->older)
        ht_lock_take_always(&tally->lock);
}

void ht_tally_fork_parent(void)
{
    for (struct ht_tally *tally = newest; tally != NULL; tally = tally->older)
        ht_lock_release(&tally->lock);
}

void ht_tally_fork_child(void)
{
    for (struct ht_tally *tally = newest; tally != NULL; tally = tally->older)
        ht_lock_reset(&tally->lock);
}
