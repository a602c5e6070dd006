/* hot.h: all that runs at every allocation and every free.
 *
 * Added to the program's own call, on x86-64: malloc 4 instructions (load the TLS offset, subtract,
 * branch, jump), free 7 (shift, mask, address, load, test, branch, jump). No lock, no system call,
 * no memory but one TLS word and one byte of the page shadow. State starts so that first use takes
 * the slow path: there is no "initialised?" test.
 *
 * Two functions are in assembler on x86-64 and in plain C elsewhere. For AArch64, where heaptap
 * does not run yet, clang makes 10 and 8 of them, gcc 11 and 9 (check_hot_path.py). */
#ifndef HT_SAMPLE_HOT_H
#define HT_SAMPLE_HOT_H

#include "sys/compiler.h"

/* What a thread keeps between samples; 88 bytes, all zero in a new thread. */
struct ht_thread {
    uint64_t bytes_until_sample; /* distance to the next sampled byte */
    uint64_t random;             /* xorshift state; 0: this thread has not sampled yet */
    uintptr_t stack_low; /* readable pages of the thread's own stack, [low, high); see span.h */
    uintptr_t stack_high;
    uintptr_t last_block;   /* the latest block that this thread recorded; see hooks/operators.c */
    uint32_t borrows;       /* allocations that took the slow path */
    uint32_t gap_interval;  /* id of the interval the gap was drawn with (sampler.h); 0: off;
                               HT_HOT_GAP_CUT besides */
    struct ht_exact *exact; /* at an interval of 1; see exact.h */
    uint32_t
        busy; /* inside the profiler: what a signal handler allocates meanwhile is not sampled */
    uint32_t exact_wait; /* samples until it asks for `exact` again, which it did not get */
    uint32_t looks;      /* frees that took the slow path */
    uint64_t apart;      /* ticks that were timed by themselves; see budget.h */
};

/* The gap is longer: no sample where it ends, but another look at the interval (record.c). */
#define HT_HOT_GAP_CUT (UINT32_C(1) << 8)

extern HT_HIDDEN HT_THREAD_LOCAL struct ht_thread ht_thread;

/* While the profiler works in a thread its counter stands here: nothing the program can ask for
 * borrows, so the guard against re-entry costs the fast path nothing. */
#define HT_HOT_PARKED (UINT64_C(1) << 62)

/* True when this allocation holds the next sampled byte: one subtraction, one branch on its borrow.
 * Unsigned, so that an absurd size borrows too (a signed test would let malloc(2^63+k) switch
 * sampling off). A new thread's counter is zero: its first allocation borrows, and
 * ht_record_begin() sets the thread up. Flag-output asm, because gcc 12 makes two instructions more
 * of __builtin_sub_overflow on memory. */
static inline bool ht_hot_alloc(size_t size)
{
#if defined(__x86_64__)
    bool borrow;
    __asm__("subq %2, %0" : "+m"(ht_thread.bytes_until_sample), "=@ccc"(borrow) : "r"(size));
    return borrow;
#else
    /* A signal handler between the load and the store: what it counted itself is lost. */
    uint64_t *left = &ht_thread.bytes_until_sample;
    return __builtin_sub_overflow(*left, size, left);
#endif
}

/* Whether a hook has counted something in this thread since the mark. */
struct ht_hot_mark {
    uint64_t bytes_until_sample;
    uint32_t borrows;
};

static inline struct ht_hot_mark ht_hot_mark(void)
{
    return (struct ht_hot_mark){ht_thread.bytes_until_sample, ht_thread.borrows};
}

static inline bool ht_hot_has_moved(struct ht_hot_mark mark)
{
    return ht_thread.bytes_until_sample != mark.bytes_until_sample ||
           ht_thread.borrows != mark.borrows;
}

/* One byte for each 4 KiB page of the address space, modulo 64 GiB: in the lower 6 bits how many
 * live sampled blocks of live.h start in it, saturating and then sticky; bit 7: there may be blocks
 * of shadow.h, which says what bit 6 is. 16 MiB of zero pages, touched only where a sample lives.
 * At 512 KiB it sends 0.6 % of all frees to the exact table at any heap size (LIMITS: page /
 * interval); at an interval of 1 it says "look" always. free(NULL) needs no test: nothing ever
 * lives in page 0. */
#define HT_PAGE_SHADOW_SIZE (UINT32_C(1) << 24)

#define HT_PAGE_COUNT    UINT8_C(0x3f)
#define HT_PAGE_CLEARING UINT8_C(0x40)
#define HT_PAGE_EXACT    UINT8_C(0x80)

extern HT_HIDDEN uint8_t ht_page_shadow[HT_PAGE_SHADOW_SIZE];

static inline uint8_t *ht_hot_page(const void *block)
{
    return &ht_page_shadow[((uintptr_t)block >> 12) & (HT_PAGE_SHADOW_SIZE - 1)];
}

/* May say "maybe" of a block we never sampled, never "no" of one of ours. A relaxed load, in
 * assembler because compilers load an atomic byte first and test it then: one instruction more. */
static inline bool ht_hot_is_live(const void *block)
{
#if defined(__x86_64__)
    bool is_live;
    __asm__("cmpb $0, %1" : "=@ccne"(is_live) : "m"(*ht_hot_page(block)));
    return is_live;
#else
    /* Plain: a byte cannot tear, and gcc makes two instructions more of an atomic load here. */
    return *ht_hot_page(block) != 0;
#endif
}

#endif
