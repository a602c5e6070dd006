#include "sample/memo.h"

#include "sample/unwind_learn.h"
#include "sample/unwind_step.h"

#include "sys/poison.h"

/* Words besides return addresses; python3, gcc, redis and git have none or one in a stack. */
#define WORDS_MAX 64u

/* A saved frame pointer that somebody nearer the root uses, or the word by which a frame that
 * realigned its stack finds its CFA. */
struct word {
    unsigned frame; /* whose rule reads it */
    uintptr_t address, value;
};

struct fresh {
    struct ht_position at;
    struct ht_rule rule;
};

/* Frames are counted from the root: number 0 is the outermost. path.depth of them are kept, and all
 * of those are known to the tree between two walks. A frame's `slot` is where its callee returns to
 * it, below its stack pointer; there stands its `after`. So slot and word tell its sp and pc, and
 * are all that comparing reads. `needs_fp`: the walk from this frame on depends on its fp.
 * frames[-1] is no frame; its slot is above all others. What is used of short stacks lies together:
 * `fresh` ends where this begins, and the words are behind the frames. `words` are in the order of
 * their frames. */
struct ht_memo {
    uint64_t generation; /* of the rules that the walk used */
    unsigned depth_max;
    unsigned word_count;
    struct ht_path path;
    struct fresh *fresh; /* depth_max of them; a walk fills them from the end */
    struct word *words;
    struct ht_path_frame top, frames[];
};

size_t ht_memo_size(unsigned depth_max)
{
    return sizeof(struct ht_memo) + WORDS_MAX * sizeof(struct word) +
           depth_max * (sizeof(struct fresh) + sizeof(struct ht_path_frame));
}

struct ht_memo *ht_memo_make(void *memory, unsigned depth_max)
{
    struct fresh *fresh = memory;
    struct ht_memo *memo = (struct ht_memo *)(fresh + depth_max);
    memo->depth_max = depth_max;
    memo->fresh = fresh;
    memo->top.slot = UINTPTR_MAX;
    memo->path.frames = memo->frames;
    memo->words = (struct word *)(memo->frames + depth_max);
    return memo;
}

void ht_memo_clear(struct ht_memo *memo)
{
    memo->path.depth = memo->path.known = 0;
    memo->word_count = 0;
}

static uintptr_t sp_of(const struct ht_path_frame *frame)
{
    return frame->slot + sizeof(uintptr_t);
}

/* ---- is it still so? ---- */

static inline bool is_at(const struct ht_path_frame *frame, struct ht_position at)
{
    return frame->slot == at.sp - sizeof(uintptr_t) && frame->after == at.lookup + 1 &&
           (!frame->needs_fp || frame->fp == at.fp);
}

/* Whether the walk from `frame` to the root is what it was; the last frame that may be met again,
 * or top: `frame` itself if it is. All addresses are on the thread's own stack, above the frame
 * that allocates. */
static inline const struct ht_path_frame *compare(const struct ht_memo *memo,
                                                  const struct ht_path_frame *frame, uintptr_t low)
{
#pragma GCC unroll 4
    for (const struct ht_path_frame *caller = frame - 1; caller >= memo->frames; caller--) {
        if (HT_UNLIKELY(ht_span_word(caller->slot) != caller->after))
            return caller - 1;
    }
    for (unsigned i = memo->word_count; HT_UNLIKELY(i-- > 0);) {
        const struct word *word = &memo->words[i];
        if (memo->frames + word->frame <= frame &&
            (word->address < low || ht_span_word(word->address) != word->value))
            return memo->frames + word->frame - 1;
    }
    return frame;
}

/* ---- keeping it ---- */

static bool keep_word(struct ht_memo *memo, unsigned frame, uintptr_t address, uintptr_t value)
{
    if (memo->word_count == WORDS_MAX)
        return false;
    memo->words[memo->word_count++] = (struct word){frame, address, value};
    return true;
}

/* What the walk from a frame on depends on besides return addresses; its caller is kept already. */
HT_COLD static bool keep_words(struct ht_memo *memo, struct ht_path_frame *frame,
                               const struct fresh *fresh)
{
    const struct ht_position *at = &fresh->at;
    struct ht_rule rule = fresh->rule;
    const struct ht_path_frame *caller = frame - 1;
    unsigned number = (unsigned)(frame - memo->frames);
    frame->needs_fp = rule.kind == HT_RULE_FP || rule.kind == HT_RULE_FP_DEREF ||
                      rule.fp == HT_FP_AT_FP || (rule.fp == HT_FP_SAME && caller->needs_fp);
    if (number == 0) { /* the outermost reads nothing */
        frame->needs_fp = false;
        return true;
    }
    uintptr_t cfa = sp_of(caller);
    if (rule.kind >= HT_RULE_SP_DEREF && !keep_word(memo, number, ht_step_deref_slot(at, rule),
                                                    cfa - (uintptr_t)(intptr_t)rule.deref_offset))
        return false;
    return rule.fp == HT_FP_SAME || !caller->needs_fp ||
           keep_word(memo, number, ht_step_fp_slot(at, rule, cfa), caller->fp);
}

