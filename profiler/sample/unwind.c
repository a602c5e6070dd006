#include "sample/unwind.h"

#include <dlfcn.h>
#include <sys/auxv.h>
#include <string.h>

#include "sample/frames.h"
#include "sample/hot.h"
#include "sample/unwind_check.h"
#include "sample/unwind_learn.h"
#include "sample/unwind_rules.h"
#include "sys/os.h"

#include "sys/poison.h"

__attribute__((weak)) const char *const ht_frames_end = NULL; /* but see frames_shared.c */

/* ---- which addresses may be read ---- */

/* Pages of one stack that can be read, [low, high). Found by asking the kernel about each page once
 * (60 ns); for the thread's own stack the answer is kept in ht_thread, for a coroutine's or a
 * signal's stack it is asked again in each walk, since those may be unmapped at any time. */
struct span {
    uintptr_t low, high;
};

/* As far as one walk reaches above what is known; deeper stacks are cut. */
#define SPAN_STEP_MAX ((uintptr_t)16 << 20)

static uintptr_t main_stack_top;
static uintptr_t main_thread; /* its thread pointer; 0 if not known */

static bool span_grow(struct span *span, uintptr_t to)
{
    if (to < span->high)
        return true;
    if (to - span->high > SPAN_STEP_MAX)
        return false;
    while (span->high <= to) {
        if (!ht_os_readable(span->high))
            return false;
        span->high += HT_PAGE;
    }
    return true;
}

static inline bool span_holds(struct span *span, uintptr_t address)
{
    if (HT_UNLIKELY(address < span->low))
        return false;
    if (HT_LIKELY(address <= span->high - sizeof(uintptr_t)))
        return true;
    return address < UINTPTR_MAX - HT_PAGE && span_grow(span, address + sizeof(uintptr_t) - 1);
}

static uintptr_t thread_pointer(void)
{
    uintptr_t thread;
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    return thread;
}

static bool is_on_main_stack(uintptr_t sp)
{
    return sp < main_stack_top && main_stack_top - sp < SPAN_STEP_MAX;
}

/* Where the stack that holds `sp` must end if it is this thread's own: the main thread's ends above
 * the strings that the kernel put there; glibc lays any other thread's control block, which the
 * thread pointer names, at the top of its stack. The main thread's block is above no stack, but
 * often above coroutines' stacks. */
static uintptr_t own_stack_top(uintptr_t sp)
{
    if (is_on_main_stack(sp))
        return main_stack_top;
    uintptr_t thread = thread_pointer();
    if (thread == main_thread || sp >= thread || thread - sp >= SPAN_STEP_MAX)
        return 0;
    return ht_round_down(thread, HT_PAGE);
}

static struct span span_of(uintptr_t sp)
{
    struct ht_thread *thread = &ht_thread;
    if (HT_LIKELY(sp >= thread->stack_low && sp < thread->stack_high))
        return (struct span){.low = sp, .high = thread->stack_high};
    struct span span = {.low = sp, .high = ht_round_down(sp, HT_PAGE) + HT_PAGE};
    /* Deeper than we have been on this stack: only the pages in between are new. */
    if (sp < thread->stack_low && thread->stack_low - sp < SPAN_STEP_MAX &&
        span_grow(&span, thread->stack_low - 1)) {
        thread->stack_low = ht_round_down(sp, HT_PAGE);
        return (struct span){.low = sp, .high = thread->stack_high};
    }
    uintptr_t top = own_stack_top(sp);
    if (top != 0 && span_grow(&span, top - 1)) {
        thread->stack_low = ht_round_down(sp, HT_PAGE);
        thread->stack_high = span.high;
    }
    return span;
}

/* ---- the walk ---- */

struct position {
    uintptr_t lookup; /* the pc, as frames.h describes */
    uintptr_t sp, fp;
};

/* The stack is read as words, between variables too, which AddressSanitizer would call an error. */
__attribute__((no_sanitize("address"))) static inline uintptr_t word_at(uintptr_t address)
{
    uintptr_t word;
    memcpy(&word, (const void *)address, sizeof(word));
    return word;
}

