/* Stacks with a frame on them that needs more than a rule: code made at run time, and libunwind's
 * own steps from one stack to another. */
#include "test.h"

#include <signal.h>
#include <sys/mman.h>

#include "sample/frames.h"
#include "sample/unwind.h"
#include "sample/unwind_check.h"
#include "sample/unwind_learn.h"

#define DEPTH 200

static uintptr_t pcs[DEPTH + 1];
static unsigned depth;

__attribute__((noinline)) static void walk_from_caller(void)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    depth = ht_unwind_walk(&caller, pcs, DEPTH);
}

static bool is_cut(void)
{
    return pcs[depth - 1] == HT_PC_TRUNCATED;
}

static bool is_on_stack(uintptr_t start, size_t size)
{
    for (unsigned i = 0; i < depth; i++)
        if (pcs[i] - start < size)
            return true;
    return false;
}

TEST(frames_start)
{
    const char *reason = NULL;
    CHECK(ht_unwind_start(&reason));
    CHECK(ht_unwind_check_start());
}

static void callback(void)
{
    walk_from_caller();
    __asm__ volatile("");
}

/* ---- code of no library ---- */

static const unsigned char framed[] = {
    0x55,             /* push %rbp */
    0x48, 0x89, 0xe5, /* mov %rsp, %rbp */
    0xff, 0xd7,       /* call *%rdi */
    0x5d,             /* pop %rbp */
    0xc3,             /* ret */
};
static const unsigned char calls_next[] = {
    0x55,             /* push %rbp */
    0x48, 0x89, 0xe5, /* mov %rsp, %rbp */
    0xff, 0xd6,       /* call *%rsi */
    0x5d,             /* pop %rbp */
    0xc3,             /* ret */
};
static const unsigned char frameless[] = {
    0x55,                         /* push %rbp */
    0xbd, 0x05, 0x00, 0x00, 0x00, /* mov $5, %ebp */
    0xff, 0xd7,                   /* call *%rdi */
    0x5d,                         /* pop %rbp */
    0xc3,                         /* ret */
};

typedef void generated(void (*function)(void), uintptr_t next);

static char *code;

static generated *generate(size_t at, const unsigned char *bytes, size_t size)
{
    generated *result;
    char *here = code + at;
    memcpy(here, bytes, size);
    memcpy(&result, &here, sizeof(here));
    return result;
}

TEST(frames_of_generated_code_with_a_frame_pointer)
{
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    generated *one = generate(0, framed, sizeof(framed));
    one(callback, 0);
    CHECK(is_on_stack((uintptr_t)code, sizeof(framed)));
    CHECK(!is_cut()); /* it goes on behind it, which libgcc's does not */
    CHECK_EQ(ht_unwind_check_result().mismatches, 0);
    /* One calls another, which is code too, though of no library. */
    generated *two = generate(2048, calls_next, sizeof(calls_next));
    two(callback, (uintptr_t)one);
    CHECK(is_on_stack((uintptr_t)one, sizeof(framed)));
    CHECK(is_on_stack((uintptr_t)two, sizeof(calls_next)));
    CHECK(!is_cut());
    CHECK_EQ(ht_unwind_check_result().mismatches, 0);
}

TEST(frames_of_generated_code_without_one)
{
    generated *one = generate(1024, frameless, sizeof(frameless));
    one(callback, 0);
    CHECK(is_on_stack((uintptr_t)one, sizeof(frameless)));
    CHECK(is_cut());
    CHECK_EQ(ht_unwind_check_result().mismatches, 0);
}

/* Other code at the same address: nothing of it was kept. */
TEST(frames_of_code_that_was_replaced)
{
    for (int i = 0; i < 4; i++) {
        generated *one = i % 2 == 0 ? generate(0, frameless, sizeof(frameless))
                                    : generate(0, framed, sizeof(framed));
        one(callback, 0);
        CHECK_EQ(is_cut(), i % 2 == 0);
    }
}

/* ---- libunwind's own steps ---- */

/* The CFA is in rbx across the call. */
__asm__(".text\n.p2align 4\n"
        ".type in_rbx, @function\n.globl in_rbx\n.hidden in_rbx\n"
        "in_rbx:\n.cfi_startproc\n"
        "push %rbx\n.cfi_def_cfa_offset 16\n.cfi_offset rbx, -16\n"
        "lea 16(%rsp), %rbx\n.cfi_def_cfa rbx, 0\n"
        "sub $0x80, %rsp\n"
        "and $-32, %rsp\n"
        "call *%rdi\n"
        "lea -16(%rbx), %rsp\n"
        "pop %rbx\n.cfi_def_cfa rsp, 8\n.cfi_restore rbx\n"
        "ret\n"
        ".cfi_endproc\n");

void in_rbx(void (*function)(void));

static void on_signal(int number)
{
    (void)number;
    walk_from_caller();
}

static void raise_it(void)
{
    raise(SIGUSR1);
    __asm__ volatile("");
}

static void check_second_tier(void)
{
    in_rbx(callback);
    CHECK(!is_cut());
    in_rbx(raise_it);
    CHECK(!is_cut());
    CHECK(is_on_stack((uintptr_t)in_rbx, 32));
    CHECK(is_on_stack((uintptr_t)raise_it, 32));
    CHECK_EQ(ht_unwind_check_result().mismatches, 0);
}

TEST(frames_with_a_cfa_in_a_register)
{
    signal(SIGUSR1, on_signal);
    check_second_tier();
}

/* The handler's stack lies below what it interrupted, and, in a thread whose handlers run on memory
 * of the main thread's stack, above. */
static void *with_stack(void *memory)
{
    stack_t stack = {.ss_sp = memory, .ss_size = 32768};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    CHECK_EQ(sigaltstack(&stack, NULL), 0);
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    check_second_tier();
    stack.ss_flags = SS_DISABLE;
    CHECK_EQ(sigaltstack(&stack, NULL), 0);
    return NULL;
}

TEST(frames_with_a_cfa_in_a_register_and_a_signal_on_another_stack)
{
    static char below[32768];
    char above[32768];
    pthread_t thread;
    with_stack(below);
    CHECK_EQ(pthread_create(&thread, NULL, with_stack, above), 0);
    pthread_join(thread, NULL);
}
