/* arch.h: what depends on the processor: the system call instruction, a change of stack, the
 * registers a stack walk starts from. */
#ifndef HT_SYS_ARCH_H
#define HT_SYS_ARCH_H

#include "sys/compiler.h"

#if !defined(__x86_64__)
#error "heaptap runs on x86-64; other processors are not supported yet"
#endif

static inline intptr_t ht_arch_syscall(long number, uintptr_t a, uintptr_t b, uintptr_t c,
                                       uintptr_t d, uintptr_t e, uintptr_t f)
{
    register uintptr_t r10 __asm__("r10") = d;
    register uintptr_t r8 __asm__("r8") = e;
    register uintptr_t r9 __asm__("r9") = f;
    intptr_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline void ht_arch_pause(void)
{
    __asm__ volatile("pause");
}

/* A counter that goes up at a constant rate, read without a system call. On another processor it
 * may be somewhat behind. A fault where the program has forbidden it: see sample/clock.h. */
static inline uint64_t ht_arch_ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* The frame that called the function this is used in: where it goes on, its stack pointer there,
 * and its frame pointer. Reading the frame address makes the compiler keep a frame pointer in that
 * function, which must not be inlined: [rbp] is then the caller's rbp and [rbp+8] the return
 * address. */
struct ht_frame {
    uintptr_t pc, sp, fp;
};

#define HT_ARCH_CALLER_FRAME()                                                                     \
    ({                                                                                             \
        const uintptr_t *frame_ = __builtin_frame_address(0);                                      \
        (struct ht_frame){.pc = frame_[1], .sp = (uintptr_t)(frame_ + 2), .fp = frame_[0]};        \
    })

/* The registers that a frame's unwind rules may name, as DWARF numbers them; 16 is the pc. */
enum {
    HT_REG_RBX = 3,
    HT_REG_RBP = 6,
    HT_REG_RSP = 7,
    HT_REG_R12 = 12,
    HT_REG_PC = 16,
    HT_REGS = 17
};

struct ht_registers {
    uintptr_t value[HT_REGS];
};

/* The callee-saved registers, stack pointer and pc, here. */
#define HT_ARCH_CAPTURE(registers)                                                                 \
    __asm__ volatile("movq %%rbx, 24(%0)\n\t"                                                      \
                     "movq %%rbp, 48(%0)\n\t"                                                      \
                     "movq %%rsp, 56(%0)\n\t"                                                      \
                     "movq %%r12, 96(%0)\n\t"                                                      \
                     "movq %%r13, 104(%0)\n\t"                                                     \
                     "movq %%r14, 112(%0)\n\t"                                                     \
                     "movq %%r15, 120(%0)\n\t"                                                     \
                     "leaq 0(%%rip), %%rax\n\t"                                                    \
                     "movq %%rax, 128(%0)"                                                         \
                     :                                                                             \
                     : "r"((registers)->value)                                                     \
                     : "rax", "memory")

#endif
