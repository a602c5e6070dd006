/* edges.cc: `edges_cc [only_successes]`: the edges of operator new and delete: what came back or
 * was thrown, how often the new_handler was called, usable sizes. The same with heaptap as without,
 * over each allocator; everything is freed. */
#include "truth.h"

#include <cerrno>
#include <malloc.h>
#include <new>
#include <stdexcept>
#include <sys/resource.h>

static volatile size_t zero = 0;
static volatile size_t largest = SIZE_MAX;
static volatile size_t half = static_cast<size_t>(PTRDIFF_MAX);
static volatile size_t count = static_cast<size_t>(1) << 62;

static constexpr std::align_val_t al64{64}, al4096{4096};

/* ---- handlers ---- */

static unsigned handled;
static struct rlimit limit_before;

static void gives_up()
{
    handled++;
    std::set_new_handler(nullptr);
}

static void throws_at_third()
{
    if (++handled == 3)
        throw std::runtime_error("from the handler");
}

static void throws_bad_alloc()
{
    handled++;
    throw std::bad_alloc();
}

/* Allocates like any other function, though it is called from within an allocation. */
static void allocates()
{
    for (int i = 0; i < 10; i++) {
        delete new int(i);
        free(again(malloc(100)));
        delete[] new (std::nothrow) char[1000];
    }
    if (++handled == 2)
        std::set_new_handler(nullptr);
}

/* Asks for too much itself, with another handler in its place meanwhile. */
static void fails_within()
{
    if (++handled == 3) {
        std::set_new_handler(nullptr);
        return;
    }
    std::set_new_handler(nullptr);
    try {
        ::operator delete(::operator new(half + 1));
    } catch (const std::bad_alloc &) {
        say("within the handler: bad_alloc\n");
    }
    std::set_new_handler(fails_within);
}

/* Makes the memory there that was missing: the second try succeeds. */
static void makes_room()
{
    handled++;
    setrlimit(RLIMIT_AS, &limit_before);
}

/* ---- telling ---- */

static void tell(const char *what, void *block, size_t alignment)
{
    if (block && alignment > 16) /* the usable size depends on where it lies */
        say("%s: a block, %s, handler called %u times\n", what,
            reinterpret_cast<uintptr_t>(block) % alignment == 0 ? "aligned" : "NOT aligned",
            handled);
    else if (block)
        say("%s: a block, usable %zu, handler called %u times\n", what, malloc_usable_size(block),
            handled);
    else
        say("%s: NULL, handler called %u times\n", what, handled);
}

