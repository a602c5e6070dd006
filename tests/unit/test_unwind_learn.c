#include "test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "sample/modules.h"
#include "sample/unwind.h"
#include "sample/unwind_learn.h"
#include "sample/unwind_rules.h"

TEST(learn_starts)
{
    const char *reason = NULL;
    CHECK(ht_unwind_start(&reason));
    CHECK(ht_learn_is_ready());
}

/* ---- one rule for each kind of frame ---- */

/* Code that is never run: what its CFI says at at_NAME is what is learnt of it. .cfi_escape has
 * what compilers and people write as expressions. */
#define FRAME(name, cfi)                                                                           \
    ".p2align 4\n.type frame_" #name ", @function\nframe_" #name ":\n.cfi_startproc\nnop\n" cfi    \
    ".globl at_" #name "\n.hidden at_" #name "\nat_" #name ":\nnop\n.cfi_endproc\n"                \
    ".size frame_" #name ", . - frame_" #name "\n"

__asm__(
    ".text\n" FRAME(sp, ".cfi_def_cfa_offset 0x130\n.cfi_offset rbx, -16\n")
    /* push %rbp; mov %rsp, %rbp */
    FRAME(fp, ".cfi_def_cfa rbp, 16\n.cfi_offset rbp, -16\n")
    /* rbp saved, CFA still by rsp */
    FRAME(sp_saves_fp, ".cfi_def_cfa_offset 56\n.cfi_offset rbp, -48\n")
    /* gcc, a realigned stack: CFA = [rbp - 8], rbp at [rbp] */
    FRAME(drap,
          ".cfi_escape 0x0f, 0x03, 0x76, 0x78, 0x06\n.cfi_escape 0x10, 0x06, 0x02, 0x76, 0x00\n")
    /* OpenSSL: CFA = [rsp + 40] + 8, rbp at CFA - 24 */
    FRAME(openssl, ".cfi_escape 0x0f, 0x05, 0x77, 0x28, 0x06, 0x23, 0x08\n.cfi_offset rbp, -24\n")
    /* the same by rbp: CFA = [rbp - 16] + 16 */
    FRAME(fp_deref, ".cfi_escape 0x0f, 0x05, 0x76, 0x70, 0x06, 0x23, 0x10\n")
    /* an expression that is only an offset: rsp + 24 */
    FRAME(expression, ".cfi_escape 0x0f, 0x02, 0x77, 0x18\n")
    /* CFA in other registers, as in OpenSSL's prologues */
    FRAME(rax, ".cfi_def_cfa rax, 8\n") FRAME(r11, ".cfi_def_cfa r11, 8\n")
        FRAME(rbx, ".cfi_def_cfa rbx, 16\n")
    /* rbp is in another register, or at an address in one */
    FRAME(fp_in_rbx, ".cfi_register rbp, rbx\n")
        FRAME(fp_at_rbx, ".cfi_escape 0x10, 0x06, 0x02, 0x73, 0x08\n")
    /* the return address is not at CFA - 8 */
    FRAME(pc_elsewhere, ".cfi_def_cfa_offset 64\n.cfi_offset rip, -24\n")
    /* offsets that a rule has no room for */
    FRAME(huge, ".cfi_def_cfa_offset 0x1000000\n") FRAME(largest, ".cfi_def_cfa_offset 0xffffff\n")
        FRAME(far_fp, ".cfi_def_cfa_offset 0x20000\n.cfi_offset rbp, -0x8008\n")
    /* twice at memory: [[rsp + 8]] */
    FRAME(twice, ".cfi_escape 0x0f, 0x04, 0x77, 0x08, 0x06, 0x06\n")
    /* no caller, as _start has it */
    FRAME(outermost, ".cfi_undefined rip\n")
    /* said and taken back */
    FRAME(remembered,
          ".cfi_remember_state\n.cfi_def_cfa_offset 0x100\n.cfi_restore_state\n") ".p2align 4\n"
                                                                                  "no_cfi:\n"
                                                                                  "nop\n"
                                                                                  ".globl "
                                                                                  "at_no_cfi\n."
                                                                                  "hidden "
                                                                                  "at_no_cfi\nat_"
                                                                                  "no_cfi:\n"
                                                                                  "nop\n"
                                                                                  ".p2align 4\n");

