#include "sample/unwind_learn.h"

#include <dlfcn.h>
#include <errno.h>
#include <libunwind-x86_64.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>

#include "sample/frames.h"
#include "sys/lock.h"
#include "sys/os.h"

#include "sys/poison.h"

/* What we use of the library, by the names its package has had since 1.1. */
#define LIBRARY "libunwind-x86_64.so.8"

static struct {
    typeof(unw_create_addr_space) *create_addr_space;
    typeof(unw_set_caching_policy) *set_caching_policy;
    typeof(unw_init_remote) *init_remote;
    typeof(unw_step) *step;
    typeof(unw_get_reg) *get_reg;
    typeof(unw_get_save_loc) *get_save_loc;
    typeof(unw_is_signal_frame) *is_signal_frame;
    int (*search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *,
                               int, void *);
} lib;

static struct ht_lock
    learn_lock; /* rank HT_RANK_LEARN; guards the library, its stack, and rules being added */
static unw_addr_space_t space;
static bool ready;

/* ---- symbols: sentinels that no real address can be (not canonical) ---- */

/* Bits 63..48 say what it is: REGISTER + n is "register n + offset", MEMORY + n is "[register n + slot] + offset".
 * Offsets are biased so that small negative ones stay inside their field. */
#define REGISTER      UINT64_C(0xa000)
#define MEMORY        UINT64_C(0xb000)
#define OPAQUE        (UINT64_C(0xc000) << 48 | 0x1000) /* memory at memory: no rule uses it */
#define REGISTER_BIAS (INT64_C(1) << 40)
#define SLOT_BIAS     (INT64_C(1) << 15)
#define MEMORY_BIAS   (INT64_C(1) << 31)

struct symbol {
    enum { SYMBOL_NONE, SYMBOL_REGISTER, SYMBOL_MEMORY } kind;
    unsigned reg;
    int64_t slot, offset;
};

static uint64_t register_symbol(unsigned reg)
{
    return (REGISTER + reg) << 48 | (uint64_t)REGISTER_BIAS;
}

static struct symbol symbol_of(uint64_t value)
{
    uint64_t top = value >> 48;
    if (top >= REGISTER && top < REGISTER + HT_REGS)
        return (struct symbol){
            .kind = SYMBOL_REGISTER,
            .reg = (unsigned)(top - REGISTER),
            .offset = (int64_t)(value & ((UINT64_C(1) << 48) - 1)) - REGISTER_BIAS,
        };
    if (top >= MEMORY && top < MEMORY + HT_REGS)
        return (struct symbol){
            .kind = SYMBOL_MEMORY,
            .reg = (unsigned)(top - MEMORY),
            .slot = (int64_t)(value >> 32 & 0xffff) - SLOT_BIAS,
            .offset = (int64_t)(value & UINT32_MAX) - MEMORY_BIAS,
        };
    return (struct symbol){.kind = SYMBOL_NONE};
}

/* What a word at a symbolic address reads as. */
static uint64_t memory_symbol(struct symbol at)
{
    if (at.kind != SYMBOL_REGISTER || at.offset < -SLOT_BIAS || at.offset >= SLOT_BIAS)
        return OPAQUE;
    return (MEMORY + at.reg) << 48 | (uint64_t)(at.offset + SLOT_BIAS) << 32 |
           (uint64_t)MEMORY_BIAS;
}

/* ---- the accessors ---- */

#define PAGES_KNOWN 8

/* One request to the library; its `arg`. */
struct request {
    const struct ht_registers *registers; /* NULL: symbols */
    uintptr_t pc;
    bool no_fde;                       /* a pc had no unwind information */
    uintptr_t known_page[PAGES_KNOWN]; /* pages found readable, round robin */
    unsigned known_next;
};

static bool page_is_readable(struct request *request, uintptr_t address)
{
    uintptr_t page = ht_round_down(address, HT_PAGE);
    for (unsigned i = 0; i < PAGES_KNOWN; i++) {
        if (request->known_page[i] == page)
            return page != 0;
    }
    if (page == 0 || !ht_os_readable(page))
        return false;
    request->known_page[request->known_next++ % PAGES_KNOWN] = page;
    return true;
}

static bool read_memory(struct request *request, uintptr_t address, void *to, size_t size)
{
    if (address + size < address || !page_is_readable(request, address) ||
        !page_is_readable(request, address + size - 1))
        return false;
    memcpy(to, (const void *)address, size);
    return true;
}

