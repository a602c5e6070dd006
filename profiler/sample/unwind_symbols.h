/* unwind_symbols.h: words that stand for "register n + k" and "[register n + k] + m".
 *
 * They are no canonical addresses, so none can be mistaken for memory, and the library's arithmetic
 * on them, which only adds small constants, keeps what they mean. */
#ifndef HT_SAMPLE_UNWIND_SYMBOLS_H
#define HT_SAMPLE_UNWIND_SYMBOLS_H

#include "sys/compiler.h"

struct ht_symbol {
    enum { HT_SYMBOL_NONE, HT_SYMBOL_REGISTER, HT_SYMBOL_MEMORY } kind;
    unsigned reg;   /* DWARF number */
    int64_t slot;   /* of HT_SYMBOL_MEMORY: k */
    int64_t offset; /* what is added at the end */
};

/* The word for register `reg`. */
uint64_t ht_symbol_of_register(unsigned reg);

/* What a word means; HT_SYMBOL_NONE if it is no symbol. */
struct ht_symbol ht_symbol_read(uint64_t word);

/* The word that is read at the address `word`; a symbol again if `word` is "register + k" with |k|
 * < 32768, else one that means nothing. False if `word` is an ordinary address. */
bool ht_symbol_load(uint64_t word, uint64_t *ret_word);

#endif