#define EXPECT(name, ...)                                                                          \
    do {                                                                                           \
        extern const char at_##name[];                                                             \
        struct ht_rule is = ht_learn_rule((uintptr_t)at_##name);                                   \
        struct ht_rule expected = {__VA_ARGS__};                                                   \
        if (is.kind != expected.kind || is.fp != expected.fp ||                                    \
            is.cfa_offset != expected.cfa_offset || is.deref_offset != expected.deref_offset ||    \
            is.fp_offset != expected.fp_offset)                                                    \
            printf("  " #name ": kind %d, %d, [%d], fp %d at %d\n", (int)is.kind,                  \
                   (int)is.cfa_offset, (int)is.deref_offset, (int)is.fp, (int)is.fp_offset);       \
        CHECK_EQ(is.kind, expected.kind);                                                          \
        CHECK_EQ(is.fp, expected.fp);                                                              \
        CHECK_EQ(is.cfa_offset, expected.cfa_offset);                                              \
        CHECK_EQ(is.deref_offset, expected.deref_offset);                                          \
        CHECK_EQ(is.fp_offset, expected.fp_offset);                                                \
        CHECK_EQ(is.hidden, 0);                                                                    \
    } while (0)

TEST(learn_frames_by_the_two_pointers)
{
    EXPECT(sp, .kind = HT_RULE_SP, .cfa_offset = 0x130);
    EXPECT(fp, .kind = HT_RULE_FP, .cfa_offset = 16, .fp = HT_FP_AT_CFA, .fp_offset = -16);
    EXPECT(sp_saves_fp, .kind = HT_RULE_SP, .cfa_offset = 56, .fp = HT_FP_AT_CFA, .fp_offset = -48);
    EXPECT(expression, .kind = HT_RULE_SP, .cfa_offset = 24);
    EXPECT(largest, .kind = HT_RULE_SP, .cfa_offset = 0xffffff);
    EXPECT(remembered, .kind = HT_RULE_SP, .cfa_offset = 8);
}

TEST(learn_frames_behind_a_saved_pointer)
{
    EXPECT(drap, .kind = HT_RULE_FP_DEREF, .cfa_offset = -8, .fp = HT_FP_AT_FP, .fp_offset = 0);
    EXPECT(openssl, .kind = HT_RULE_SP_DEREF, .cfa_offset = 40, .deref_offset = 8,
           .fp = HT_FP_AT_CFA, .fp_offset = -24);
    EXPECT(fp_deref, .kind = HT_RULE_FP_DEREF, .cfa_offset = -16, .deref_offset = 16);
}

TEST(learn_what_no_rule_expresses)
{
    EXPECT(rax, .kind = HT_RULE_OTHER);
    EXPECT(r11, .kind = HT_RULE_OTHER);
    EXPECT(rbx, .kind = HT_RULE_OTHER);
    EXPECT(fp_in_rbx, .kind = HT_RULE_OTHER);
    EXPECT(fp_at_rbx, .kind = HT_RULE_OTHER);
    EXPECT(pc_elsewhere, .kind = HT_RULE_OTHER);
    EXPECT(huge, .kind = HT_RULE_OTHER);
    EXPECT(far_fp, .kind = HT_RULE_OTHER);
    EXPECT(twice, .kind = HT_RULE_OTHER);
}

TEST(learn_where_stacks_end)
{
    EXPECT(outermost, .kind = HT_RULE_END);
    EXPECT(no_cfi, .kind = HT_RULE_NO_CFI);
    static char no_code[64];
    CHECK_EQ(ht_learn_rule((uintptr_t)no_code).kind, HT_RULE_NO_CFI);
    CHECK_EQ(ht_learn_rule(0x1000).kind, HT_RULE_NO_CFI);
    CHECK_EQ(ht_learn_rule(UINTPTR_MAX).kind, HT_RULE_NO_CFI);
}

/* ThreadSanitizer calls handlers by itself. */
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#define THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define THREAD_SANITIZER 0
#endif

#if !THREAD_SANITIZER
static uintptr_t after_handler;

static void on_signal(int number)
{
    (void)number;
    after_handler = (uintptr_t)__builtin_return_address(0);
}

TEST(learn_the_kernels_signal_frame)
{
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    struct ht_rule rule = ht_learn_rule(after_handler - 1);
    CHECK_EQ(rule.kind, HT_RULE_SIGNAL);
}
#endif

/* GNU ld's stub for a function that is bound at its first call: jmp *GOT, push $n, jmp to the first
 * stub. One expression describes all: rsp + 8, and 8 more from the 11th byte of each 16 on. */
__asm__(".text\n.p2align 4\n"
        "calls_a_stub:\n"
        ".cfi_startproc\n"
        ".hidden stub_call\n.globl stub_call\nstub_call:\n"
        "call getppid@PLT\n"
        "ret\n"
        ".cfi_endproc\n");

TEST(learn_stubs_of_the_linker)
{
    extern const unsigned char stub_call[];
    int32_t distance;
    memcpy(&distance, stub_call + 1, sizeof(distance));
    const unsigned char *stub = stub_call + 5 + distance;
    struct ht_rule rule = ht_learn_rule((uintptr_t)stub);
    if (stub[0] != 0xff || stub[1] != 0x25 || rule.kind == HT_RULE_NO_CFI) {
        printf("  another linker's stubs\n");
        return;
    }
    CHECK_EQ(rule.kind, HT_RULE_SP);
    CHECK_EQ(rule.cfa_offset, 8);
    if (stub[6] != 0x68 || stub[11] != 0xe9)
        return; /* bound at start */
    rule = ht_learn_rule((uintptr_t)stub + 6);
    CHECK_EQ(rule.kind, HT_RULE_SP);
    CHECK_EQ(rule.cfa_offset, 8);
    rule = ht_learn_rule((uintptr_t)stub + 11);
    CHECK_EQ(rule.kind, HT_RULE_SP);
    CHECK_EQ(rule.cfa_offset, 16);
    CHECK_EQ(rule.fp, HT_FP_SAME);
}

TEST(learn_once)
{
    extern const char at_sp[];
    uint64_t count = ht_rules_count();
    CHECK_EQ(ht_learn_rule((uintptr_t)at_sp).cfa_offset, 0x130);
    CHECK_EQ(ht_rules_count(), count);
    ht_learn_unload_begin();
    ht_learn_unload_end();
    CHECK_EQ(ht_rules_count(), 0);
    CHECK_EQ(ht_learn_rule((uintptr_t)at_sp).cfa_offset, 0x130);
    CHECK_EQ(ht_rules_count(), 1);
}

/* ---- forks ---- */

/* Pcs of the C library, in turn. Every 2,000 the rules are forgotten, so that there is always
 * something to learn. */
static uintptr_t code_start, code_size;

static void learn_some(uint64_t *seed, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        ht_learn_rule(code_start + (*seed >> 20) % code_size);
    }
}

