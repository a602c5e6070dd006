#include "report/ages.h"

#include "sys/arena.h"

#include "sys/poison.h"

#define CAPACITY_MIN 256u
#define CAPACITY_MAX (1u << 20)

static uint32_t key_of(ht_site site, unsigned age)
{
    return site * 16 + age + 1; /* sites have 22 bits */
}

/* The entry of a key, or the free one where it would go. The table is not full. */
static struct ht_ages_sum *find(const struct ht_ages *ages, uint32_t key)
{
    uint32_t hash = key * UINT32_C(0x9e3779b9); /* whose lower bits are the key's alone */
    uint32_t i = (hash ^ hash >> 16) & (ages->capacity - 1);
    while (ages->sums[i].key != 0 && ages->sums[i].key != key)
        i = (i + 1) & (ages->capacity - 1);
    return &ages->sums[i];
}

static void add(struct ht_ages *ages, const struct ht_live_block *block, int64_t nanos)
{
    uint32_t key = key_of(block->site, ht_lives_age_of(nanos));
    struct ht_ages_sum *sum = find(ages, key);
    if (sum->key == 0 && ages->used >= ages->capacity / 4 * 3) {
        ages->lost++;
        return;
    }
    ages->used += sum->key == 0;
    sum->key = key;
    struct ht_weight weight = ht_lives_weight(block->size, block->interval);
    sum->objects += (float)weight.objects / (1 << HT_OBJECTS_SHIFT);
    sum->bytes += (float)weight.bytes / (1 << HT_BYTES_SHIFT);
    sum->objects_variance += (float)weight.objects_variance;
    sum->bytes_variance += (float)weight.bytes_variance;
}

static void take(void *context, const struct ht_live_block *block)
{
    struct ht_ages *ages = context;
    int64_t nanos = ht_lives_age(block->birth);
    if (ages->oldest != NULL && block->site < ages->site_count &&
        (float)nanos > ages->oldest[block->site])
        ages->oldest[block->site] = (float)nanos;
    if (ages->sums != NULL)
        add(ages, block, nanos);
}

static void count(void *context, const struct ht_live_block *block)
{
    (void)block;
    ++*(uint64_t *)context;
}

/* Room for each followed block or all ages of each site, whichever is less, if it can be had. */
static void make_sums(struct ht_ages *ages)
{
    uint64_t wanted = 0;
    ht_live_each_followed(count, &wanted);
    wanted = ht_min(wanted, (uint64_t)ages->site_count * HT_LIVES_AGES);
    uint32_t capacity = CAPACITY_MIN;
    while (capacity < CAPACITY_MAX && capacity < wanted * 2)
        capacity *= 2;
    for (; ages->sums == NULL && capacity >= CAPACITY_MIN; capacity /= 2) {
        ages->sums = ht_arena_map(capacity * sizeof(*ages->sums));
        ages->capacity = capacity;
    }
}

void ht_ages_load(struct ht_ages *ret_ages, bool with_sums)
{
    *ret_ages = (struct ht_ages){.site_count = ht_stacks_site_count()};
    ret_ages->oldest = ht_arena_map(ret_ages->site_count * sizeof(*ret_ages->oldest));
    if (with_sums)
        make_sums(ret_ages);
    if (ret_ages->oldest != NULL || ret_ages->sums != NULL)
        ht_live_each_followed(take, ret_ages);
}

void ht_ages_free(struct ht_ages *ages)
{
    if (ages->oldest != NULL)
        ht_arena_unmap(ages->oldest, ages->site_count * sizeof(*ages->oldest));
    if (ages->sums != NULL)
        ht_arena_unmap(ages->sums, ages->capacity * sizeof(*ages->sums));
}

int64_t ht_ages_oldest(const struct ht_ages *ages, ht_site site)
{
    return ages->oldest != NULL && site < ages->site_count ? (int64_t)ages->oldest[site] : 0;
}

const struct ht_ages_sum *ht_ages_find(const struct ht_ages *ages, ht_site site, unsigned age)
{
    if (ages->sums == NULL)
        return NULL;
    const struct ht_ages_sum *sum = find(ages, key_of(site, age));
    return sum->key != 0 ? sum : NULL;
}
