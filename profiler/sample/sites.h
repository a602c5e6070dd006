/* sites.h: from the frame that allocates to the site of its stack and block size. */
#ifndef HT_SAMPLE_SITES_H
#define HT_SAMPLE_SITES_H

#include "sample/exact.h"
#include "sys/arch.h"

/* Walks the stack, at most `depth_max` frames of it, and finds or adds its site; HT_SITE_OVERFLOW
 * without memory. False when more threads sample at once than there are buffers. Context: sample;
 * what unwind.h, tree.h and stacks.h take. */
bool ht_sites_find(const struct ht_frame *caller, size_t size, unsigned depth_max,
                   ht_site *ret_site);

/* The same with the thread's last walk at hand, where a memo can be kept of the stack. */
bool ht_sites_find_exact(struct ht_exact *exact, const struct ht_frame *caller, size_t size,
                         unsigned depth_max, ht_site *ret_site);

#endif
