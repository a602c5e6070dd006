#include "sample/unwind_learn.h"

#include <dlfcn.h>
#include <errno.h>

#include "sample/budget.h"
#include "sample/frames.h"
#include "sample/modules.h"
#include "sample/unwind_library.h"
#include "sample/unwind_symbols.h"
#include "sys/lock.h"
#include "sys/os.h"

#include "sys/poison.h"

static const struct ht_unwind_library *const lib = &ht_unwind_library;

static struct ht_lock
    learn_lock; /* rank HT_RANK_LEARN; guards the library, its stack, and rules being added */
static bool ready;

/* ---- learning one rule ---- */

static bool fits(int64_t value, unsigned bits)
{
    return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
}

/* Where a register was saved, as a symbol; false if it was not saved to memory. */
static bool save_slot(unw_cursor_t *cursor, int reg, struct ht_symbol *ret_slot)
{
    unw_save_loc_t location;
    if (lib->get_save_loc(cursor, reg, &location) < 0 || location.type != UNW_SLT_MEMORY)
        return false;
    *ret_slot = ht_symbol_read(location.u.addr);
    return true;
}

static bool same_base(struct ht_symbol a, struct ht_symbol b)
{
    return a.kind == b.kind && a.reg == b.reg && a.slot == b.slot;
}

static bool is_slot(struct ht_symbol slot, unsigned reg, int64_t offset)
{
    return slot.kind == HT_SYMBOL_REGISTER && slot.reg == reg && slot.offset == offset;
}

/* Offsets of rbp, rsp and rip in the ucontext that the kernel lays at the stack pointer of a signal
 * frame. */
enum { SIGNAL_RBP = 120, SIGNAL_RSP = 160, SIGNAL_RIP = 168 };

static bool is_signal_frame(struct ht_symbol cfa, struct ht_symbol pc_slot,
                            struct ht_symbol fp_slot)
{
    return cfa.kind == HT_SYMBOL_MEMORY && cfa.reg == HT_REG_RSP && cfa.slot == SIGNAL_RSP &&
           cfa.offset == 0 && is_slot(pc_slot, HT_REG_RSP, SIGNAL_RIP) &&
           is_slot(fp_slot, HT_REG_RSP, SIGNAL_RBP);
}

static enum ht_rule_kind cfa_kind(struct ht_symbol cfa)
{
    if (cfa.kind == HT_SYMBOL_NONE || (cfa.reg != HT_REG_RSP && cfa.reg != HT_REG_RBP))
        return HT_RULE_OTHER;
    if (cfa.kind == HT_SYMBOL_REGISTER)
        return cfa.reg == HT_REG_RSP ? HT_RULE_SP : HT_RULE_FP;
    return cfa.reg == HT_REG_RSP ? HT_RULE_SP_DEREF : HT_RULE_FP_DEREF;
}

/* The rule that a step from symbols shows. */
static struct ht_rule read_rule(unw_cursor_t *cursor)
{
    const struct ht_rule other = {.kind = HT_RULE_OTHER};
    unw_word_t cfa_value;
    struct ht_symbol pc_slot, fp_slot = {.kind = HT_SYMBOL_NONE};
    if (lib->get_reg(cursor, UNW_X86_64_RSP, &cfa_value) < 0 ||
        !save_slot(cursor, UNW_X86_64_RIP, &pc_slot))
        return other;
    struct ht_symbol cfa = ht_symbol_read(cfa_value);
    bool fp_saved = save_slot(cursor, UNW_X86_64_RBP, &fp_slot);
    if (fp_saved && is_signal_frame(cfa, pc_slot, fp_slot))
        return (struct ht_rule){.kind = HT_RULE_SIGNAL};

    struct ht_rule rule = {.kind = cfa_kind(cfa), .fp = HT_FP_SAME};
    int64_t cfa_offset = cfa.kind == HT_SYMBOL_MEMORY ? cfa.slot : cfa.offset;
    int64_t deref_offset = cfa.kind == HT_SYMBOL_MEMORY ? cfa.offset : 0;
    if (rule.kind == HT_RULE_OTHER || !same_base(pc_slot, cfa) ||
        pc_slot.offset != cfa.offset - 8 || !fits(cfa_offset, 25) || !fits(deref_offset, 16))
        return other;
    rule.cfa_offset = cfa_offset;
    rule.deref_offset = deref_offset;

