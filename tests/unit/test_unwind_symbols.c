#include "test.h"

#include "sample/unwind_symbols.h"
#include "sys/arch.h"

TEST(symbols_survive_arithmetic)
{
    for (unsigned reg = 0; reg < HT_REGS; reg++) {
        for (int64_t k = -30000; k <= 30000; k += 601) {
            struct ht_symbol symbol = ht_symbol_read(ht_symbol_of_register(reg) + (uint64_t)k);
            CHECK_EQ(symbol.kind, HT_SYMBOL_REGISTER);
            CHECK_EQ(symbol.reg, reg);
            CHECK_EQ(symbol.offset, k);
            uint64_t word;
            CHECK(ht_symbol_load(ht_symbol_of_register(reg) + (uint64_t)k, &word));
            symbol = ht_symbol_read(word - 24);
            CHECK_EQ(symbol.kind, HT_SYMBOL_MEMORY);
            CHECK_EQ(symbol.reg, reg);
            CHECK_EQ(symbol.slot, k);
            CHECK_EQ(symbol.offset, -24);
        }
    }
}

TEST(symbols_memory_at_memory_means_nothing)
{
    uint64_t word, deeper, deepest;
    CHECK(ht_symbol_load(ht_symbol_of_register(HT_REG_RSP), &word));
    CHECK(ht_symbol_load(word, &deeper));
    CHECK_EQ(ht_symbol_read(deeper).kind, HT_SYMBOL_NONE);
    CHECK(ht_symbol_load(deeper + 8, &deepest));
    CHECK(ht_symbol_load(ht_symbol_of_register(HT_REG_RSP) + 40000, &word)); /* too far */
    CHECK_EQ(ht_symbol_read(word).kind, HT_SYMBOL_NONE);
}

TEST(symbols_are_no_addresses)
{
    uint64_t word;
    int here;
    CHECK(!ht_symbol_load((uintptr_t)&here, &word));
    CHECK(!ht_symbol_load(0, &word));
    CHECK_EQ(ht_symbol_read((uintptr_t)&here).kind, HT_SYMBOL_NONE);
}
