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

/* Where a frame's callee returns to, below the frame's stack pointer, and what stands there. It tells
 * the frame's pc and stack pointer as well, and is all that comparing reads. */
struct link {
    uintptr_t slot, value;
};

/* Frames are counted from the root: number 0 is the outermost. path.depth of them are kept, and all
 * of those are known to the tree between two walks.
 *   `words` are in the order of their frames. */
struct ht_memo {
    uint64_t generation; /* of the rules that the walk used */
    unsigned depth_max;
    unsigned word_count;
    struct ht_path path;
    struct link *links;
    uintptr_t *fps;
    uint8_t *needs_fp; /* whether the walk from this frame on depends on its fp */
    struct fresh *fresh;
    struct word words[WORDS_MAX];
};

#define FRAME_SIZE                                                                                 \
    (sizeof(struct fresh) + sizeof(struct link) + 2 * sizeof(uintptr_t) + sizeof(uint64_t) +       \
     sizeof(ht_node) + 1)

size_t ht_memo_size(unsigned depth_max)
{
    return sizeof(struct ht_memo) + depth_max * FRAME_SIZE;
}

struct ht_memo *ht_memo_make(void *memory, unsigned depth_max)
{
    struct ht_memo *memo = memory;
    memo->depth_max = depth_max;
    memo->fresh = (struct fresh *)(memo + 1); /* the widest first */
    memo->links = (struct link *)(memo->fresh + depth_max);
    memo->path.pcs = (uintptr_t *)(memo->links + depth_max);
    memo->fps = memo->path.pcs + depth_max;
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

static uintptr_t sp_of(const struct ht_memo *memo, unsigned frame)
{
    return memo->links[frame].slot + sizeof(uintptr_t);
}

/* ---- is it still so? ---- */

static inline bool is_at(const struct ht_memo *memo, unsigned frame, const struct ht_position *at)
{
    const struct link *link = &memo->links[frame];
    return link->slot == at->sp - sizeof(uintptr_t) && link->value == at->lookup + 1 &&
           (memo->fps[frame] == at->fp || !memo->needs_fp[frame]);
}

/* Whether the walk from `frame` to the root is what it was. Returns how many of the outermost frames
 * may be met again: frame + 1 of them if it is. All addresses are on the thread's own stack, above
 * the frame that allocates. */
static inline unsigned compare(const struct ht_memo *memo, unsigned frame, uintptr_t low)
{
    const struct link *links = memo->links;
#pragma GCC unroll 4
    for (const struct link *link = links + frame; link-- > links;) {
        if (HT_UNLIKELY(ht_span_word(link->slot) != link->value))
            return (unsigned)(link - links);
    }
    for (unsigned i = memo->word_count; i-- > 0;) {
        const struct word *word = &memo->words[i];
        if (word->frame <= frame &&
            (word->address < low || ht_span_word(word->address) != word->value))
            return word->frame;
    }
    return frame + 1;
}

/* ---- keeping it ---- */

static bool keep_word(struct ht_memo *memo, unsigned frame, uintptr_t address, uintptr_t value)
{
    if (memo->word_count == WORDS_MAX)
        return false;
    memo->words[memo->word_count++] = (struct word){frame, address, value};
    return true;
}

/* What the walk from `frame` on has read besides return addresses; the frame before it is kept
 * already. */
static inline bool keep_words(struct ht_memo *memo, unsigned frame, const struct fresh *fresh)
{
    const struct ht_position *at = &fresh->at;
    struct ht_rule rule = fresh->rule;
    bool caller_needs_fp = memo->needs_fp[frame - 1];
    if (HT_LIKELY(!caller_needs_fp && ht_rule_is_common(rule))) {
        memo->needs_fp[frame] = false;
        return true;
    }
    memo->needs_fp[frame] = rule.kind == HT_RULE_FP || rule.kind == HT_RULE_FP_DEREF ||
                            rule.fp == HT_FP_AT_FP || (rule.fp == HT_FP_SAME && caller_needs_fp);
    uintptr_t cfa = sp_of(memo, frame - 1);
    if (rule.kind >= HT_RULE_SP_DEREF && !keep_word(memo, frame, ht_step_deref_slot(at, rule),
                                                    cfa - (uintptr_t)(intptr_t)rule.deref_offset))
        return false;
    return rule.fp == HT_FP_SAME || !caller_needs_fp ||
           keep_word(memo, frame, ht_step_fp_slot(at, rule, cfa), memo->fps[frame - 1]);
}

/* The first `same` frames stay, and `count` fresh ones, leaf first, come after them. */
static inline bool keep(struct ht_memo *memo, unsigned same, unsigned count)
{
    struct ht_path *path = &memo->path;
    path->known = path->depth = same;
    while (memo->word_count > 0 && memo->words[memo->word_count - 1].frame >= same)
        memo->word_count--;
    unsigned words = memo->word_count;
    const struct fresh *fresh = &memo->fresh[count];
    for (unsigned frame = same; fresh-- > memo->fresh; frame++) {
        memo->links[frame] = (struct link){fresh->at.sp - sizeof(uintptr_t), fresh->at.lookup + 1};
        path->pcs[frame] = fresh->at.lookup;
        memo->fps[frame] = fresh->at.fp;
        if (HT_UNLIKELY(frame == 0)) {
            memo->needs_fp[frame] = false; /* the outermost reads nothing */
        } else if (HT_UNLIKELY(!keep_words(memo, frame, fresh))) {
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
    return rule.kind >= HT_RULE_SP && rule.kind <= HT_RULE_FP_DEREF && !rule.hidden;
}

/* What most frames have: CFA = sp + k. The same as ht_step_by_rule(), in a third of it. */
static inline bool step_by_sp(struct ht_position *at, const struct ht_span *span,
                              struct ht_rule rule)
{
    uintptr_t cfa = at->sp + (uintptr_t)(intptr_t)rule.cfa_offset;
    if (HT_UNLIKELY(cfa <= at->sp || cfa > span->high))
        return false;
    if (rule.fp != HT_FP_SAME) {
        uintptr_t slot = cfa + (uintptr_t)(intptr_t)rule.fp_offset;
        if (HT_UNLIKELY(slot < span->low || slot > span->high - sizeof(uintptr_t)))
            return false;
        at->fp = ht_span_word(slot);
    }
    at->lookup = ht_span_word(cfa - sizeof(uintptr_t)) - 1;
    at->sp = cfa;
    return true;
}

static inline bool step(struct ht_position *at, struct ht_span *span, struct ht_rule rule)
{
    if (HT_LIKELY(ht_rule_is_common(rule)))
        return step_by_sp(at, span, rule);
    return is_plain(rule) && ht_step_by_rule(at, span, rule);
}

/* While a library is being unloaded nothing is kept. */
HT_COLD static bool begin_generation(struct ht_memo *memo, uint64_t generation)
{
    ht_memo_clear(memo);
    memo->generation = 0;
    if (ht_rules_hidden() == 0)
        memo->generation = generation;
    return memo->generation != 0;
}

struct ht_path *ht_memo_walk(struct ht_memo *memo, const struct ht_frame *from)
{
    /* Before the rules: at worst it is too old. */
    uint64_t generation = __atomic_load_n(&ht_rules_generation, __ATOMIC_ACQUIRE);
    if (HT_UNLIKELY(memo->generation != generation) && !begin_generation(memo, generation))
        return NULL;
    struct ht_position at = {.lookup = from->pc - 1, .sp = from->sp, .fp = from->fp};
    if (HT_UNLIKELY(!ht_span_is_own(at.sp))) {
        ht_span_of(at.sp);
        if (!ht_span_is_own(at.sp))
            return NULL;
    }
    struct ht_span span = {.low = at.sp, .high = ht_thread.stack_high};
    const struct ht_rules *rules = ht_rules_current();
    const struct link *last = memo->links + memo->path.depth; /* frames before it may be met */
    unsigned count = 0, same;
    for (;;) {
        while (last > memo->links && last[-1].slot < at.sp - sizeof(uintptr_t))
            last--;
        same = (unsigned)(last - memo->links);
        if (last > memo->links && is_at(memo, same - 1, &at)) {
            same = compare(memo, same - 1, span.low);
            if (HT_LIKELY(memo->links + same == last))
                break;
            last = memo->links + same;
        }
        if (HT_UNLIKELY(count == memo->depth_max))
            return NULL;
        struct ht_rule rule = ht_rules_find(rules, at.lookup);
        if (HT_UNLIKELY(rule.kind == HT_RULE_UNKNOWN))
            rule = ht_learn_rule(at.lookup);
        memo->fresh[count++] = (struct fresh){at, rule};
        if (HT_UNLIKELY(!step(&at, &span, rule))) {
            if (rule.kind != HT_RULE_END || rule.hidden)
                return NULL;
            same = 0;
            break;
        }
    }
    if (HT_UNLIKELY(same + count > memo->depth_max || span.high != ht_thread.stack_high))
        return NULL;
    return keep(memo, same, count) ? &memo->path : NULL;
}
