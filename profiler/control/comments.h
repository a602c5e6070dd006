/* comments.h: what a profile says about itself. */
#ifndef HT_CONTROL_COMMENTS_H
#define HT_CONTROL_COMMENTS_H

#include "report/snapshot.h"

/* Version, interval, samples, drops by reason, what the profiler uses, and how large the process
 * is. */
void ht_comments_add(struct ht_snapshot *snapshot);

#endif
