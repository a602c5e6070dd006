/* unwind_check.h: for developers (HEAPTAP_CHECK_UNWIND=1): each walk beside libgcc's
 * _Unwind_Backtrace, which learnt to walk stacks from other people. */
#ifndef HT_SAMPLE_UNWIND_CHECK_H
#define HT_SAMPLE_UNWIND_CHECK_H

#include "sys/compiler.h"

/* Context: sample, under the frames that `pcs` begins with. */
void ht_unwind_check_compare(const uintptr_t *pcs, unsigned depth);
/* What a memo says was compared with such a walk. */
void ht_unwind_check_memo(bool is_same);

extern HT_HIDDEN bool ht_unwind_check_on;

static inline bool ht_unwind_check_is_on(void)
{
    return ht_unwind_check_on;
}

#endif
