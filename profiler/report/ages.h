/* ages.h: the blocks in use whose lives are followed, added up for each site: how many of which age
 * they are, and how old the oldest is. Made for one dump, by a look at all live blocks. */
#ifndef HT_REPORT_AGES_H
#define HT_REPORT_AGES_H

#include "sample/lives.h"

struct ht_ages {
    float *oldest; /* nanoseconds, by site; NULL: no memory */
    uint32_t site_count;
    struct ht_ages_sum *sums; /* open addressing; NULL: not asked for, or no memory */
    uint32_t capacity, used;
    uint64_t lost; /* blocks for which the table had no room */
};

/* Of the blocks of one site and age; floats, to save memory: 7 digits. */
struct ht_ages_sum {
    uint32_t key; /* 0: free */
    float objects, bytes, objects_variance, bytes_variance;
};

/* What finds no memory is left out. `with_sums`: not the oldest alone. Context: dump. */
void ht_ages_load(struct ht_ages *ret_ages, bool with_sums);
void ht_ages_free(struct ht_ages *ages);

/* 0 when there is none, or it is not known. */
int64_t ht_ages_oldest(const struct ht_ages *ages, ht_site site);
/* NULL when there is none. */
const struct ht_ages_sum *ht_ages_find(const struct ht_ages *ages, ht_site site, unsigned age);

#endif
