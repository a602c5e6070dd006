#include "sample/unwind_symbols.h"

#include "sys/arch.h"

#include "sys/poison.h"

/* Bits 63..48 say what it is: REGISTER + n or MEMORY + n. Offsets are biased so that small negative
 * ones stay inside their field: a register's has the lower 48 bits; memory has the slot in bits
 * 47..32 and the offset below. */
#define REGISTER      UINT64_C(0xa000)
#define MEMORY        UINT64_C(0xb000)
#define OPAQUE        (UINT64_C(0xc000) << 48 | 0x1000) /* memory at memory: no rule uses it */
#define REGISTER_BIAS (INT64_C(1) << 40)
#define SLOT_BIAS     (INT64_C(1) << 15)
#define MEMORY_BIAS   (INT64_C(1) << 31)

uint64_t ht_symbol_of_register(unsigned reg)
{
    return (REGISTER + reg) << 48 | (uint64_t)REGISTER_BIAS;
}

struct ht_symbol ht_symbol_read(uint64_t word)
{
    uint64_t top = word >> 48;
    if (top >= REGISTER && top < REGISTER + HT_REGS)
        return (struct ht_symbol){
            .kind = HT_SYMBOL_REGISTER,
            .reg = (unsigned)(top - REGISTER),
            .offset = (int64_t)(word & ((UINT64_C(1) << 48) - 1)) - REGISTER_BIAS,
        };
    if (top >= MEMORY && top < MEMORY + HT_REGS)
        return (struct ht_symbol){
            .kind = HT_SYMBOL_MEMORY,
            .reg = (unsigned)(top - MEMORY),
            .slot = (int64_t)(word >> 32 & 0xffff) - SLOT_BIAS,
            .offset = (int64_t)(word & UINT32_MAX) - MEMORY_BIAS,
        };
    return (struct ht_symbol){.kind = HT_SYMBOL_NONE};
}

bool ht_symbol_load(uint64_t word, uint64_t *ret_word)
{
    struct ht_symbol at = ht_symbol_read(word);
    if (at.kind == HT_SYMBOL_NONE && word >> 48 != OPAQUE >> 48)
        return false;
    if (at.kind != HT_SYMBOL_REGISTER || at.offset < -SLOT_BIAS || at.offset >= SLOT_BIAS)
        *ret_word = OPAQUE;
    else
        *ret_word = (MEMORY + at.reg) << 48 | (uint64_t)(at.offset + SLOT_BIAS) << 32 |
                    (uint64_t)MEMORY_BIAS;
    return true;
}