    int64_t fp_offset = 0;
    if (fp_saved && same_base(fp_slot, cfa)) {
        rule.fp = HT_FP_AT_CFA;
        fp_offset = fp_slot.offset - cfa.offset;
    } else if (fp_saved && fp_slot.kind == HT_SYMBOL_REGISTER && fp_slot.reg == HT_REG_RBP) {
        rule.fp = HT_FP_AT_FP;
        fp_offset = fp_slot.offset;
    } else if (fp_saved) {
        return other;
    } else {
        unw_save_loc_t location;
        if (lib->get_save_loc(cursor, UNW_X86_64_RBP, &location) < 0 ||
            location.type != UNW_SLT_REG || location.u.regnum != UNW_X86_64_RBP)
            return other;
    }
    if (!fits(fp_offset, 16))
        return other;
    rule.fp_offset = fp_offset;
    return rule;
}

static struct ht_rule learn(uintptr_t pc)
{
    struct ht_unwind_request request = {.pc = pc};
    unw_cursor_t cursor;
    if (lib->init_remote(&cursor, lib->space, &request) < 0)
        return (struct ht_rule){.kind = HT_RULE_NO_CFI};
    int r = lib->step(&cursor);
    if (request.no_fde)
        return (struct ht_rule){.kind = HT_RULE_NO_CFI};
    if (r == 0)
        return (struct ht_rule){.kind = HT_RULE_END};
    return r < 0 ? (struct ht_rule){.kind = HT_RULE_OTHER} : read_rule(&cursor);
}

/* ---- running it: own lock, own stack, no signals ---- */

#define STACK_SIZE (64 * 1024)

static char learn_stack[STACK_SIZE] __attribute__((aligned(16)));

/* Unloadings that have ended but found no lock: a fork kept it. Until they are settled no rule is
 * believed. */
static uint32_t unsettled;

/* Those in progress in this thread: a destructor may unload another library, or fork. */
static HT_THREAD_LOCAL uint32_t unloading;

/* The lock is held. */
static void settle_unloadings(void)
{
    uint32_t ended = __atomic_exchange_n(&unsettled, 0, __ATOMIC_ACQ_REL);
    if (HT_LIKELY(ended == 0))
        return;
    ht_modules_settle();
    ht_rules_clear();
    ht_unwind_library_forget_pages();
    ht_rules_show(ended);
}

/* What the function returns, or -1 when the lock cannot be had. */
static intptr_t run_locked(intptr_t (*function)(void *), void *argument)
{
    uint64_t signals;
    int saved = errno;
    intptr_t result = -1;
    ht_os_block_signals(&signals);
    if (ht_lock_take(&learn_lock)) {
        settle_unloadings();
        result = ht_os_call_on_stack(function, argument, learn_stack + STACK_SIZE);
        ht_lock_release(&learn_lock);
    }
    ht_os_restore_signals(&signals);
    errno = saved;
    return result;
}

struct lesson {
    uintptr_t pc;
    struct ht_rule rule;
};

static intptr_t take_lesson(void *argument)
{
    struct lesson *lesson = argument;
    lesson->rule = ht_rules_find(ht_rules_current(), lesson->pc);
    if (lesson->rule.kind != HT_RULE_UNKNOWN)
        return 0;
    if (ht_modules_note(lesson->pc)) {
        ht_rules_clear(); /* a library went without dlclose: of the C library's own making */
        ht_unwind_library_forget_pages();
    }
    lesson->rule = learn(lesson->pc);
    lesson->rule.hidden = ht_frames_are_ours(lesson->pc);
    /* Code of no module is not remembered: a JIT compiler may put other code there without a
     * word. */
    struct dl_find_object module;
    if (_dl_find_object((void *)lesson->pc, &module) == 0)
        ht_rules_add(lesson->pc, lesson->rule);
    return 0;
}

struct ht_rule ht_learn_rule(uintptr_t pc)
{
    struct lesson lesson = {.pc = pc};
    struct dl_find_object module;
    if (_dl_find_object((void *)pc, &module) != 0)
        return (struct ht_rule){.kind = HT_RULE_NO_CFI}; /* without the lock */
    uint64_t began = ht_clock_now();
    if (run_locked(take_lesson, &lesson) < 0)
        lesson.rule = (struct ht_rule){.kind = HT_RULE_OTHER};
    ht_budget_add_apart(began);
    return lesson.rule;
}

struct whole_walk {
    const struct ht_frame *from;
    struct ht_registers registers;
    uintptr_t *pcs;
    unsigned depth_max;
};

/* The lock is held already. */
static enum ht_rule_kind kind_of(uintptr_t lookup)
{
    struct lesson lesson = {.pc = lookup};
    take_lesson(&lesson);
    return lesson.rule.kind;
}

/* Where the caller's stack pointer is said to be saved, as a number of its own for each place. In
 * most frames nothing is said, and it stays what it was. */
