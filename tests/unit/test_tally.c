#include "test.h"

#include "intern.h"
#include "sample/tally.h"

#define SITES   1000 /* more than a tally has entries */
#define THREADS 4

static ht_site sites[SITES];

static void make_sites(void)
{
    for (uintptr_t i = 0; i < SITES; i++) {
        uintptr_t pcs[] = {0x1000 + i, 0x9000};
        sites[i] = intern(pcs, 2, 10);
    }
}

struct sums {
    uint64_t allocs, frees, alloc_bytes, free_bytes, negative;
};

static int add_up(void *context, const struct ht_site_view *site)
{
    struct sums *sums = context;
    sums->allocs += site->counts.alloc_objects >> HT_OBJECTS_SHIFT;
    sums->frees += site->counts.free_objects >> HT_OBJECTS_SHIFT;
    sums->alloc_bytes += site->counts.alloc_bytes >> HT_BYTES_SHIFT;
    sums->free_bytes += site->counts.free_bytes >> HT_BYTES_SHIFT;
    sums->negative += site->counts.free_objects > site->counts.alloc_objects;
    return 0;
}

static struct sums all(void)
{
    struct sums sums = {0};
    ht_stacks_each(add_up, &sums);
    return sums;
}

TEST(tally_counts_are_read_and_given)
{
    static struct ht_tally tally;
    make_sites();
    ht_tally_publish(&tally);
    ht_tally_alloc(&tally, sites[0], 10);
    ht_tally_alloc(&tally, sites[0], 12);
    ht_tally_free(&tally, sites[0], 12);
    struct sums sums = all();
    CHECK_EQ(sums.allocs, 2);
    CHECK_EQ(sums.alloc_bytes, 22);
    CHECK_EQ(sums.frees, 1);
    CHECK_EQ(sums.free_bytes, 12);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < SITES; i++)
            ht_tally_alloc(&tally, sites[i], 3);
    }
    ht_tally_alloc(&tally, HT_SITE_OVERFLOW, 1);
    sums = all();
    CHECK_EQ(sums.allocs, 2 + 3 * SITES + 1);
    CHECK_EQ(sums.alloc_bytes, 22 + 9 * SITES + 1);
    CHECK_EQ(ht_tally_samples(), 2 + 3 * SITES + 1);
}

/* What it allocated and another one freed is read with both, or not at all. */
TEST(tally_that_comes_while_a_site_is_read)
{
    static struct ht_tally first, second;
    ht_tally_publish(&first);
    struct ht_tally_reading reading = ht_tally_begin(sites[7]);
    struct ht_counts counts = {0}, again = {0};
    ht_tally_publish(&second);
    ht_tally_alloc(&second, sites[7], 5);
    ht_tally_free(&first, sites[7], 5);
    ht_tally_add_frees(&reading, &counts);
    ht_tally_add_allocs(&reading, &counts);
    CHECK(counts.free_objects > counts.alloc_objects);
    CHECK(!ht_tally_is_right(&reading));
    ht_tally_add_frees(&reading, &again);
    ht_tally_add_allocs(&reading, &again);
    CHECK(ht_tally_is_right(&reading));
    CHECK_EQ(again.free_objects, again.alloc_objects);
}

/* A thread that stands still amid giving is waited for where what it gives is read; the other sites
 * of that entry, of which there may be hundreds, do not wait. */
TEST(tally_that_is_being_given_stops_no_other_site)
{
    static struct ht_tally tally;
    ht_tally_publish(&tally);
    ht_tally_alloc(&tally, sites[3], 5);
    struct ht_tally_entry *entry = &tally.entries[sites[3] % HT_TALLY_ENTRIES];
    entry->version++;
    ht_site other = sites[3] + HT_TALLY_ENTRIES;
    struct ht_tally_reading reading = ht_tally_begin(other), waiting = ht_tally_begin(sites[3]);
    struct ht_counts counts = {0};
    ht_tally_add_frees(&reading, &counts);
    ht_tally_add_allocs(&reading, &counts);
    CHECK(ht_tally_is_right(&reading));
    CHECK_EQ(reading.tries, 0);
    ht_tally_add_frees(&waiting, &counts);
    CHECK(waiting.tries > 0);
    entry->version++;
    CHECK(!ht_tally_is_right(&reading)); /* it may have been given to that one */
}

static uint32_t done;

/* Each thread frees what it allocated, at sites that drive each other out. */
static void *count_all(void *argument)
{
    struct ht_tally *tally = argument;
    for (unsigned i = 0; i < 300000; i++) {
        ht_site site = sites[i * 7919 % SITES];
        ht_tally_alloc(tally, site, 10);
        ht_tally_free(tally, site, 10);
    }
    __atomic_add_fetch(&done, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* While others count, nothing is counted twice, and what came is never less than what went. */
TEST(tally_reading_while_others_count)
{
    static struct ht_tally tallies[THREADS];
    pthread_t threads[THREADS];
    struct sums before = all(), sums = before;
    for (int i = 0; i < THREADS; i++) {
        ht_tally_publish(&tallies[i]);
        CHECK_EQ(pthread_create(&threads[i], NULL, count_all, &tallies[i]), 0);
    }
    unsigned readings = 0;
    while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < THREADS || readings < 10) {
        struct sums now = all();
        CHECK_EQ(now.negative, 0);
        CHECK(now.allocs >= sums.allocs);
        CHECK(now.allocs <= before.allocs + THREADS * 300000);
        sums = now;
        readings++;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    sums = all();
    CHECK_EQ(sums.allocs, before.allocs + THREADS * 300000);
    CHECK_EQ(sums.frees, before.frees + THREADS * 300000);
    CHECK_EQ(sums.free_bytes, before.free_bytes + THREADS * 3000000);
}

static void *give_often(void *argument)
{
    struct ht_tally *tally = argument;
    while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) == 0) {
        ht_tally_alloc(tally, sites[0], 1);
        ht_tally_alloc(tally, sites[256], 1); /* the same entry */
    }
    return NULL;
}

/* A fork never copies an entry that is half given: it would stay so in the child. */
TEST(tally_fork_waits_for_what_is_given)
{
    static struct ht_tally tally;
    pthread_t thread;
    ht_tally_publish(&tally);
    done = 0;
    CHECK_EQ(pthread_create(&thread, NULL, give_often, &tally), 0);
    for (int i = 0; i < 20000; i++) {
        ht_tally_fork_prepare();
        bool is_even = true;
        for (unsigned j = 0; j < HT_TALLY_ENTRIES; j++)
            is_even =
                is_even && __atomic_load_n(&tally.entries[j].version, __ATOMIC_RELAXED) % 2 == 0;
        ht_tally_fork_parent();
        CHECK(is_even);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
}
