/* unwind_step.h: one step of a walk, from a frame to its caller's, by a rule. */
#ifndef HT_SAMPLE_UNWIND_STEP_H
#define HT_SAMPLE_UNWIND_STEP_H

#include "sample/span.h"
#include "sample/unwind_rules.h"

struct ht_position {
    uintptr_t lookup; /* the pc, as frames.h describes */
    uintptr_t sp, fp;
};

/* Where the word lies that a rule of a _DEREF kind reads. */
static inline uintptr_t ht_step_deref_slot(const struct ht_position *at, struct ht_rule rule)
{
    uintptr_t base = rule.kind == HT_RULE_SP_DEREF ? at->sp : at->fp;
    return base + (uintptr_t)(intptr_t)rule.cfa_offset;
}

/* Where the caller's frame pointer was saved; rule.fp is not HT_FP_SAME. */
static inline uintptr_t ht_step_fp_slot(const struct ht_position *at, struct ht_rule rule,
                                        uintptr_t cfa)
{
    return (rule.fp == HT_FP_AT_CFA ? cfa : at->fp) + (uintptr_t)(intptr_t)rule.fp_offset;
}

/* To the caller of a frame whose rule is one of the four with a CFA. */
static inline bool ht_step_by_rule(struct ht_position *at, struct ht_span *span,
                                   struct ht_rule rule)
{
    uintptr_t cfa;
    if (HT_UNLIKELY(rule.kind >= HT_RULE_SP_DEREF)) {
        uintptr_t slot = ht_step_deref_slot(at, rule);
        if (!ht_span_holds(span, slot))
            return false;
        cfa = ht_span_word(slot) + (uintptr_t)(intptr_t)rule.deref_offset;
    } else {
        cfa = rule.kind == HT_RULE_SP ? at->sp : at->fp;
        cfa += (uintptr_t)(intptr_t)rule.cfa_offset;
    }
    /* The stack pointer grows, or the rule lies. */
    if (HT_UNLIKELY(cfa <= at->sp || !ht_span_holds(span, cfa - sizeof(uintptr_t))))
        return false;
    if (rule.fp != HT_FP_SAME) {
        uintptr_t slot = ht_step_fp_slot(at, rule, cfa);
        if (HT_UNLIKELY(!ht_span_holds(span, slot)))
            return false;
        at->fp = ht_span_word(slot);
    }
    at->lookup = ht_span_word(cfa - sizeof(uintptr_t)) - 1;
    at->sp = cfa;
    return true;
}

/* The same for a common rule, in half of it. The span is not grown: where it does not reach, the
 * caller asks the one above. */
static inline bool ht_step_by_common_rule(struct ht_position *at, const struct ht_span *span,
                                          struct ht_rule rule)
{
    uintptr_t cfa = at->sp + (uintptr_t)(intptr_t)rule.cfa_offset;
    if (HT_UNLIKELY(cfa <= at->sp || cfa > span->high))
        return false;
    if (rule.fp != HT_FP_SAME) {
        uintptr_t slot = cfa + (uintptr_t)(intptr_t)rule.fp_offset;
        if (HT_UNLIKELY(slot - span->low > span->high - span->low - sizeof(uintptr_t)))
            return false;
        at->fp = ht_span_word(slot);
    }
    at->lookup = ht_span_word(cfa - sizeof(uintptr_t)) - 1;
    at->sp = cfa;
    return true;
}

#endif
