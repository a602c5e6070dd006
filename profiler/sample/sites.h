/* sites.h: from the frame that allocates to the site of its stack and block size. */
#ifndef HT_SAMPLE_SITES_H
#define HT_SAMPLE_SITES_H

#include "sample/exact.h"
#include "sample/unwind_check.h"
#include "sys/arch.h"

/* Walks the stack, at most `depth_max` frames of it, and finds or adds its site; HT_SITE_OVERFLOW
 * without memory. False when more threads sample at once than there are buffers. Context: sample;
 * what unwind.h, tree.h and stacks.h take. */
bool ht_sites_find(const struct ht_frame *caller, size_t size, unsigned depth_max,
                   ht_site *ret_site);

/* The verifying mode: a walk of the whole stack, which is compared with libgcc's, says the same as
 * the memo. */
HT_COLD void ht_sites_check_memo(const struct ht_path *path, const struct ht_frame *caller,
                                 unsigned depth_max);

/* The same with the thread's last walk at hand, where a memo can be kept of the stack. */
static inline bool ht_sites_find_exact(struct ht_exact *exact, const struct ht_frame *caller,
                                       size_t size, unsigned depth_max, ht_site *ret_site)
{
    struct ht_path *path = ht_memo_walk(exact->memo, caller);
    if (HT_UNLIKELY(path == NULL))
        return ht_sites_find(caller, size, depth_max, ret_site);
    if (HT_UNLIKELY(ht_unwind_check_is_on()))
        ht_sites_check_memo(path, caller, depth_max);
    if (HT_UNLIKELY(!ht_tree_intern(path))) {
        ht_memo_clear(exact->memo);
        *ret_site = HT_SITE_OVERFLOW;
        return true;
    }
    *ret_site = ht_exact_site(exact, path->frames[path->depth - 1].node, size);
    return true;
}

#endif
