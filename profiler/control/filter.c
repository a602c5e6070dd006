#include "control/filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>

#include "sys/poison.h"

struct machine {
    uint32_t a, x, memory[BPF_MEMWORDS];
    struct seccomp_data data;
};

/* The word at `offset` of the data; false when there is none. */
static bool load(const struct machine *machine, uint32_t offset, uint32_t *ret_word)
{
    if (offset % sizeof(*ret_word) != 0 || offset >= sizeof(machine->data))
        return false;
    memcpy(ret_word, (const char *)&machine->data + offset, sizeof(*ret_word));
    return true;
}

static bool calculate(uint32_t *a, unsigned operation, uint32_t b)
{
    bool divides = operation == BPF_DIV, shifts = operation == BPF_LSH || operation == BPF_RSH;
    if ((divides && b == 0) || (shifts && b >= 32))
        return false;
    switch (operation) {
    case BPF_ADD:
        *a += b;
        return true;
    case BPF_SUB:
        *a -= b;
        return true;
    case BPF_MUL:
        *a *= b;
        return true;
    case BPF_DIV:
        *a /= b;
        return true;
    case BPF_AND:
        *a &= b;
        return true;
    case BPF_OR:
        *a |= b;
        return true;
    case BPF_XOR:
        *a ^= b;
        return true;
    case BPF_LSH:
        *a <<= b;
        return true;
    case BPF_RSH:
        *a >>= b;
        return true;
    case BPF_NEG:
        *a = -*a;
        return true;
    default:
        return false;
    }
}

/* How many instructions to leave out. */
static bool jump(const struct sock_filter *at, uint32_t a, uint32_t b, uint32_t *ret_by)
{
    bool is_true;
    switch (BPF_OP(at->code)) {
    case BPF_JA:
        *ret_by = at->k;
        return true;
    case BPF_JEQ:
        is_true = a == b;
        break;
    case BPF_JGT:
        is_true = a > b;
        break;
    case BPF_JGE:
        is_true = a >= b;
        break;
    case BPF_JSET:
        is_true = (a & b) != 0;
        break;
    default:
        return false;
    }
    *ret_by = is_true ? at->jt : at->jf;
    return true;
}

/* Any instruction but a jump or a return. */
static bool step(struct machine *machine, const struct sock_filter *at)
{
    bool to_x = BPF_CLASS(at->code) == BPF_LDX;
    uint32_t *to = to_x ? &machine->x : &machine->a;
    switch (BPF_CLASS(at->code)) {
    case BPF_LD:
    case BPF_LDX:
        switch (BPF_MODE(at->code)) {
        case BPF_ABS:
            return !to_x && load(machine, at->k, to);
        case BPF_IMM:
            *to = at->k;
            return true;
        case BPF_LEN:
            *to = sizeof(machine->data);
            return true;
        case BPF_MEM:
            if (at->k >= BPF_MEMWORDS)
                return false;
            *to = machine->memory[at->k];
            return true;
        default:
            return false;
        }
    case BPF_ST:
    case BPF_STX:
        if (at->k >= BPF_MEMWORDS)
            return false;
        machine->memory[at->k] = BPF_CLASS(at->code) == BPF_STX ? machine->x : machine->a;
        return true;
    case BPF_ALU:
        return calculate(&machine->a, BPF_OP(at->code),
                         BPF_SRC(at->code) == BPF_X ? machine->x : at->k);
    case BPF_MISC:
        if (BPF_MISCOP(at->code) == BPF_TAX)
            machine->x = machine->a;
        else
            machine->a = machine->x;
        return true;
    default:
        return false;
    }
}

static bool is_harmless(uint32_t verdict)
{
    uint32_t action = verdict & SECCOMP_RET_ACTION_FULL;
    return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG || action == SECCOMP_RET_ERRNO;
}

bool ht_filter_lets(const struct sock_filter *program, unsigned length, long number,
                    const uint64_t arguments[6])
{
    struct machine machine = {.data = {.nr = (int)number, .arch = AUDIT_ARCH_X86_64}};
    for (unsigned i = 0; i < 6; i++)
        machine.data.args[i] = arguments[i];
    for (uint64_t i = 0; i < length; i++) {
        const struct sock_filter *at = &program[i];
        if (BPF_CLASS(at->code) == BPF_RET) {
            return is_harmless(BPF_RVAL(at->code) == BPF_A ? machine.a : at->k);
        } else if (BPF_CLASS(at->code) == BPF_JMP) {
            uint32_t by;
            if (!jump(at, machine.a, BPF_SRC(at->code) == BPF_X ? machine.x : at->k, &by))
                return false;
            i += by;
        } else if (!step(&machine, at)) {
            return false;
        }
    }
    return false;
}
