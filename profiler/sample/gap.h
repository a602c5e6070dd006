/* gap.h: the distance to a thread's next sampled byte.
 *
 * It is drawn with the interval of that moment, and whatever is sampled where it ends has the
 * weight of that interval. Gaps have no memory: one that is cut and drawn again from there is the
 * same process (README.md). */
#ifndef HT_SAMPLE_GAP_H
#define HT_SAMPLE_GAP_H

#include "sample/hot.h"
#include "sample/sampler.h"

/* The next gap, from the end of the block that is being allocated. Where the interval changes by
 * itself, a thread that seldom samples would notice late: there long gaps are cut. Context: any. */
void ht_gap_draw(struct ht_thread *thread);

/* The first gap, which starts before this allocation: it is sampled as often as any other of its
 * size. False when the gap reaches further. Context: any. */
bool ht_gap_start(struct ht_thread *thread, size_t size);

/* A cut gap ended within this allocation: its other bytes, beyond the cut, are drawn for with the
 * same interval, so that the block has one weight. True when one of them is sampled. Context:
 * sample. */
bool ht_gap_ends_beyond_cut(struct ht_thread *thread, ht_interval_id id);

#endif
