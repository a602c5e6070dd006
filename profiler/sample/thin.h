/* thin.h: blocks that were recorded exactly, and are in the way now.
 *
 * With an interval of auto a program begins exactly. Later it is sampled, but blocks of the
 * beginning that are still there make each free of a neighbour look whether it is of one of them;
 * and the neighbours of old blocks are often what a program allocates and frees most. In a page
 * where that happens often, the exact blocks are sampled themselves, as if they had been when they
 * were allocated: each is kept with p = 1 - exp(-size / interval), and counts 1/p then, or is
 * forgotten. On average that changes nothing of what is in use, and its error is known as always;
 * what was allocated stays exact. But a block that is kept may stand for more than its stack ever
 * allocated. */
#ifndef HT_SAMPLE_THIN_H
#define HT_SAMPLE_THIN_H

#include "sample/sampler.h"

/* Samples the exact blocks of this address's page. `random` is the thread's generator. Context:
 * sample, not in a handler that interrupted the profiler. Takes the locks of live.h. */
void ht_thin_page(uintptr_t address, ht_interval_id interval, uint64_t *random);

#endif
