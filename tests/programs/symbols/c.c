/* c.c: allocations in C whose stacks are known, with files and lines.
 *
 * A comment "@SIZE.DEPTH NAME" says: in the stack of the one block of SIZE bytes, the frame DEPTH calls above the
 * one that allocates is of the function NAME, and stands in this line. "inlined": this frame is part of the one
 * above it. "gcc", "clang": when it is compiled by that. "= NAME": what the linker calls it. symbols.py, in
 * tests/whole, reads them. Nothing is freed. */
#include "symbols.h"

#define NOINLINE __attribute__((noinline))
#define INLINE   __attribute__((always_inline)) static inline

/* ---- static functions ---- */

NOINLINE static void *leaf(size_t size)
{
    void *block = malloc(size); /* @1009.0 leaf = leaf */
    return touch(block);
}

NOINLINE static void *middle(size_t size)
{
    void *block = leaf(size); /* @1009.1 middle = middle */
    return touch(block);
}

/* ---- inlined ones ---- */

INLINE void *inner(size_t size)
{
    void *block = malloc(size); /* @1013.0 inner = inner inlined */
    return touch(block);
}

INLINE void *outer(size_t size)
{
    void *block = inner(size); /* @1013.1 outer = outer inlined */
    return touch(block);
}

NOINLINE static void *host(size_t size)
{
    void *block = outer(size); /* @1013.2 host = host */
    return touch(block);
}

NOINLINE static void *from_header(size_t size)
{
    void *block = in_header(size); /* @1021.1 from_header = from_header */
    return touch(block);
}

/* ---- what gcc makes copies and parts of: .constprop, .isra, .cold ---- */

struct request {
    size_t size, unused;
};

NOINLINE static void *with_constant(size_t size, int mode, const struct request *request)
{
    void *block = malloc(size + (size_t)mode); /* @1031.0 with_constant = with_constant */
    return touch(block && request->unused ? block : block);
}

__attribute__((cold, noinline)) static void *rare(size_t size)
{
    void *block = malloc(size); /* @1033.0 rare = rare */
    return touch(block);
}

NOINLINE static size_t with_cold_part(size_t size, size_t one)
{
    if (__builtin_expect(one == 1, 0)) {
        void *block = rare(size); /* @1033.1 with_cold_part = with_cold_part */
        touch(block);
        one += 2;
    }
    return one * 3;
}

/* ---- a function within a function, and lines of another file ---- */

#ifndef __clang__
NOINLINE static void *with_nested(size_t size)
{
    size_t calls = 0;
    NOINLINE void *nested(size_t wanted)
    {
        calls++;
        void *block = malloc(wanted); /* @1039.0 nested gcc */
        return touch(block);
    }
    void *block = nested(size); /* @1039.1 with_nested gcc */
    return calls ? touch(block) : NULL;
}
#endif

NOINLINE static void *generated(size_t size);

int main(int argc, char **argv)
{
    struct request request = {(size_t)argc, 0};
    void *block = middle(1009); /* @1009.2 main */
    touch(block);
    block = host(1013); /* @1013.3 main */
    touch(block);
    block = from_header(1021); /* @1021.2 main */
    touch(block);
    block = with_constant(1030, 1, &request); /* @1031.1 main */
    touch(block);
    with_cold_part(1033, (size_t)argc); /* @1033.2 main */
    touch(argv);
#ifndef __clang__
    block = with_nested(1039); /* @1039.2 main gcc */
    touch(block);
#endif
    block = generated(1049); /* @1049.1 main */
    touch(block);
    return 0;
}

#line 700 "grammar.y"
NOINLINE static void *generated(size_t size)
{
    void *block = malloc(size); /* @1049.0 generated */
    return touch(block);
}