#define EDGE(alignment, news, deletes)                                                             \
    do {                                                                                           \
        handled = 0;                                                                               \
        try {                                                                                      \
            void *block = (news);                                                                  \
            tell(#news, block, alignment);                                                         \
            deletes;                                                                               \
        } catch (const std::bad_array_new_length &e) {                                             \
            say("%s: bad_array_new_length, handler called %u times\n", #news, handled);            \
        } catch (const std::bad_alloc &e) {                                                        \
            say("%s: bad_alloc %s, handler called %u times\n", #news, e.what(), handled);          \
        } catch (const std::exception &e) {                                                        \
            say("%s: %s, handler called %u times\n", #news, e.what(), handled);                    \
        }                                                                                          \
    } while (0)

/* All forms with one size. Each delete is one that goes with its new. */
NOINLINE static void forms(size_t size)
{
    say("size %zu\n", size);
    EDGE(16, ::operator new(size), ::operator delete(block));
    EDGE(16, ::operator new(size), ::operator delete(block, size));
    EDGE(16, ::operator new(size), ::operator delete(block, std::nothrow));
    EDGE(16, ::operator new[](size), ::operator delete[](block));
    EDGE(16, ::operator new[](size), ::operator delete[](block, size));
    EDGE(16, ::operator new(size, std::nothrow), ::operator delete(block, std::nothrow));
    EDGE(16, ::operator new[](size, std::nothrow), ::operator delete[](block, std::nothrow));
    EDGE(64, ::operator new(size, al64), ::operator delete(block, al64));
    EDGE(64, ::operator new(size, al64), ::operator delete(block, size, al64));
    EDGE(64, ::operator new(size, al64, std::nothrow),
         ::operator delete(block, al64, std::nothrow));
    EDGE(4096, ::operator new[](size, al4096), ::operator delete[](block, al4096));
    EDGE(4096, ::operator new[](size, al4096), ::operator delete[](block, size, al4096));
    EDGE(4096, ::operator new[](size, al4096, std::nothrow),
         ::operator delete[](block, al4096, std::nothrow));
}

NOINLINE static void failures(const char *handler)
{
    say("handler: %s\n", handler);
    EDGE(16, ::operator new(half + 1), ::operator delete(block));
}

NOINLINE static void handlers()
{
    std::set_new_handler(gives_up);
    failures("gives up");
    std::set_new_handler(gives_up);
    EDGE(16, ::operator new[](largest), ::operator delete[](block));
    std::set_new_handler(gives_up);
    EDGE(16, ::operator new(half + 1, std::nothrow), ::operator delete(block));
    std::set_new_handler(gives_up);
    EDGE(64, ::operator new(half + 1, al64), ::operator delete(block, al64));
    std::set_new_handler(throws_at_third);
    failures("throws at the third call");
    std::set_new_handler(throws_bad_alloc);
    failures("throws bad_alloc");
    EDGE(16, ::operator new(half + 1, std::nothrow), ::operator delete(block));
    EDGE(64, ::operator new(half + 1, al64, std::nothrow), ::operator delete(block, al64));
    std::set_new_handler(allocates);
    failures("allocates");
    std::set_new_handler(fails_within);
    failures("fails within");
    std::set_new_handler(nullptr);
}

NOINLINE static void retry()
{
    const size_t size = static_cast<size_t>(700) << 20;
    getrlimit(RLIMIT_AS, &limit_before);
    struct rlimit none = limit_before;
    none.rlim_cur = 1 << 20;
    std::set_new_handler(makes_room);
    setrlimit(RLIMIT_AS, &none);
    EDGE(16, ::operator new(size), ::operator delete(block));
    setrlimit(RLIMIT_AS, &none);
    EDGE(16, ::operator new[](size), ::operator delete[](block));
    setrlimit(RLIMIT_AS, &limit_before);
    std::set_new_handler(nullptr);
}

struct Throws {
    char content[100];
    Throws()
    {
        throw std::logic_error("from the constructor");
    }
};

struct alignas(128) Wide {
    char content[256];
};

NOINLINE static void expressions()
{
    EDGE(1, new char[zero], delete[] static_cast<char *>(block));
    EDGE(1, new long[count], delete[] static_cast<long *>(block));
    EDGE(1, new (std::nothrow) long[count / 4], delete[] static_cast<long *>(block));
    EDGE(1, new Throws, );
    EDGE(1, new Throws[3], );
    EDGE(1, new (std::nothrow) Throws, );
    EDGE(128, new Wide, delete static_cast<Wide *>(block));
    EDGE(128, new Wide[3], delete[] static_cast<Wide *>(block));
    delete static_cast<int *>(nullptr);
    delete[] static_cast<char *>(nullptr);
    ::operator delete(nullptr, static_cast<size_t>(10));
    ::operator delete(nullptr, static_cast<size_t>(10), al64);
    errno = 1234;
    for (int i = 0; i < 100; i++) {
        delete new int;
        delete new Wide;
        ::operator delete(::operator new(static_cast<size_t>(20) << 20));
    }
    say("errno after deletes: %d\n", errno);
}

int main(int argc, char **argv)
{
    const bool with_failures = argc < 2 || strcmp(argv[1], "only_successes") != 0;
    for (int round = 0; round < 2; round++) {
        for (size_t size :
             {static_cast<size_t>(zero), static_cast<size_t>(1), static_cast<size_t>(100),
              static_cast<size_t>(5000), static_cast<size_t>(1) << 20, half - 4096, half + 1,
              half + 100, largest - 64, static_cast<size_t>(largest)})
            if (with_failures || size <= 1 << 20)
                forms(size);
        if (!with_failures)
            continue;
        handlers();
        retry();
        expressions();
    }
    return 0;
}
