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
 * of those are known to the tree between two walks.
 *   The return address of frame i lies below sps[i - 1] and is pcs[i - 1] + 1.
 *   `words` are in the order of their frames. */
struct ht_memo {
    uint64_t generation; /* of the rules that the walk used */
    unsigned depth_max;
    unsigned word_count;
    struct ht_path path;
    uintptr_t *sps, *fps;
    uint8_t *needs_fp; /* whether the walk from this frame on depends on its fp */
    struct fresh *fresh;
    struct word words[WORDS_MAX];
};

#define FRAME_SIZE                                                                                 \
    (sizeof(struct fresh) + 3 * sizeof(uintptr_t) + sizeof(uint64_t) + sizeof(ht_node) + 1)

size_t ht_memo_size(unsigned depth_max)
{
    return sizeof(struct ht_memo) + depth_max * FRAME_SIZE;
}

struct ht_memo *ht_memo_make(void *memory, unsigned depth_max)
{
    struct ht_memo *memo = memory;
    memo->depth_max = depth_max;
    memo->fresh = (struct fresh *)(memo + 1); /* the widest first */
    memo->path.pcs = (uintptr_t *)(memo->fresh + depth_max);
    memo->sps = memo->path.pcs + depth_max;
    memo->fps = memo->sps + depth_max;
    memo->path.hashes = memo->fps + depth_max;
    memo->path.nodes = (ht_node *)(memo->path.hashes + depth_max);
    memo->needs_fp = (uint8_t *)(memo->path.nodes + depth_max);
    return memo;
}

void ht_memo_clear(struct ht_memo *memo)
{
    memo->path.depth = memo->path.known = 0;
    memo->word_count = 0;
}

/* ---- is it still so? ---- */

/* Whether the walk from `frame` to the root is what it was. Returns how many of the outermost frames
 * may be met again: frame + 1 of them if it is. All addresses are on the thread's own stack, above
 * the frame that allocates. */
static unsigned compare(const struct ht_memo *memo, unsigned frame, uintptr_t low)
{
    const uintptr_t *sps = memo->sps, *pcs = memo->path.pcs;
    for (unsigned i = frame; i-- > 0;) {
        if (ht_span_word(sps[i] - sizeof(uintptr_t)) != pcs[i] + 1)
            return i;
    }
    for (unsigned i = memo->word_count; i-- > 0;) {
        const struct word *word = &memo->words[i];
        if (word->frame <= frame &&
            (word->address < low || ht_span_word(word->address) != word->value))
            return word->frame;
    }
    return frame + 1;
}

static bool is_at(const struct ht_memo *memo, unsigned frame, const struct ht_position *at)
{
    return memo->sps[frame] == at->sp && memo->path.pcs[frame] == at->lookup &&
           (memo->fps[frame] == at->fp || !memo->needs_fp[frame]);
}

/* ---- keeping it ---- */

static bool keep_word(struct ht_memo *memo, unsigned frame, uintptr_t address, uintptr_t value)
{
    if (memo->word_count == WORDS_MAX)
        return false;
    memo->words[memo->word_count++] = (struct word){frame, address, value};
    return true;
}

/* The frame before it, if any, is kept already. */
static bool keep_frame(struct ht_memo *memo, unsigned frame, const struct fresh *fresh)
{
    const struct ht_position *at = &fresh->at;
    struct ht_rule rule = fresh->rule;
    memo->path.pcs[frame] = at->lookup;
    memo->sps[frame] = at->sp;
    memo->fps[frame] = at->fp;
    if (frame == 0) { /* the outermost reads nothing */
        memo->needs_fp[frame] = false;
        return true;
    }
    bool caller_needs_fp = memo->needs_fp[frame - 1];
    uintptr_t cfa = memo->sps[frame - 1];
    memo->needs_fp[frame] = rule.kind == HT_RULE_FP || rule.kind == HT_RULE_FP_DEREF ||
                            rule.fp == HT_FP_AT_FP || (rule.fp == HT_FP_SAME && caller_needs_fp);
    if (rule.kind >= HT_RULE_SP_DEREF && !keep_word(memo, frame, ht_step_deref_slot(at, rule),
                                                    cfa - (uintptr_t)(intptr_t)rule.deref_offset))
        return false;
    return rule.fp == HT_FP_SAME || !caller_needs_fp ||
           keep_word(memo, frame, ht_step_fp_slot(at, rule, cfa), memo->fps[frame - 1]);
}

/* The first `same` frames stay, and `count` fresh ones, leaf first, come after them. */
static bool keep(struct ht_memo *memo, unsigned same, unsigned count)
{
    struct ht_path *path = &memo->path;
    path->known = path->depth = same;
    while (memo->word_count > 0 && memo->words[memo->word_count - 1].frame >= same)
        memo->word_count--;
    unsigned words = memo->word_count;
    for (unsigned i = 0; i < count; i++) {
        if (!keep_frame(memo, same + i, &memo->fresh[count - 1 - i])) {
            memo->word_count = words;
            return false;
        }
    }
    path->depth = same + count;
    return true;
}

/* ---- the walk ---- */

static bool is_plain(struct ht_rule rule)
{
    return rule.kind >= HT_RULE_SP && rule.kind <= HT_RULE_FP_DEREF;
}

struct ht_path *ht_memo_walk(struct ht_memo *memo, const struct ht_frame *from)
{
    uint64_t generation = ht_rules_generation(); /* before the rules: at worst it is too old */
    const struct ht_rules *rules = ht_rules_current();
    if (HT_UNLIKELY(rules == NULL))
        return NULL;
    if (HT_UNLIKELY(memo->generation != generation)) {
        ht_memo_clear(memo);
        memo->generation = generation;
    }
    struct ht_span span = ht_span_of(from->sp);
    if (HT_UNLIKELY(!ht_span_is_own(from->sp)))
        return NULL;
    struct ht_position at = {.lookup = from->pc - 1, .sp = from->sp, .fp = from->fp};
    unsigned candidates = memo->path.depth, count = 0;
    for (;;) {
        while (candidates > 0 && memo->sps[candidates - 1] < at.sp)
            candidates--;
        if (candidates > 0 && is_at(memo, candidates - 1, &at)) {
            unsigned same = compare(memo, candidates - 1, span.low);
            if (HT_LIKELY(same == candidates))
                break;
            candidates = same;
        }
        if (HT_UNLIKELY(count == memo->depth_max))
            return NULL;
        struct ht_rule rule = ht_rules_find(rules, at.lookup);
        if (HT_UNLIKELY(rule.kind == HT_RULE_UNKNOWN))
            rule = ht_learn_rule(at.lookup);
        memo->fresh[count++] = (struct fresh){at, rule};
        if (rule.kind == HT_RULE_END) {
            candidates = 0;
            break;
        }
        if (HT_UNLIKELY(!is_plain(rule) || rule.hidden || !ht_step_by_rule(&at, &span, rule)))
            return NULL;
    }
    if (HT_UNLIKELY(candidates + count > memo->depth_max || span.high != ht_thread.stack_high))
        return NULL;
    return keep(memo, candidates, count) ? &memo->path : NULL;
}
