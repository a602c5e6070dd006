#include "sample/unwind_rules.h"

#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

#define CAPACITY_FIRST 1024u
#define CAPACITY_MAX   (UINT64_C(1) << 18)

_Static_assert(sizeof(union ht_rule_word) == 8, "a rule is one word");

static struct ht_rules *current;
static unsigned hidden; /* unloadings in progress */
uint64_t ht_rules_generation = 1;

static void begin_generation(void)
{
    __atomic_add_fetch(&ht_rules_generation, 1, __ATOMIC_ACQ_REL);
}

const struct ht_rules *ht_rules_current(void)
{
    if (HT_UNLIKELY(__atomic_load_n(&hidden, __ATOMIC_ACQUIRE) != 0))
        return NULL;
    return __atomic_load_n(&current, __ATOMIC_ACQUIRE);
}

static void put(struct ht_rules *rules, uintptr_t pc, struct ht_rule rule)
{
    uint64_t i = ht_rules_home(rules, pc);
    while (rules->entries[i].pc != 0) {
        if (rules->entries[i].pc == pc)
            return;
        i = (i + 1) & (rules->capacity - 1);
    }
    union ht_rule_word word = {.rule = rule};
    __atomic_store_n(&rules->entries[i].word.bits, word.bits, __ATOMIC_RELAXED);
    __atomic_store_n(&rules->entries[i].pc, pc, __ATOMIC_RELEASE);
    rules->used++;
}

static struct ht_rules *new_rules(uint64_t capacity)
{
    /* From the part that is kept for dumps: without rules every frame would be learnt again, at 3
     * us. */
    char *memory = ht_arena_map(HT_PAGE + capacity * sizeof(struct ht_rules_entry));
    if (memory == NULL)
        return NULL;
    struct ht_rules *rules = (struct ht_rules *)memory;
    rules->capacity = capacity;
    rules->shift = (unsigned)__builtin_clzll(capacity) + 1;
    rules->entries = (struct ht_rules_entry *)(memory + HT_PAGE);
    return rules;
}

/* A walk may still read the old table: it reads as empty from now on, and the walk learns again. */
static void replace(struct ht_rules *rules)
{
    struct ht_rules *old = current;
    __atomic_store_n(&current, rules, __ATOMIC_RELEASE);
    if (old != NULL)
        ht_arena_retire(old->entries, old->capacity * sizeof(*old->entries));
}

static bool make_room(void)
{
    struct ht_rules *old = current;
    if (old != NULL && old->used < old->capacity / 2)
        return true;
    if (old != NULL && old->capacity == CAPACITY_MAX) {
        ht_rules_clear();
        return true;
    }
    struct ht_rules *grown = new_rules(old == NULL ? CAPACITY_FIRST : old->capacity * 2);
    if (grown == NULL)
        return false;
    for (uint64_t i = 0; old != NULL && i < old->capacity; i++) {
        if (old->entries[i].pc != 0)
            put(grown, old->entries[i].pc, old->entries[i].word.rule);
    }
    replace(grown);
    return true;
}

void ht_rules_add(uintptr_t pc, struct ht_rule rule)
{
    if (__atomic_load_n(&hidden, __ATOMIC_ACQUIRE) == 0 && make_room())
        put(current, pc, rule);
}

/* The new generation begins when the last rule of the old one is gone. */
void ht_rules_clear(void)
{
    if (current != NULL && current->used != 0) {
        if (!ht_os_discard(current->entries, current->capacity * sizeof(*current->entries))) {
            for (uint64_t i = 0; i < current->capacity; i++)
                __atomic_store_n(&current->entries[i].pc, 0, __ATOMIC_RELAXED);
        }
        current->used = 0;
    }
    begin_generation();
}

void ht_rules_hide(void)
{
    __atomic_add_fetch(&hidden, 1, __ATOMIC_ACQ_REL);
    begin_generation();
}

void ht_rules_show(unsigned unloadings)
{
    __atomic_sub_fetch(&hidden, unloadings, __ATOMIC_ACQ_REL);
}

unsigned ht_rules_hidden(void)
{
    return __atomic_load_n(&hidden, __ATOMIC_ACQUIRE);
}

uint64_t ht_rules_count(void)
{
    const struct ht_rules *rules = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    return rules == NULL ? 0 : rules->used;
}
