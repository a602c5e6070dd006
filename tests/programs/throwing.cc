/* throwing.cc: the C++ library that dlopen_throw loads. Each function returns 1 when all went as
 * C++ says. */
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

static volatile size_t absurd = SIZE_MAX / 2 - 4096;
static int handler_calls;

extern "C" int throw_and_catch()
{
    try {
        throw std::runtime_error("thrown");
    } catch (const std::exception &e) {
        return std::string(e.what()) == "thrown";
    }
}

struct Guard {
    int *count;
    ~Guard()
    {
        ++*count;
    }
};

__attribute__((noinline)) static void throw_at(int depth, int *count)
{
    Guard guard = {count};
    if (depth == 0)
        throw depth;
    throw_at(depth - 1, count);
}

/* Through 50 frames with a destructor each. */
extern "C" int throw_deep()
{
    int count = 0;
    try {
        throw_at(49, &count);
    } catch (int) {
        return count == 50;
    }
    return 0;
}

extern "C" int absurd_new()
{
    try {
        void *block = ::operator new(absurd);
        __asm__ volatile("" : : "r"(block));
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}

extern "C" int absurd_array()
{
    try {
        char *block = new char[absurd];
        __asm__ volatile("" : : "r"(block));
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}

extern "C" int absurd_nothrow()
{
    return ::operator new(absurd, std::nothrow) ==
           nullptr && ::operator new[](absurd, std::nothrow) == nullptr;
}

extern "C" int absurd_aligned()
{
    try {
        void *block = ::operator new(absurd, std::align_val_t(64));
        __asm__ volatile("" : : "r"(block));
    } catch (const std::bad_alloc &) {
        return ::operator new(absurd, std::align_val_t(64), std::nothrow) == nullptr;
    }
    return 0;
}

/* Called until it gives up. */
static void give_up_at_the_third()
{
    if (++handler_calls == 3)
        throw std::bad_alloc();
}

extern "C" int handler_is_called()
{
    handler_calls = 0;
    std::new_handler old = std::set_new_handler(give_up_at_the_third);
    bool thrown = false;
    try {
        void *block = ::operator new(absurd);
        __asm__ volatile("" : : "r"(block));
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    int first = handler_calls;
    handler_calls = 0;
    void *none = ::operator new(absurd, std::nothrow);
    int second = handler_calls;
    std::set_new_handler(old);
    return thrown && first == 3 && none == nullptr && second == 3;
}

/* A handler that makes room: the request is tried again and granted. */
static void make_room()
{
    handler_calls++;
    absurd = 100;
    std::set_new_handler(nullptr);
}

extern "C" int handler_frees()
{
    size_t old = absurd;
    handler_calls = 0;
    std::set_new_handler(make_room);
    int thrown = 0;
    try {
        void *block = ::operator new(absurd);
        __asm__ volatile("" : : "r"(block));
    } catch (const std::bad_alloc &) {
        thrown = 1; /* the size itself is still absurd, and no handler is left */
    }
    absurd = old;
    return thrown && handler_calls == 1;
}

extern "C" int rethrow()
{
    try {
        try {
            throw std::string("first");
        } catch (...) {
            throw;
        }
    } catch (const std::string &text) {
        return text == "first";
    }
    return 0;
}
