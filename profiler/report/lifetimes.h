/* lifetimes.h: how long blocks lived, as a profile: a row for each stack, size class, age and way to
 * be freed, of the blocks whose lives were followed (sample/lives.h). */
#ifndef HT_REPORT_LIFETIMES_H
#define HT_REPORT_LIFETIMES_H

#include "report/snapshot.h"

/* Blocks that were freed count as allocated; those that are there, at their age of now, as allocated
 * and in use. Context: dump, one at a time; samples go on meanwhile. */
void ht_snapshot_of_lifetimes(struct ht_snapshot *ret_snapshot);

#endif
