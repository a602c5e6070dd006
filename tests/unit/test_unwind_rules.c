#include "test.h"

#include <sys/mman.h>

#include "sample/unwind_rules.h"
#include "sys/arena.h"

static struct ht_rule rule_for(uintptr_t pc)
{
    return (struct ht_rule){.kind = HT_RULE_SP,
                            .fp = HT_FP_AT_CFA,
                            .fp_offset = -16,
                            .deref_offset = -(int64_t)(pc % 1000),
                            .cfa_offset = (int64_t)(pc % 100000)};
}

static void check(uintptr_t pc)
{
    struct ht_rule rule = ht_rules_find(ht_rules_current(), pc), expected = rule_for(pc);
    CHECK_EQ(rule.kind, expected.kind);
    CHECK_EQ(rule.fp, expected.fp);
    CHECK_EQ(rule.fp_offset, expected.fp_offset);
    CHECK_EQ(rule.deref_offset, expected.deref_offset);
    CHECK_EQ(rule.cfa_offset, expected.cfa_offset);
}

TEST(rules_are_found_again_while_the_table_grows)
{
    CHECK_EQ(ht_rules_find(NULL, 5).kind, HT_RULE_UNKNOWN);
    for (uintptr_t pc = 0x400000; pc < 0x400000 + 5 * 50000; pc += 5) {
        ht_rules_add(pc, rule_for(pc));
        check(pc);
    }
    CHECK_EQ(ht_rules_count(), 50000);
    for (uintptr_t pc = 0x400000; pc < 0x400000 + 5 * 50000; pc += 5)
        check(pc);
    CHECK_EQ(ht_rules_find(ht_rules_current(), 0x400001).kind, HT_RULE_UNKNOWN);
}

TEST(rules_of_a_table_that_was_outgrown_read_as_unknown)
{
    const struct ht_rules *old = ht_rules_current();
    ht_rules_clear();
    CHECK_EQ(ht_rules_find(old, 0x400000).kind, HT_RULE_UNKNOWN);
    CHECK_EQ(ht_rules_find(ht_rules_current(), 0x400000).kind, HT_RULE_UNKNOWN);
    CHECK_EQ(ht_rules_count(), 0);
}

TEST(rules_hide_while_a_library_goes)
{
    ht_rules_add(0x1000, rule_for(0x1000));
    check(0x1000);
    ht_rules_hide();
    CHECK(ht_rules_current() == NULL);
    ht_rules_add(0x2000, rule_for(0x2000)); /* perhaps of the library that goes */
    ht_rules_show(1);
    CHECK_EQ(ht_rules_find(ht_rules_current(), 0x2000).kind, HT_RULE_UNKNOWN);
    check(0x1000);
}

TEST(rules_without_memory_are_not_kept)
{
    uint64_t before = ht_rules_count();
    ht_arena_fail_from(1);
    for (uintptr_t pc = 0x800000; pc < 0x800000 + 100000; pc++)
        ht_rules_add(pc, rule_for(pc));
    ht_arena_fail_from(0);
    CHECK(ht_rules_count() >= before);
    CHECK(ht_rules_count() < 100000);
    check(0x1000);
}

TEST(rules_are_forgotten_in_locked_memory_too)
{
    ht_rules_add(0x3000, rule_for(0x3000));
    check(0x3000);
    bool locked = mlockall(MCL_CURRENT) == 0; /* not everybody may */
    ht_rules_clear();
    CHECK_EQ(ht_rules_find(ht_rules_current(), 0x3000).kind, HT_RULE_UNKNOWN);
    if (locked)
        munlockall();
}

#define PC 0x123450u

static uint32_t done;

/* The rule's number is the generation that it was added in. */
static void *add_and_clear(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 20000; i++) {
        ht_rules_add(PC, (struct ht_rule){.kind = HT_RULE_SP,
                                          .cfa_offset = (int64_t)(ht_rules_generation % 10000000)});
        ht_rules_clear();
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Or what was walked by it would be believed in the generation that it does not belong to. */
TEST(rules_of_a_generation_are_gone_before_the_next_begins)
{
    pthread_t thread;
    unsigned found = 0;
    CHECK_EQ(pthread_create(&thread, NULL, add_and_clear, NULL), 0);
    while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) == 0) {
        uint64_t generation = __atomic_load_n(&ht_rules_generation, __ATOMIC_ACQUIRE);
        struct ht_rule rule = ht_rules_find(ht_rules_current(), PC);
        if (rule.kind == HT_RULE_UNKNOWN)
            continue;
        found++;
        CHECK((uint64_t)rule.cfa_offset >= generation % 10000000);
    }
    pthread_join(thread, NULL);
    CHECK(found > 0);
}
