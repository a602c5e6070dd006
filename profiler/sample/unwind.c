#include "sample/unwind.h"

#include <dlfcn.h>

#include "sample/frames.h"
#include "sample/unwind_check.h"
#include "sample/unwind_learn.h"
#include "sample/unwind_step.h"
#include "sys/os.h"

#include "sys/poison.h"

__attribute__((weak)) const char *const ht_frames_end = NULL; /* but see frames_shared.c */

/* Below the stack pointer, and left alone by the kernel when it lays a signal frame. */
#define RED_ZONE 128

/* From the kernel's signal frame to what it interrupted, on whatever stack that was. The offsets
 * are those of the ucontext it lays at sp. What was interrupted may have popped rbp already, while
 * compilers' rules for the last instructions of a function still name the slot where it was. */
static bool step_over_signal(struct ht_position *at, struct ht_span *span)
{
    enum { RBP = 120, RSP = 160, RIP = 168 };
    if (!ht_span_holds(span, at->sp + RIP) || !ht_span_holds(span, at->sp + RBP))
        return false;
    uintptr_t sp = ht_span_word(at->sp + RSP);
    at->fp = ht_span_word(at->sp + RBP);
    at->lookup = ht_span_word(at->sp + RIP);
    at->sp = sp;
    if (!ht_os_readable(sp))
        return false;
    *span = ht_span_of(sp);
    if (ht_os_readable(sp - RED_ZONE))
        span->low = sp - RED_ZONE;
    return true;
}

static bool is_code(uintptr_t pc, uintptr_t near)
{
    struct dl_find_object module;
    const uintptr_t vicinity = 512 << 20; /* one code space of a JIT compiler: V8's is so large */
    return _dl_find_object((void *)pc, &module) == 0 || pc - near + vicinity < 2 * vicinity;
}

/* Code without unwind tables, generated ones for the most part, usually keeps a frame pointer.
 * Believe it where both words look right. */
static bool step_by_frame_pointer(struct ht_position *at, struct ht_span *span)
{
    uintptr_t fp = at->fp;
    if (fp < at->sp || fp % sizeof(uintptr_t) != 0 || !ht_span_holds(span, fp) ||
        !ht_span_holds(span, fp + sizeof(uintptr_t)))
        return false;
    uintptr_t pc = ht_span_word(fp + sizeof(uintptr_t));
    if (pc < HT_PAGE || !is_code(pc - 1, at->lookup))
        return false;
    at->lookup = pc - 1;
    at->sp = fp + 2 * sizeof(uintptr_t);
    at->fp = ht_span_word(fp);
    return true;
}

static bool step(struct ht_position *at, struct ht_span *span, struct ht_rule rule)
{
    switch (rule.kind) {
    case HT_RULE_SIGNAL:
        return step_over_signal(at, span);
    case HT_RULE_NO_CFI:
        return step_by_frame_pointer(at, span);
    default:
        return ht_step_by_rule(at, span, rule);
    }
}

static unsigned cut(uintptr_t *pcs, unsigned depth)
{
    pcs[depth] = HT_PC_TRUNCATED;
    return depth + 1;
}

static unsigned walk(const struct ht_frame *from, uintptr_t *pcs, unsigned depth_max)
{
    const struct ht_rules *rules = ht_rules_current();
    struct ht_position at = {.lookup = from->pc - 1, .sp = from->sp, .fp = from->fp};
    struct ht_span span = ht_span_of(at.sp);
    unsigned depth = 0;
    for (;;) {
        struct ht_rule rule = ht_rules_find(rules, at.lookup);
        if (HT_UNLIKELY(rule.kind == HT_RULE_UNKNOWN))
            rule = ht_learn_rule(at.lookup);
        pcs[depth] = at.lookup;
        if (HT_LIKELY(ht_rule_is_common(rule) && depth + 1 < depth_max) &&
            HT_LIKELY(ht_step_by_common_rule(&at, &span, rule))) {
            depth++;
            continue;
        }
        depth += !rule.hidden;
        if (HT_UNLIKELY(rule.kind == HT_RULE_END))
            return depth;
        if (HT_UNLIKELY(rule.kind == HT_RULE_OTHER))
            return ht_learn_walk(from, pcs, depth_max);
        if (HT_UNLIKELY(depth == depth_max || !step(&at, &span, rule)))
            return cut(pcs, depth);
    }
}

unsigned ht_unwind_walk(const struct ht_frame *from, uintptr_t *pcs, unsigned depth_max)
{
    if (HT_UNLIKELY(!ht_learn_is_ready())) {
        pcs[0] = from->pc - 1;
        return cut(pcs, ht_frames_are_ours(pcs[0]) ? 0 : 1);
    }
    unsigned depth = walk(from, pcs, depth_max);
    if (HT_UNLIKELY(ht_unwind_check_is_on()))
        ht_unwind_check_compare(pcs, depth);
    return depth;
}

bool ht_unwind_start(const char **ret_reason)
{
    ht_span_start();
    return ht_learn_start(ret_reason);
}