static uint32_t is_over;

static void *learn_for_ever(void *argument)
{
    uint64_t seed = (uintptr_t)argument;
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        learn_some(&seed, 1000);
        ht_learn_unload_begin();
        ht_learn_unload_end();
    }
    return NULL;
}

static void pause_for(long nanos)
{
    nanosleep(&(struct timespec){.tv_nsec = nanos}, NULL);
}

/* A child that hangs has all signals blocked: nothing but SIGKILL would end it. */
static bool ends_well(pid_t pid)
{
    int status = 0;
    for (int i = 0; i < 20000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        pause_for(500000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return false;
}

/* libunwind takes locks of its own, which no child could release: the learn lock keeps threads out
 * of it around a fork. Without that 13 of 200 children hung. */
TEST(learn_in_children_of_a_fork_among_threads_that_learn)
{
    enum { THREADS = 3, CHILDREN = 200 };
    ht_learn_rule((uintptr_t)qsort);
    const struct ht_module *module = ht_modules_newest();
    while (module != NULL && ((uintptr_t)qsort < module->start || (uintptr_t)qsort >= module->end))
        module = module->older;
    CHECK(module != NULL && module->segment_count > 0);
    code_start = module->base + module->segments[0].vaddr;
    code_size = module->segments[0].size;

    pthread_atfork(ht_learn_fork_prepare, ht_learn_fork_parent, ht_learn_fork_child);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, learn_for_ever, (void *)(i + 1)), 0);
    unsigned well = 0;
    for (uint64_t child = 0; child < CHILDREN; child++) {
        pid_t pid = fork();
        if (pid == 0) {
            uint64_t seed = 1000 + child;
            learn_some(&seed, 50);
            extern const char at_sp[];
            _exit(ht_learn_rule((uintptr_t)at_sp).cfa_offset == 0x130 ? 0 : 1);
        }
        well += ends_well(pid);
        pause_for((long)(child % 7) * 50000);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(well, CHILDREN);
}