/* To the caller of a frame whose rule is one of the four with a CFA. */
static inline bool step_by_rule(struct position *at, struct span *span, struct ht_rule rule)
{
    uintptr_t cfa = rule.kind == HT_RULE_SP || rule.kind == HT_RULE_SP_DEREF ? at->sp : at->fp;
    cfa += (uintptr_t)(intptr_t)rule.cfa_offset;
    if (HT_UNLIKELY(rule.kind >= HT_RULE_SP_DEREF)) {
        if (!span_holds(span, cfa))
            return false;
        cfa = word_at(cfa) + (uintptr_t)(intptr_t)rule.deref_offset;
    }
    /* The stack pointer grows, or the rule lies. */
    if (HT_UNLIKELY(cfa <= at->sp || !span_holds(span, cfa - sizeof(uintptr_t))))
        return false;
    if (rule.fp != HT_FP_SAME) {
        uintptr_t slot = rule.fp == HT_FP_AT_CFA ? cfa : at->fp;
        slot += (uintptr_t)(intptr_t)rule.fp_offset;
        if (HT_UNLIKELY(!span_holds(span, slot)))
            return false;
        at->fp = word_at(slot);
    }
    at->lookup = word_at(cfa - sizeof(uintptr_t)) - 1;
    at->sp = cfa;
    return true;
}

/* Below the stack pointer, and left alone by the kernel when it lays a signal frame. */
#define RED_ZONE 128

/* From the kernel's signal frame to what it interrupted, on whatever stack that was. The offsets
 * are those of the ucontext it lays at sp. What was interrupted may have popped rbp already, while
 * compilers' rules for the last instructions of a function still name the slot where it was. */
static bool step_over_signal(struct position *at, struct span *span)
{
    enum { RBP = 120, RSP = 160, RIP = 168 };
    if (!span_holds(span, at->sp + RIP) || !span_holds(span, at->sp + RBP))
        return false;
    uintptr_t sp = word_at(at->sp + RSP);
    at->fp = word_at(at->sp + RBP);
    at->lookup = word_at(at->sp + RIP);
    at->sp = sp;
    if (!ht_os_readable(sp))
        return false;
    *span = span_of(sp);
    if (ht_os_readable(sp - RED_ZONE))
        span->low = sp - RED_ZONE;
    return true;
}

static bool is_code(uintptr_t pc, uintptr_t near)
{
    struct dl_find_object module;
    const uintptr_t vicinity = 64 << 20; /* one code space of a JIT compiler */
    return _dl_find_object((void *)pc, &module) == 0 || pc - near + vicinity < 2 * vicinity;
}

/* Code without unwind tables, generated ones for the most part, usually keeps a frame pointer.
 * Believe it where both words look right. */
static bool step_by_frame_pointer(struct position *at, struct span *span)
{
    uintptr_t fp = at->fp;
    if (fp < at->sp || fp % sizeof(uintptr_t) != 0 || !span_holds(span, fp) ||
        !span_holds(span, fp + sizeof(uintptr_t)))
        return false;
    uintptr_t pc = word_at(fp + sizeof(uintptr_t));
    if (pc < HT_PAGE || !is_code(pc - 1, at->lookup))
        return false;
    at->lookup = pc - 1;
    at->sp = fp + 2 * sizeof(uintptr_t);
    at->fp = word_at(fp);
    return true;
}

static bool step(struct position *at, struct span *span, struct ht_rule rule)
{
    switch (rule.kind) {
    case HT_RULE_SIGNAL:
        return step_over_signal(at, span);
    case HT_RULE_NO_CFI:
        return step_by_frame_pointer(at, span);
    default:
        return step_by_rule(at, span, rule);
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
    struct position at = {.lookup = from->pc - 1, .sp = from->sp, .fp = from->fp};
    struct span span = span_of(at.sp);
    unsigned depth = 0;
    for (;;) {
        struct ht_rule rule = ht_rules_find(rules, at.lookup);
        if (HT_UNLIKELY(rule.kind == HT_RULE_UNKNOWN))
            rule = ht_learn_rule(at.lookup);
        pcs[depth] = at.lookup;
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
    /* The program's file name is the last string on the main thread's stack, 8 bytes before its
     * end. */
    const char *last = (const char *)getauxval(AT_EXECFN);
    if (last != NULL)
        main_stack_top = ht_round_up((uintptr_t)last + strlen(last) + 1 + 8, HT_PAGE);
    if (is_on_main_stack((uintptr_t)__builtin_frame_address(0)))
        main_thread = thread_pointer();
    return ht_learn_start(ret_reason);
}
