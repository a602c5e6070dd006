/* Code is executed step by step, and at each instruction of it the stack is walked from a signal
 * handler and compared with libgcc's: prologues, epilogues, leaf functions, the linker's stubs, and
 * assembler whose frame is in some register for a while. */
#include "test.h"

#include <signal.h>
#include <ucontext.h>

#include "sample/frames.h"
#include "sample/unwind.h"
#include "sample/unwind_check.h"
#include "sample/unwind_learn.h"

#define DEPTH     200
#define TRAP_FLAG 0x100

static uintptr_t pcs[DEPTH + 1];

static unsigned steps, cuts, in_leaves, in_stubs, by_kind[HT_RULE_NO_CFI + 1];
static uintptr_t leaves_start, leaves_end;
static volatile sig_atomic_t is_over;

__attribute__((noinline)) static unsigned walk_from_caller(void)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    return ht_unwind_walk(&caller, pcs, DEPTH);
}

/* jmp *GOT or push $n, as GNU ld's and lld's stubs begin and go on. */
static bool is_stub(const unsigned char *code)
{
    return (code[0] == 0xff && code[1] == 0x25) || (code[0] == 0x68 && code[5] == 0xe9);
}

static void on_step(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    if (is_over) {
        registers[REG_EFL] &= ~(greg_t)TRAP_FLAG;
        return;
    }
    steps++;
    in_leaves += pc >= leaves_start && pc < leaves_end;
    in_stubs += is_stub((const unsigned char *)pc);
    by_kind[ht_learn_rule(pc).kind]++;
    unsigned depth = walk_from_caller();
    cuts += pcs[depth - 1] == HT_PC_TRUNCATED;
}

static void begin_steps(void)
{
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                     "pushfq\n\t"
                     "orq %0, (%%rsp)\n\t"
                     "popfq\n\t"
                     "leaq 128(%%rsp), %%rsp"
                     :
                     : "i"(TRAP_FLAG)
                     : "cc", "memory");
}

/* Runs it step by step. How many stacks were not as libgcc's; one that is cut, and says so, is no
 * such. */
__attribute__((noinline)) static uint64_t step_through(void (*function)(void))
{
    struct ht_unwind_check before = ht_unwind_check_result();
    steps = cuts = in_leaves = in_stubs = 0;
    memset(by_kind, 0, sizeof(by_kind));
    is_over = 0;
    begin_steps();
    function();
    is_over = 1;
    __asm__ volatile("nop" ::: "memory"); /* the last step */
    struct ht_unwind_check after = ht_unwind_check_result();
    CHECK_EQ(after.compared - before.compared, steps);
    return after.mismatches - before.mismatches;
}

TEST(steps_start)
{
    const char *reason = NULL;
    CHECK(ht_unwind_start(&reason));
    CHECK(ht_unwind_check_start());
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
}

/* ---- leaf functions ---- */

/* One that uses the red zone, one that saves a register and has two ends. */
__asm__(".text\n.p2align 4\n"
        ".type leaf_red_zone, @function\n.globl leaf_red_zone\n.hidden leaf_red_zone\n"
        "leaf_red_zone:\n.cfi_startproc\n"
        "mov %rdi, -8(%rsp)\n"
        "mov %rdi, -128(%rsp)\n"
        "mov -8(%rsp), %rax\n"
        "add -128(%rsp), %rax\n"
        "ret\n"
        ".cfi_endproc\n"
        ".type leaf_pushes, @function\n.globl leaf_pushes\n.hidden leaf_pushes\n"
        "leaf_pushes:\n.cfi_startproc\n"
        "push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n"
        "mov $5, %ebp\n"
        "test %rdi, %rdi\n"
        "je 1f\n"
        "lea (%rdi, %rbp), %rax\n"
        ".cfi_remember_state\n"
        "pop %rbp\n.cfi_def_cfa_offset 8\n.cfi_restore rbp\n"
        "ret\n"
        "1: .cfi_restore_state\n"
        "mov %rbp, %rax\n"
        "pop %rbp\n.cfi_def_cfa_offset 8\n.cfi_restore rbp\n"
        "ret\n"
        ".cfi_endproc\n"
        ".globl leaf_end_of_all\n.hidden leaf_end_of_all\nleaf_end_of_all:\nnop\n");

