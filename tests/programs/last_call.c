/* last_call.c: a function whose last instruction is a call that never returns, directly before
 * another function. The return address is the first address of the other one: a name for it is a
 * wrong name. */
#include "truth.h"

void ends_with_a_call(void);
__asm__(".text\n"
        ".globl ends_with_a_call\n"
        ".type ends_with_a_call, @function\n"
        "ends_with_a_call:\n"
        "    .cfi_startproc\n"
        "    subq $24, %rsp\n"
        "    .cfi_adjust_cfa_offset 24\n"
        "    call allocate_and_exit\n"
        "    .cfi_endproc\n"
        ".size ends_with_a_call, . - ends_with_a_call\n"
        ".globl begins_there\n"
        ".type begins_there, @function\n"
        "begins_there:\n"
        "    .cfi_startproc\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size begins_there, . - begins_there\n");

NOINLINE static void *site_never_returns(void)
{
    void *block = malloc(321);
    keep(block);
    return block;
}

__attribute__((noreturn)) void allocate_and_exit(void);
void allocate_and_exit(void)
{
    struct truth truth = {0};
    site_never_returns();
    truth_alloc(&truth, 321);
    truth_say("site_never_returns", "leaf", &truth);
    exit(0);
}

int main(void)
{
    ends_with_a_call();
    return 1;
}
