/* hook.h: what a hook does, around a block that nobody allocated. */
#ifndef HT_UNIT_HOOK_H
#define HT_UNIT_HOOK_H

#include "sample/hot.h"
#include "sample/record.h"

/* The caller's pc is moved by `from`: a stack of its own for each, without the calls. */
__attribute__((noinline)) static void hook_malloc(uintptr_t block, size_t size, uintptr_t from)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    caller.pc += from;
    if (!ht_hot_alloc(size))
        return;
    ht_interval_id interval = ht_record_begin(size);
    if (interval != 0)
        ht_record_block((void *)block, size, interval, &caller);
}

static inline void hook_free(uintptr_t block)
{
    struct ht_live_block was;
    if (ht_hot_is_live((void *)block) && ht_record_forget((void *)block, &was) == HT_LIVE_REMOVED)
        ht_record_freed(&was);
}

#endif
