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

struct ht_rules;

/* The table as it is now, for one walk: a walk that began keeps its table. NULL while a library is
 * being unloaded, or before the first rule: then every rule is learnt afresh. Context: any. */
const struct ht_rules *ht_rules_current(void);

/* kind is HT_RULE_UNKNOWN if the table (which may be NULL) has none. */
struct ht_rule ht_rules_find(const struct ht_rules *rules, uintptr_t pc);

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

/* Changes whenever a rule may have become another one. Context: any. */
uint64_t ht_rules_generation(void);

#endif
