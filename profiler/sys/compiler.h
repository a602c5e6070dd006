/* compiler.h: what we ask of the compiler, under one name each. */
#ifndef HT_SYS_COMPILER_H
#define HT_SYS_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HT_LIKELY(x)   __builtin_expect(!!(x), 1)
#define HT_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Everything is built with -fvisibility=hidden; this marks the few names that programs call. */
#define HT_EXPORT __attribute__((visibility("default")))

/* On declarations of variables too, so that they are reached without the GOT. */
#define HT_HIDDEN __attribute__((visibility("hidden")))

/* Out of line and out of the way: slow paths that a fast path jumps to. */
#define HT_COLD __attribute__((cold, noinline))

/* Functions of ours that may be on the stack while the program's code runs (a new_handler, a
 * destructor of a library that is closed) lie together, so that a walk can leave their frames
 * out. */
#define HT_IN_STACKS __attribute__((section("heaptap_frames"), noinline))

#define HT_PRINTF(text, first) __attribute__((format(printf, text, first)))

#define HT_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Thread-local without a call: the library is loaded with the program, never lazily. */
#define HT_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))

/* A broken promise of our own. It is checked in every build; arguments that come from outside are
 * never asserted. */
#define HT_ASSERT(condition)                                                                       \
    do {                                                                                           \
        if (HT_UNLIKELY(!(condition)))                                                             \
            __builtin_trap();                                                                      \
    } while (0)

static inline uintptr_t ht_round_down(uintptr_t value, uintptr_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

static inline uintptr_t ht_round_up(uintptr_t value, uintptr_t power_of_two)
{
    return ht_round_down(value + power_of_two - 1, power_of_two);
}

static inline uint64_t ht_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t ht_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