uint64_t leaf_red_zone(uint64_t n);
uint64_t leaf_pushes(uint64_t n);
extern const char leaf_end_of_all[];

static uint64_t sum;

static void call_leaves(void)
{
    sum += leaf_red_zone(3);
    sum += leaf_pushes(0);
    sum += leaf_pushes(7);
}

TEST(steps_in_leaf_functions)
{
    leaves_start = (uintptr_t)leaf_red_zone;
    leaves_end = (uintptr_t)leaf_end_of_all;
    sum = 0;
    CHECK_EQ(step_through(call_leaves), 0);
    CHECK_EQ(cuts, 0);
    CHECK_EQ(sum, 6 + 5 + 12);
    CHECK_EQ(in_leaves, 5 + 7 + 7);
}

/* ---- stubs of the linker, and the loader behind them ---- */

static void call_stubs(void)
{
    for (int i = 0; i < 2; i++) { /* the first binds them, by code whose CFA is rbx + k */
        sum += (uint64_t)getppid();
        sum += (uint64_t)getegid();
    }
}

TEST(steps_in_stubs_of_the_linker)
{
    CHECK_EQ(step_through(call_stubs), 0);
    CHECK_EQ(cuts, 0);
    CHECK(in_stubs >= 4);
}

/* ---- frames of all kinds ---- */

/* As gcc does for what realigns its stack and moves it. */
__attribute__((noinline)) static int realigned(int n)
{
    __attribute__((aligned(64))) volatile char wide[128 + 64];
    wide[n] = 1;
    char *moving = __builtin_alloca((size_t)n + 16);
    __asm__ volatile("" ::"r"(moving) : "memory");
    return wide[n] + (n == 0 ? 0 : realigned(n - 1));
}

/* Calls it with rbp in the middle of words that all point behind a return address of 0. */
static uintptr_t no_return_address[8];
static uintptr_t no_frame[64];

__asm__(".text\n.p2align 4\n"
        ".type call_with_rbp, @function\n.globl call_with_rbp\n.hidden call_with_rbp\n"
        "call_with_rbp:\n.cfi_startproc\n"
        "push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n"
        "mov %rdx, %rbp\n"
        "call *%rsi\n"
        "pop %rbp\n.cfi_def_cfa_offset 8\n.cfi_restore rbp\n"
        "ret\n"
        ".cfi_endproc\n");

int call_with_rbp(int n, int (*function)(int), void *rbp);

static void call_realigned(void)
{
    sum += (uint64_t)call_with_rbp(5, realigned, no_frame + 32);
}

/* gcc's CFI says until the end that rbp is saved at [rbp], which is the caller's by then. Ours ends
 * where that leads nowhere, libgcc follows it wherever it leads: hence the words. */
TEST(steps_in_frames_that_realign_their_stack)
{
    for (unsigned i = 0; i < 64; i++)
        no_frame[i] = (uintptr_t)(no_return_address + 8);
    CHECK_EQ(step_through(call_realigned), 0);
    CHECK(steps >= 40);
    CHECK(cuts <= 4); /* of the two outermost: nothing is in rbp, or nothing behind it */
}

/* OpenSSL's x86-64 assembler: the frame is in rax, then behind [rsp + 152], then in rsi. */
__asm__(".text\n.p2align 4\n"
        ".type like_openssl, @function\n.globl like_openssl\n.hidden like_openssl\n"
        "like_openssl:\n.cfi_startproc\n"
        "mov %rsp, %rax\n.cfi_def_cfa_register rax\n"
        "push %rbx\n.cfi_offset rbx, -16\n"
        "push %rbp\n.cfi_offset rbp, -24\n"
        "push %r12\n.cfi_offset r12, -32\n"
        "sub $192, %rsp\n"
        "and $-64, %rsp\n"
        "mov %rax, 152(%rsp)\n.cfi_escape 0x0f, 0x06, 0x77, 0x98, 0x01, 0x06, 0x23, 0x08\n"
        "mov $77, %ebp\n" /* as numbers, these, not as frame pointers */
        "mov $78, %ebx\n"
        "mov $79, %r12d\n"
        "call *%rdi\n"
        "mov 152(%rsp), %rsi\n.cfi_def_cfa rsi, 8\n"
        "mov -24(%rsi), %r12\n.cfi_restore r12\n"
        "mov -16(%rsi), %rbp\n.cfi_restore rbp\n"
        "mov -8(%rsi), %rbx\n.cfi_restore rbx\n"
        "lea (%rsi), %rsp\n.cfi_def_cfa_register rsp\n"
        "ret\n"
        ".cfi_endproc\n"
        /* the frame is in r11, then in rbx, across a call */
        ".type in_registers, @function\n.globl in_registers\n.hidden in_registers\n"
        "in_registers:\n.cfi_startproc\n"
        "lea 8(%rsp), %r11\n.cfi_def_cfa r11, 0\n"
        "push %rbx\n.cfi_offset rbx, -16\n"
        "mov %r11, %rbx\n.cfi_def_cfa_register rbx\n"
        "sub $0x80, %rsp\n"
        "and $-32, %rsp\n"
        "call *%rdi\n"
        "lea -16(%rbx), %rsp\n"
        "pop %rbx\n.cfi_def_cfa rsp, 8\n.cfi_restore rbx\n"
        "ret\n"
        ".cfi_endproc\n");

