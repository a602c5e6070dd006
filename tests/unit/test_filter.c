#include "test.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "control/filter.h"

#define LENGTH 64

static const uint64_t none[6];

static struct sock_filter statement(unsigned code, uint32_t k)
{
    return (struct sock_filter){(uint16_t)code, 0, 0, k};
}

static struct sock_filter branch(unsigned code, uint32_t k, unsigned if_true, unsigned if_false)
{
    return (struct sock_filter){(uint16_t)(BPF_JMP | code), (uint8_t)if_true, (uint8_t)if_false, k};
}

static bool returns(uint32_t verdict)
{
    struct sock_filter program[] = {statement(BPF_RET | BPF_K, verdict)};
    return ht_filter_lets(program, 1, SYS_read, none);
}

TEST(filter_verdicts)
{
    CHECK(returns(SECCOMP_RET_ALLOW));
    CHECK(returns(SECCOMP_RET_LOG));
    CHECK(returns(SECCOMP_RET_ERRNO | EPERM));
    CHECK(!returns(SECCOMP_RET_KILL_PROCESS));
    CHECK(!returns(SECCOMP_RET_KILL_THREAD));
    CHECK(!returns(SECCOMP_RET_TRAP));
    CHECK(!returns(SECCOMP_RET_TRACE));
    CHECK(!returns(SECCOMP_RET_USER_NOTIF));
    CHECK(!returns(0x12345678));
}

TEST(filter_reads_number_architecture_and_arguments)
{
    struct sock_filter program[] = {
        statement(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        branch(BPF_JEQ, AUDIT_ARCH_X86_64, 0, 6),
        statement(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        branch(BPF_JEQ, SYS_openat, 0, 3),
        statement(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        branch(BPF_JSET, 1, 2, 0),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        branch(BPF_JEQ, SYS_read, 1, 0),
        statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
    };
    CHECK(ht_filter_lets(program, 10, SYS_read, none));
    CHECK(!ht_filter_lets(program, 10, SYS_write, none));
    CHECK(ht_filter_lets(program, 10, SYS_openat, none));
    CHECK(!ht_filter_lets(program, 10, SYS_openat, (uint64_t[6]){0, 0, 1}));
    CHECK(ht_filter_lets(program, 10, SYS_openat, (uint64_t[6]){0, 0, 2}));
}

TEST(filter_refuses_what_the_kernel_would)
{
    struct sock_filter ends[] = {statement(BPF_LD | BPF_IMM, 1)};
    struct sock_filter divides[] = {statement(BPF_ALU | BPF_DIV | BPF_K, 0),
                                    statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_filter reads[] = {statement(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)),
                                  statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_filter odd[] = {statement(BPF_LD | BPF_W | BPF_ABS, 2),
                                statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_filter stores[] = {statement(BPF_ST, BPF_MEMWORDS),
                                   statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_filter jumps[] = {statement(BPF_JMP | BPF_JA, ~0u),
                                  statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    CHECK(!ht_filter_lets(NULL, 0, SYS_read, none));
    CHECK(!ht_filter_lets(ends, 1, SYS_read, none));
    CHECK(!ht_filter_lets(divides, 2, SYS_read, none));
    CHECK(!ht_filter_lets(reads, 2, SYS_read, none));
    CHECK(!ht_filter_lets(odd, 2, SYS_read, none));
    CHECK(!ht_filter_lets(stores, 2, SYS_read, none));
    CHECK(!ht_filter_lets(jumps, 2, SYS_read, none));
}

/* ---- against the kernel ---- */

static uint64_t state = 42;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* One instruction that the kernel takes, `left` before the end. */
static struct sock_filter any(unsigned left)
{
    static const uint16_t calculations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND, BPF_OR, BPF_XOR};
    static const uint16_t jumps[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
    unsigned source = draw(2) != 0 ? BPF_X : BPF_K;
    switch (draw(8)) {
    case 0:
        /* Not the address of the call, which is 0 for us. */
        return statement(BPF_LD | BPF_W | BPF_ABS,
                         offsetof(struct seccomp_data, args) + 4 * draw(12));
    case 1:
        return statement((draw(2) != 0 ? BPF_LD : BPF_LDX) | BPF_IMM, draw(1000));
    case 2:
        return statement((draw(2) != 0 ? BPF_LD : BPF_LDX) | BPF_MEM, draw(2));
    case 3:
        return statement(draw(2) != 0 ? BPF_ST : BPF_STX, draw(2));
    case 4:
        return statement(BPF_MISC | (draw(2) != 0 ? BPF_TAX : BPF_TXA), 0);
    case 5:
        return statement(BPF_ALU | (draw(2) != 0 ? BPF_LSH : BPF_RSH) | BPF_K, draw(32));
    case 6:
        return branch(jumps[draw(4)] | source, draw(1000), draw(left), draw(left));
    default:
        return draw(8) == 0 ? statement(BPF_ALU | BPF_NEG, 0)
                            : statement(BPF_ALU | calculations[draw(6)] | source, draw(1000));
    }
}

/* Everything but getppid() is allowed; that depends on the low bit of what is calculated. */
static void write_program(struct sock_filter *program)
{
    unsigned i = 0;
    program[i++] = statement(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    program[i++] = branch(BPF_JEQ, SYS_getppid, 1, 0);
    program[i++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[i++] = statement(BPF_ST, 0); /* a cell is written before it is read */
    program[i++] = statement(BPF_ST, 1);
    for (; i < LENGTH - 3; i++)
        program[i] = any(LENGTH - 3 - i);
    program[i++] = branch(BPF_JSET, 1, 0, 1);
    program[i++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[i++] = statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
}

enum { REFUSED = 77 };

static int ask_kernel(struct sock_filter *program, const uint64_t *a)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        struct sock_fprog filter = {LENGTH, program};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
            _exit(REFUSED);
        syscall(SYS_getppid, a[0], a[1], a[2], a[3], a[4], a[5]);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

TEST(filter_agrees_with_the_kernel)
{
    unsigned let = 0, killed = 0;
    for (unsigned i = 0; i < 400; i++) {
        struct sock_filter program[LENGTH];
        uint64_t arguments[6];
        write_program(program);
        for (unsigned j = 0; j < 6; j++)
            arguments[j] = (uint64_t)draw(1000) << (draw(2) != 0 ? 32 : 0);
        int status = ask_kernel(program, arguments);
        if (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED)
            continue;
        bool lets = ht_filter_lets(program, LENGTH, SYS_getppid, arguments);
        CHECK_EQ(lets, WIFEXITED(status));
        let += lets;
        killed += !lets;
    }
    CHECK(let + killed == 0 || (let > 20 && killed > 20)); /* 0: no filters in this sandbox */
}