/* Frames up to `last` stay, and `fresh` ones come after them. */
static inline bool keep(struct ht_memo *memo, const struct ht_path_frame *last,
                        const struct fresh *fresh)
{
    struct ht_path *path = &memo->path;
    unsigned same = (unsigned)(last + 1 - memo->frames);
    path->known = path->depth = same;
    while (HT_UNLIKELY(memo->word_count > 0) && memo->words[memo->word_count - 1].frame >= same)
        memo->word_count--;
    unsigned words = memo->word_count;
    struct ht_path_frame *frame = memo->frames + same;
    uint64_t hash = same == 0 ? 0 : frame[-1].hash;
    const struct fresh *end = memo->fresh + memo->depth_max;
    for (const struct fresh *next = fresh; next < end; next++, frame++) {
        frame->slot = next->at.sp - sizeof(uintptr_t);
        frame->after = next->at.lookup + 1;
        frame->fp = next->at.fp;
        frame->hash = hash = ht_path_hash(hash, frame->after);
        frame->needs_fp = false;
        if (HT_UNLIKELY(frame[-1].needs_fp || !ht_rule_is_common(next->rule)) &&
            !keep_words(memo, frame, next)) {
            memo->word_count = words;
            return false;
        }
    }
    path->depth = (unsigned)(frame - memo->frames);
    return true;
}

/* ---- the walk ---- */

/* A frame of which nothing is common. The position is passed by value: one whose address is taken
 * lives in memory. */
HT_COLD static struct ht_position step_as_any(struct ht_position at, struct ht_span *span,
                                              struct ht_rule rule)
{
    const struct ht_position nowhere = {.sp = 0};
    return rule.kind >= HT_RULE_SP && rule.kind <= HT_RULE_FP_DEREF && !rule.hidden &&
                   ht_step_by_rule(&at, span, rule)
               ? at
               : nowhere;
}

/* While a library is being unloaded nothing is kept. */
HT_COLD static bool begin_generation(struct ht_memo *memo, uint64_t generation)
{
    ht_memo_clear(memo);
    memo->generation = ht_rules_hidden() == 0 ? generation : 0;
    return memo->generation != 0;
}

HT_COLD static bool is_own_now(uintptr_t sp)
{
    ht_span_of(sp);
    return ht_span_is_own(sp);
}

struct ht_path *ht_memo_walk(struct ht_memo *memo, const struct ht_frame *from)
{
    /* Before the rules: at worst it is too old. */
    uint64_t generation = __atomic_load_n(&ht_rules_generation, __ATOMIC_ACQUIRE);
    if (HT_UNLIKELY(memo->generation != generation) && !begin_generation(memo, generation))
        return NULL;
    struct ht_position at = {.lookup = from->pc - 1, .sp = from->sp, .fp = from->fp};
    if (HT_UNLIKELY(!ht_span_is_own(at.sp)) && !is_own_now(at.sp))
        return NULL;
    const uintptr_t high = ht_thread.stack_high;
    struct ht_span span = {.low = at.sp, .high = high};
    const struct ht_rules *rules = ht_rules_current();
    const struct ht_path_frame *last = memo->frames + memo->path.depth - 1; /* that may be met */
    struct fresh *fresh = memo->fresh + memo->depth_max;
    for (;;) {
        while (last->slot < at.sp - sizeof(uintptr_t))
            last--;
        if (is_at(last, at)) {
            const struct ht_path_frame *same = compare(memo, last, span.low);
            if (HT_LIKELY(same == last))
                break;
            last = same;
        }
        if (HT_UNLIKELY(fresh == memo->fresh))
            return NULL;
        struct ht_rule rule = ht_rules_find(rules, at.lookup);
        if (HT_UNLIKELY(rule.kind == HT_RULE_UNKNOWN))
            rule = ht_learn_rule(at.lookup);
        fresh--;
        fresh->at.lookup = at.lookup;
        fresh->at.sp = at.sp;
        fresh->at.fp = at.fp;
        fresh->rule = rule;
        if (HT_LIKELY(ht_rule_is_common(rule)) &&
            HT_LIKELY(ht_step_by_common_rule(&at, &span, rule)))
            continue;
        at = step_as_any(at, &span, rule);
        if (HT_UNLIKELY(at.sp == 0)) {
            if (rule.kind != HT_RULE_END || rule.hidden)
                return NULL;
            last = memo->frames - 1;
            break;
        }
    }
    if (HT_UNLIKELY(last - memo->frames >= fresh - memo->fresh || span.high != high))
        return NULL;
    return keep(memo, last, fresh) ? &memo->path : NULL;
}