static int access_mem(unw_addr_space_t as, unw_word_t address, unw_word_t *value, int write,
                      void *arg)
{
    (void)as;
    struct request *request = arg;
    if (write)
        return -UNW_EINVAL;
    if (request->registers == NULL) {
        struct symbol at = symbol_of(address);
        if (at.kind != SYMBOL_NONE || address == OPAQUE) {
            *value = memory_symbol(at);
            return 0;
        }
    }
    return read_memory(request, address, value, sizeof(*value)) ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t reg, unw_word_t *value, int write,
                      void *arg)
{
    (void)as;
    struct request *request = arg;
    if (write || reg < 0 || reg >= HT_REGS)
        return -UNW_EBADREG;
    if (request->registers != NULL)
        *value = request->registers->value[reg];
    else
        *value = reg == HT_REG_PC ? request->pc : register_symbol((unsigned)reg);
    return 0;
}

static int access_fpreg(unw_addr_space_t as, unw_regnum_t reg, unw_fpreg_t *value, int write,
                        void *arg)
{
    (void)as, (void)reg, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int get_dyn_info_list_addr(unw_addr_space_t as, unw_word_t *address, void *arg)
{
    (void)as, (void)address, (void)arg;
    return -UNW_ENOINFO;
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *info, void *arg)
{
    (void)as, (void)info, (void)arg; /* the library takes its own back */
}

static int resume_never(unw_addr_space_t as, unw_cursor_t *cursor, void *arg)
{
    (void)as, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t as, unw_word_t pc, char *name, size_t size,
                         unw_word_t *offset, void *arg)
{
    (void)as, (void)pc, (void)name, (void)size, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

/* .eh_frame_hdr as every linker writes it (LSB core, 10.6.2): version 1; eh_frame_ptr pcrel sdata4; fde_count
 * udata4; a table of datarel sdata4 pairs, sorted by the pc where each FDE starts. */
struct table_entry {
    int32_t start, fde;
};

struct frame_header {
    uint8_t version, eh_frame_ptr_enc, fde_count_enc, table_enc;
    int32_t eh_frame_ptr;
    uint32_t fde_count;
    struct table_entry table[];
};

/* The address of the table's last entry that starts at or before the pc; 0 when there is none. */
static uintptr_t table_entry_of(struct request *request, uintptr_t header_address, uintptr_t pc)
{
    struct frame_header header;
    if (header_address == 0 || !read_memory(request, header_address, &header, sizeof(header)) ||
        header.version != 1 || header.fde_count_enc != 0x03 || header.table_enc != 0x3b ||
        (header.eh_frame_ptr_enc & 0x0f) != 0x0b)
        return 0;
    int64_t wanted = (int64_t)(pc - header_address);
    uintptr_t table = header_address + sizeof(header);
    uint32_t low = 0, high = header.fde_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int32_t start;
        if (!read_memory(request, table + middle * sizeof(struct table_entry), &start,
                         sizeof(start)))
            return 0;
        if (start <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : table + (low - 1) * sizeof(struct table_entry);
}

/* Gives the library a table of one entry, so that it need not search. */
static int find_proc_info(unw_addr_space_t as, unw_word_t pc, unw_proc_info_t *info, int need_info,
                          void *arg)
{
    struct request *request = arg;
    struct dl_find_object module;
    int r = -UNW_ENOINFO;
    if (_dl_find_object((void *)pc, &module) == 0) {
        uintptr_t header = (uintptr_t)module.dlfo_eh_frame;
        uintptr_t entry = table_entry_of(request, header, pc);
        if (entry != 0) {
            unw_dyn_info_t table = {
                .start_ip = (uintptr_t)module.dlfo_map_start,
                .end_ip = (uintptr_t)module.dlfo_map_end,
                .format = UNW_INFO_FORMAT_REMOTE_TABLE,
                .u.rti = {.segbase = header,
                          .table_data = entry,
                          .table_len = sizeof(struct table_entry) / sizeof(unw_word_t)},
            };
            r = lib.search_unwind_table(as, pc, &table, info, need_info, arg);
        }
    }
    if (r < 0)
        request->no_fde = true;
    return r;
}

/* ---- learning one rule ---- */

static bool fits(int64_t value, unsigned bits)
{
    return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
}

/* Where a register was saved, as a symbol; false if it was not saved to memory. */
static bool save_slot(unw_cursor_t *cursor, int reg, struct symbol *ret_slot)
{
    unw_save_loc_t location;
    if (lib.get_save_loc(cursor, reg, &location) < 0 || location.type != UNW_SLT_MEMORY)
        return false;
    *ret_slot = symbol_of(location.u.addr);
    return true;
}

static bool same_base(struct symbol a, struct symbol b)
{
    return a.kind == b.kind && a.reg == b.reg && a.slot == b.slot;
}

static bool is_slot(struct symbol slot, unsigned reg, int64_t offset)
{
    return slot.kind == SYMBOL_REGISTER && slot.reg == reg && slot.offset == offset;
}

/* Offsets of rbp, rsp and rip in the ucontext that the kernel lays at the stack pointer of a signal frame. */
enum { SIGNAL_RBP = 120, SIGNAL_RSP = 160, SIGNAL_RIP = 168 };

static bool is_signal_frame(struct symbol cfa, struct symbol pc_slot, struct symbol fp_slot)
{
    return cfa.kind == SYMBOL_MEMORY && cfa.reg == HT_REG_RSP && cfa.slot == SIGNAL_RSP &&
           cfa.offset == 0 && is_slot(pc_slot, HT_REG_RSP, SIGNAL_RIP) &&
           is_slot(fp_slot, HT_REG_RSP, SIGNAL_RBP);
}

static enum ht_rule_kind cfa_kind(struct symbol cfa)
{
    if (cfa.kind == SYMBOL_NONE || (cfa.reg != HT_REG_RSP && cfa.reg != HT_REG_RBP))
        return HT_RULE_OTHER;
    if (cfa.kind == SYMBOL_REGISTER)
        return cfa.reg == HT_REG_RSP ? HT_RULE_SP : HT_RULE_FP;
    return cfa.reg == HT_REG_RSP ? HT_RULE_SP_DEREF : HT_RULE_FP_DEREF;
}

/* The rule that a step from symbols shows. */
static struct ht_rule read_rule(unw_cursor_t *cursor)
{
    const struct ht_rule other = {.kind = HT_RULE_OTHER};
    unw_word_t cfa_value;
    struct symbol pc_slot, fp_slot = {.kind = SYMBOL_NONE};
    if (lib.get_reg(cursor, UNW_X86_64_RSP, &cfa_value) < 0 ||
        !save_slot(cursor, UNW_X86_64_RIP, &pc_slot))
        return other;
    struct symbol cfa = symbol_of(cfa_value);
    bool fp_saved = save_slot(cursor, UNW_X86_64_RBP, &fp_slot);
    if (fp_saved && is_signal_frame(cfa, pc_slot, fp_slot))
        return (struct ht_rule){.kind = HT_RULE_SIGNAL};

    struct ht_rule rule = {.kind = cfa_kind(cfa), .fp = HT_FP_SAME};
    int64_t cfa_offset = cfa.kind == SYMBOL_MEMORY ? cfa.slot : cfa.offset;
    int64_t deref_offset = cfa.kind == SYMBOL_MEMORY ? cfa.offset : 0;
    if (rule.kind == HT_RULE_OTHER || !same_base(pc_slot, cfa) ||
        pc_slot.offset != cfa.offset - 8 || !fits(cfa_offset, 26) || !fits(deref_offset, 16))
        return other;
    rule.cfa_offset = cfa_offset;
    rule.deref_offset = deref_offset;

    int64_t fp_offset = 0;
    if (fp_saved && same_base(fp_slot, cfa)) {
        rule.fp = HT_FP_AT_CFA;
        fp_offset = fp_slot.offset - cfa.offset;
    } else if (fp_saved && fp_slot.kind == SYMBOL_REGISTER && fp_slot.reg == HT_REG_RBP) {
        rule.fp = HT_FP_AT_FP;
        fp_offset = fp_slot.offset;
    } else if (fp_saved) {
        return other;
    } else {
        unw_save_loc_t location;
        if (lib.get_save_loc(cursor, UNW_X86_64_RBP, &location) < 0 ||
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
    struct request request = {.pc = pc};
    unw_cursor_t cursor;
    if (lib.init_remote(&cursor, space, &request) < 0)
        return (struct ht_rule){.kind = HT_RULE_NO_CFI};
    int r = lib.step(&cursor);
    if (request.no_fde)
        return (struct ht_rule){.kind = HT_RULE_NO_CFI};
    if (r == 0)
        return (struct ht_rule){.kind = HT_RULE_END};
    return r < 0 ? (struct ht_rule){.kind = HT_RULE_OTHER} : read_rule(&cursor);
}

/* ---- running it: own lock, own stack, no signals ---- */

#define STACK_SIZE (64 * 1024)

static char learn_stack[STACK_SIZE] __attribute__((aligned(16)));

static intptr_t run_locked(intptr_t (*function)(void *), void *argument)
{
    uint64_t signals;
    int saved = errno;
    ht_os_block_signals(&signals);
    ht_lock_take(&learn_lock);
    intptr_t result = ht_os_call_on_stack(function, argument, learn_stack + STACK_SIZE);
    ht_lock_release(&learn_lock);
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
    lesson->rule = learn(lesson->pc);
    /* Code of no module is not remembered: a JIT compiler may put other code there without a word. */
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
    run_locked(take_lesson, &lesson);
    return lesson.rule;
}

struct whole_walk {
    const struct ht_frame *from;
    struct ht_registers registers;
    uintptr_t *pcs;
    unsigned depth_max;
};

static intptr_t walk_whole(void *argument)
{
    struct whole_walk *walk = argument;
    struct request request = {.registers = &walk->registers};
    unw_cursor_t cursor;
    unsigned depth = 0;
    int r = lib.init_remote(&cursor, space, &request);
    bool inside = false, interrupted = false;
    uintptr_t below = 0;
    while (r >= 0) {
        interrupted = lib.is_signal_frame(&cursor) > 0;
        r = lib.step(&cursor);
        unw_word_t pc, sp;
        if (r <= 0 || request.no_fde || lib.get_reg(&cursor, UNW_X86_64_RIP, &pc) < 0 ||
            lib.get_reg(&cursor, UNW_X86_64_RSP, &sp) < 0)
            break;
        /* Only a signal frame may lead to a lower stack pointer: to the stack it interrupted. */
        if (sp <= below && !interrupted) {
            r = -1;
            break;
        }
        below = sp;
        inside = inside || (sp == walk->from->sp && pc == walk->from->pc);
        if (!inside)
            continue;
        if (depth == walk->depth_max) {
            r = -1;
            break;
        }
        walk->pcs[depth++] = interrupted ? pc : pc - 1;
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
    return (unsigned)run_locked(walk_whole, &walk);
}

/* ---- loading ---- */

static int lowest_free_descriptor(int from)
{
    while (fcntl(from, F_GETFD) >= 0)
        from++;
    return from;
}

/* The library's init opens a pipe to test addresses with, even though our accessors never do. Nobody may find it
 * later: descriptors that were free before and are two ends of one pipe now are its own. */
static void close_pipe(int first, int second)
{
    struct stat a, b;
    if (fstat(first, &a) == 0 && fstat(second, &b) == 0 && S_ISFIFO(a.st_mode) &&
        S_ISFIFO(b.st_mode) && a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
        ht_os_close(first);
        ht_os_close(second);
    }
}

static bool find_symbols(void *handle)
{
    struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"_Ux86_64_create_addr_space", &lib.create_addr_space},
        {"_Ux86_64_set_caching_policy", &lib.set_caching_policy},
        {"_Ux86_64_init_remote", &lib.init_remote},
        {"_Ux86_64_step", &lib.step},
        {"_Ux86_64_get_reg", &lib.get_reg},
        {"_Ux86_64_get_save_loc", &lib.get_save_loc},
        {"_Ux86_64_is_signal_frame", &lib.is_signal_frame},
        {"_Ux86_64_dwarf_search_unwind_table", &lib.search_unwind_table},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(symbols); i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (symbol == NULL)
            return false;
        memcpy(symbols[i].to, &symbol, sizeof(symbol));
    }
    return true;
}

static intptr_t warm_up(void *argument)
{
    (void)argument;
    struct ht_rule rule = learn((uintptr_t)ht_learn_start);
    return rule.kind == HT_RULE_SP || rule.kind == HT_RULE_FP;
}

bool ht_learn_start(const char **ret_reason)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL || !find_symbols(handle)) {
        *ret_reason = LIBRARY " cannot be loaded (package libunwind8)";
        return false;
    }
    int first = lowest_free_descriptor(0);
    int second = lowest_free_descriptor(first + 1);
    /* Newer versions have more members than we know; the library copies as many as it knows. */
    static struct {
        unw_accessors_t accessors;
        void *more[8];
    } padded = {.accessors = {.find_proc_info = find_proc_info,
                              .put_unwind_info = put_unwind_info,
                              .get_dyn_info_list_addr = get_dyn_info_list_addr,
                              .access_mem = access_mem,
                              .access_reg = access_reg,
                              .access_fpreg = access_fpreg,
                              .resume = resume_never,
                              .get_proc_name = get_proc_name}};
    space = lib.create_addr_space(&padded.accessors, 0);
    bool works = false;
    if (space != NULL) {
        lib.set_caching_policy(space, UNW_CACHE_NONE);
        works = run_locked(warm_up, NULL);
    }
    close_pipe(first, second);
    if (!works)
        *ret_reason = LIBRARY " does not work as expected";
    __atomic_store_n(&ready, works, __ATOMIC_RELEASE);
    return works;
}

bool ht_learn_is_ready(void)
{
    return __atomic_load_n(&ready, __ATOMIC_ACQUIRE);
}

void ht_learn_unload_begin(void)
{
    ht_rules_hide();
}

void ht_learn_unload_end(void)
{
    uint64_t signals;
    ht_os_block_signals(&signals);
    ht_lock_take(&learn_lock);
    ht_rules_clear();
    ht_rules_show();
    ht_lock_release(&learn_lock);
    ht_os_restore_signals(&signals);
}

void ht_learn_fork_prepare(void)
{
    ht_lock_take(&learn_lock);
}

void ht_learn_fork_parent(void)
{
    ht_lock_release(&learn_lock);
}

void ht_learn_fork_child(void)
{
    ht_lock_reset(&learn_lock);
}
