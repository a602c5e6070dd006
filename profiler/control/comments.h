/* comments.h: what a profile says about itself: how sure its numbers are, and what they cost. */
#ifndef HT_CONTROL_COMMENTS_H
#define HT_CONTROL_COMMENTS_H

#include "report/snapshot.h"

/* Adds them, and has those added that need the sums when these are known. `ask_allocator`: no
 * allocation may be under way in this very thread, for the allocator's locks are taken. Context:
 * dump. */
void ht_comments_add(struct ht_snapshot *snapshot, bool ask_allocator);

/* The CPU time that it took to write a profile. */
void ht_comments_count_dump(int64_t nanos);

#endif