void like_openssl(void (*callback)(void));
void in_registers(void (*callback)(void));

static unsigned called;

static void callback(void)
{
    unsigned depth = walk_from_caller();
    called += pcs[depth - 1] != HT_PC_TRUNCATED && depth >= 5;
}

static void call_assembler(void)
{
    like_openssl(callback);
    in_registers(callback);
}

TEST(steps_assembler_without_steps)
{
    uint64_t before = ht_unwind_check_result().mismatches;
    called = 0;
    call_assembler();
    CHECK_EQ(called, 2);
    CHECK_EQ(ht_unwind_check_result().mismatches, before);
}

static void no_callback(void)
{
}

static void call_assembler_of_nothing(void)
{
    like_openssl(no_callback);
    in_registers(no_callback);
}

TEST(steps_in_assembler)
{
    CHECK_EQ(step_through(call_assembler_of_nothing), 0);
    CHECK_EQ(cuts, 0);
    CHECK(by_kind[HT_RULE_SP_DEREF] >= 4);
    CHECK(by_kind[HT_RULE_OTHER] >= 10);
}

/* ---- the C library ---- */

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void call_library(void)
{
    char text[200];
    int numbers[40];
    for (int i = 0; i < 40; i++)
        numbers[i] = i * 17 % 23;
    qsort(numbers, 40, sizeof(*numbers), compare);
    snprintf(text, sizeof(text), "%d %s %.3f %p", numbers[3], "text", 3.25, (void *)text);
    sum += strlen(text) + (uint64_t)strtod("12.5e3", NULL);
    memset(text, 1, sizeof(text));
    memmove(text + 1, text, 100);
    sum += (uint64_t)strtol("12345", NULL, 10) + (uint64_t)(memchr(text, 5, 200) != NULL);
}

TEST(steps_in_the_c_library)
{
    CHECK_EQ(step_through(call_library), 0);
    CHECK_EQ(cuts, 0);
    CHECK(steps > 5000);
}

static void jump(void)
{
    jmp_buf back;
    if (setjmp(back) == 0)
        longjmp(back, 1);
}

/* While longjmp() loads the registers, its CFI says that the caller's stack pointer is in one of
 * them, which libunwind does not follow: a cut, no wrong stack. */
TEST(steps_in_longjmp)
{
    CHECK_EQ(step_through(jump), 0);
    CHECK(cuts < 20);
}

/* ---- coroutines ---- */

static ucontext_t main_context, coroutine;
static char coroutine_stack[64 * 1024] __attribute__((aligned(64)));

static void in_coroutine(void)
{
    call_leaves();
    swapcontext(&coroutine, &main_context);
    call_leaves();
}

static void switch_twice(void)
{
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = coroutine_stack;
    coroutine.uc_stack.ss_size = sizeof(coroutine_stack);
    coroutine.uc_link = &main_context;
    makecontext(&coroutine, in_coroutine, 0);
    swapcontext(&main_context, &coroutine);
    swapcontext(&main_context, &coroutine);
}

/* The same holds of setcontext(), and a coroutine's root is an address with no call before it:
 * cuts. */
TEST(steps_in_a_coroutine)
{
    CHECK_EQ(step_through(switch_twice), 0);
    CHECK_EQ(in_leaves, 2 * (5 + 7 + 7));
    CHECK(cuts < steps / 2);
}
