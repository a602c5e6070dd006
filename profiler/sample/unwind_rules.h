/* unwind_rules.h: for each pc, how to get from its frame to its caller's.
 *
 * One table for all threads, insert only, read without a lock. The key is the lookup address
 * (frames.h), which tells a return address from an interrupted pc. The table is emptied when a
 * library is unloaded, since its addresses may come back with other code. 16 bytes a pc; it starts
 * with 1,024 and ends at 262,144, where it is emptied too (clang, the largest program seen, has
 * 20,000). */
#ifndef HT_SAMPLE_UNWIND_RULES_H
#define HT_SAMPLE_UNWIND_RULES_H

#include "sys/compiler.h"

enum ht_rule_kind {
    HT_RULE_UNKNOWN,  /* not in the table */
    HT_RULE_SP,       /* CFA = sp + cfa_offset */
    HT_RULE_FP,       /* CFA = fp + cfa_offset */
    HT_RULE_SP_DEREF, /* CFA = [sp + cfa_offset] + deref_offset */
    HT_RULE_FP_DEREF, /* CFA = [fp + cfa_offset] + deref_offset: a frame that realigned its stack */
    HT_RULE_SIGNAL,   /* the kernel's signal frame at sp */
    HT_RULE_END,      /* the outermost frame: _start, a thread's clone */
    HT_RULE_OTHER,  /* needs more registers than sp and fp: the second tier walks the whole stack */
    HT_RULE_NO_CFI, /* code without unwind tables */
};

/* Where the caller's frame pointer is. */
enum ht_rule_fp {
    HT_FP_SAME,
    HT_FP_AT_CFA /* [CFA + fp_offset] */,
    HT_FP_AT_FP /* [fp + fp_offset] */
};

/* The return address is at CFA - 8, except in a signal frame. */
struct ht_rule {
    uint64_t kind : 4;
    uint64_t fp : 2;
    uint64_t hidden : 1; /* a frame of ours (frames.h): it is stepped over and not shown */
    int64_t fp_offset : 16;
    int64_t deref_offset : 16;
    int64_t cfa_offset : 25;
};

/* As one word, to be loaded and tested at once. */
union ht_rule_word {
    uint64_t bits;
    struct ht_rule rule;
};

/* What most frames have, and what walks care for: CFA = sp + k, and rbp where it was or below the
 * CFA, in a frame that is shown. */
static inline bool ht_rule_is_common(struct ht_rule rule)
{
    const union ht_rule_word mask = {.rule = {.kind = 15, .fp = HT_FP_AT_FP, .hidden = 1}};
    const union ht_rule_word common = {.rule = {.kind = HT_RULE_SP}};
    return (((union ht_rule_word){.rule = rule}).bits & mask.bits) == common.bits;
}

/* Open addressing, linear probing, power-of-two capacity:
 *   used <= capacity / 2, so a probe ends soon: at 3 / 4 what was learnt last took five.
 * A writer (one, it holds the learn lock) stores the rule before the pc. The table may be emptied,
 * and a slot used again, while it is read: a reader looks at the pc before and after it takes the
 * rule. */
struct ht_rules_entry {
    uintptr_t pc; /* 0: free */
    union ht_rule_word word;
};

struct ht_rules {
    unsigned shift; /* 64 - log2(capacity) */
    uint64_t capacity, used;
    struct ht_rules_entry *entries;
};

/* The table as it is now, for one walk: a walk that began keeps its table. NULL while a library is
 * being unloaded, or before the first rule: then every rule is learnt afresh. Context: any. */
const struct ht_rules *ht_rules_current(void);

static inline uint64_t ht_rules_home(const struct ht_rules *rules, uintptr_t pc)
{
    return (pc * UINT64_C(0x9e3779b97f4a7c15)) >> rules->shift;
}

/* kind is HT_RULE_UNKNOWN if the table (which may be NULL) has none. Here, because a warm walk does
 * little else. */
static inline struct ht_rule ht_rules_find(const struct ht_rules *rules, uintptr_t pc)
{
    const struct ht_rule none = {.kind = HT_RULE_UNKNOWN};
    if (HT_UNLIKELY(rules == NULL))
        return none;
    for (uint64_t i = ht_rules_home(rules, pc);; i = (i + 1) & (rules->capacity - 1)) {
        const struct ht_rules_entry *entry = &rules->entries[i];
        uintptr_t found = __atomic_load_n(&entry->pc, __ATOMIC_ACQUIRE);
        if (HT_LIKELY(found == pc)) {
            union ht_rule_word word;
            word.bits = __atomic_load_n(&entry->word.bits, __ATOMIC_ACQUIRE); /* then look again */
            if (HT_UNLIKELY(__atomic_load_n(&entry->pc, __ATOMIC_RELAXED) != pc))
                return none;
            return word.rule;
        }
        if (found == 0)
            return none;
    }
}

/* Adds a rule to the current table, unless a library is being unloaded or memory ran out. The learn
 * lock is held. */
void ht_rules_add(uintptr_t pc, struct ht_rule rule);
/* Forgets all rules. The learn lock is held. */
void ht_rules_clear(void);

/* Around an unloading; the second may end several. */
void ht_rules_hide(void);
void ht_rules_show(unsigned unloadings);
unsigned ht_rules_hidden(void);

uint64_t ht_rules_count(void);

/* Changes whenever a rule may have become another one, and when they are hidden. Atomic. */
extern HT_HIDDEN uint64_t ht_rules_generation;

#endif
