/* signal_handler.c: allocates in the handler of a fault, on an alternate stack that is as small as
 * the kernel allows plus 4 KiB, with a page behind it that kills who needs more.
 *
 * The fault is at the first instruction of a function: the interrupted pc is an address to look up
 * as it is, and one less would be another function. */
#include "truth.h"

#include <signal.h>
#include <ucontext.h>

void fault_at_entry(volatile int *where);
__asm__(".text\n"
        ".p2align 4\n"
        ".type before_the_fault, @function\n"
        "before_the_fault:\n"
        "    .cfi_startproc\n"
        "    nop\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size before_the_fault, . - before_the_fault\n"
        ".globl fault_at_entry\n"
        ".type fault_at_entry, @function\n"
        "fault_at_entry:\n"
        "    .cfi_startproc\n"
        "    movl (%rdi), %eax\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size fault_at_entry, . - fault_at_entry\n");

static struct truth truth;

NOINLINE static void *site_in_handler(void)
{
    void *block = malloc(600);
    keep(block);
    return block;
}

/* Skips the two bytes of the load that faulted. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    site_in_handler();
    truth_alloc(&truth, 600);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

NOINLINE static void site_faulting(void)
{
    fault_at_entry(NULL);
    STAY();
}

static void small_stack(void)
{
    size_t page = 4096;
    long least = sysconf(_SC_MINSIGSTKSZ);
    size_t size = ((size_t)(least > 0 ? least : 2048) + 4096 + page - 1) & ~(page - 1);
    char *memory = off_heap(size + page);
    if (mprotect(memory, page, PROT_NONE) != 0)
        die("mprotect failed");
    stack_t stack = {.ss_sp = memory + page, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0)
        die("sigaltstack failed");
}

int main(void)
{
    small_stack();
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(SIGSEGV, &action, NULL) != 0)
        die("sigaction failed");
    for (int i = 0; i < 20; i++)
        site_faulting();
    truth_say("site_in_handler", "leaf", &truth);
    return 0;
}