static uintptr_t sp_location(unw_cursor_t *cursor)
{
    unw_save_loc_t location;
    if (lib->get_save_loc(cursor, UNW_X86_64_RSP, &location) < 0)
        return 0;
    return location.type == UNW_SLT_MEMORY ? location.u.addr : (uintptr_t)location.u.regnum;
}

static intptr_t walk_whole(void *argument)
{
    struct whole_walk *walk = argument;
    struct ht_unwind_request request = {.registers = &walk->registers};
    unw_cursor_t cursor;
    unsigned depth = 0;
    int r = lib->init_remote(&cursor, lib->space, &request);
    bool inside = false;
    uintptr_t below = 0, lookup = walk->registers.value[HT_REG_PC];
    while (r >= 0) {
        /* What libunwind says of it itself is true one frame later. */
        enum ht_rule_kind kind = kind_of(lookup);
        bool interrupted = kind == HT_RULE_SIGNAL;
        uintptr_t sp_saved = sp_location(&cursor);
        request.reads = 0;
        r = lib->step(&cursor);
        unw_word_t pc, sp;
        if (r == 0 && kind != HT_RULE_END)
            r = -1; /* it ends where rbp is saved at 0, too: so gcc's last instructions may say */
        if (r <= 0 || request.no_fde || lib->get_reg(&cursor, UNW_X86_64_RIP, &pc) < 0 ||
            lib->get_reg(&cursor, UNW_X86_64_RSP, &sp) < 0)
            break;
        /* Only a signal frame may lead to a lower stack pointer: to the stack it interrupted. */
        if (sp <= below && !interrupted) {
            r = -1;
            break;
        }
        below = sp;
        lookup = interrupted ? pc : pc - 1;
        inside = inside || (sp == walk->from->sp && pc == walk->from->pc);
        if (!inside)
            continue;
        if (depth == walk->depth_max) {
            r = -1;
            break;
        }
        if (!ht_frames_are_ours(lookup))
            walk->pcs[depth++] = lookup;
        /* libunwind takes the CFA for the caller's stack pointer. The last instructions of
         * longjmp() and setcontext() say that it is elsewhere. */
        if (!interrupted && sp_location(&cursor) != sp_saved)
            r = -1;
    }
    if (depth == 0)
        walk->pcs[depth++] = walk->from->pc - 1;
    if (r != 0)
        walk->pcs[depth++] = HT_PC_TRUNCATED;
    return depth;
}

__attribute__((noinline)) unsigned ht_learn_walk(const struct ht_frame *from, uintptr_t *pcs,
                                                 unsigned depth_max)
{
    struct whole_walk walk = {.from = from, .pcs = pcs, .depth_max = depth_max};
    HT_ARCH_CAPTURE(&walk.registers);
    uint64_t began = ht_clock_now();
    intptr_t depth = run_locked(walk_whole, &walk);
    ht_budget_add_apart(began);
    if (depth > 0)
        return (unsigned)depth;
    pcs[0] = from->pc - 1;
    pcs[1] = HT_PC_TRUNCATED;
    return 2;
}

static intptr_t warm_up(void *argument)
{
    (void)argument;
    struct ht_rule rule = learn((uintptr_t)ht_learn_start);
    return rule.kind == HT_RULE_SP || rule.kind == HT_RULE_FP;
}

static bool try_library(void)
{
    return run_locked(warm_up, NULL) > 0;
}

bool ht_learn_start(const char **ret_reason)
{
    bool works = ht_unwind_library_open(try_library, ret_reason);
    __atomic_store_n(&ready, works, __ATOMIC_RELEASE);
    return works;
}

bool ht_learn_is_ready(void)
{
    return __atomic_load_n(&ready, __ATOMIC_ACQUIRE);
}

void ht_learn_unload_begin(void)
{
    unloading++;
    ht_rules_hide();
}

void ht_learn_unload_end(void)
{
    uint64_t signals;
    unloading--;
    __atomic_fetch_add(&unsettled, 1, __ATOMIC_ACQ_REL);
    ht_os_block_signals(&signals);
    if (ht_lock_take(&learn_lock)) {
        settle_unloadings();
        ht_lock_release(&learn_lock);
    }
    ht_os_restore_signals(&signals);
}

void ht_learn_fork_prepare(void)
{
    ht_lock_take_always(&learn_lock);
}

void ht_learn_fork_parent(void)
{
    ht_lock_release(&learn_lock);
}

void ht_learn_fork_child(void)
{
    ht_lock_reset(&learn_lock);
    /* The threads that were unloading something are no more. */
    unsettled = ht_rules_hidden() - unloading;
    settle_unloadings();
}
