/* span.h: which addresses of a stack may be read.
 *
 * Nothing on the stack is trusted, least of all the frames' addresses: every read stays in pages
 * known to be readable. A span is the pages of one stack, [low, high), found by asking the kernel
 * about each page once (60 ns). For the thread's own stack the answer is kept in ht_thread; for a
 * coroutine's or a signal's stack it is asked again in each walk, since those may be unmapped at
 * any time. */
#ifndef HT_SAMPLE_SPAN_H
#define HT_SAMPLE_SPAN_H

#include "sample/hot.h"

struct ht_span {
    uintptr_t low, high;
};

/* Where the main thread's stack ends. Context: once, at start, in any thread. */
void ht_span_start(void);

/* The span that holds `sp`, from there on. Context: sample. */
struct ht_span ht_span_of(uintptr_t sp);

/* Makes the span reach `to`, if all pages up to there can be read. */
bool ht_span_grow(struct ht_span *span, uintptr_t to);

static inline bool ht_span_holds(struct ht_span *span, uintptr_t address)
{
    if (HT_UNLIKELY(address < span->low))
        return false;
    if (HT_LIKELY(address <= span->high - sizeof(uintptr_t)))
        return true;
    return address < UINTPTR_MAX - 4096 && ht_span_grow(span, address + sizeof(uintptr_t) - 1);
}

/* Whether it is in the part of the thread's own stack that is known to stay readable as long as the
 * thread lives. */
static inline bool ht_span_is_own(uintptr_t sp)
{
    return sp >= ht_thread.stack_low && sp < ht_thread.stack_high;
}

/* The stack is read as words, whatever the program keeps there, and between variables too, which
 * AddressSanitizer would call an error. Not by memcpy(): the library is built without builtins, and
 * would call it. */
typedef uintptr_t ht_span_any_word __attribute__((may_alias, aligned(1)));

__attribute__((no_sanitize("address"))) static inline uintptr_t ht_span_word(uintptr_t address)
{
    return *(const ht_span_any_word *)address;
}

#endif
