/* own_operators.cc: a program with operator new and delete of its own, over malloc with a header,
 * or over mmap (-DOVER_MMAP). They keep their balance, and die of a block that is not theirs. */
#include "truth.h"

#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

static constexpr uint64_t mark = UINT64_C(0x6f776e206e657721);
static volatile size_t absurd = static_cast<size_t>(PTRDIFF_MAX) - 1000;
static long balance;

static void *get(size_t size)
{
#ifdef OVER_MMAP
    void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
#else
    return malloc(size);
#endif
}

static void give(void *memory, size_t size)
{
#ifdef OVER_MMAP
    munmap(memory, size);
#else
    (void)size;
    free(memory);
#endif
}

void *operator new(size_t size)
{
    uint64_t *words = static_cast<uint64_t *>(get(size + 16));
    if (words == nullptr)
        throw std::bad_alloc();
    words[0] = mark;
    words[1] = size;
    balance++;
    return words + 2;
}

void operator delete(void *block) noexcept
{
    if (block == nullptr)
        return;
    uint64_t *words = static_cast<uint64_t *>(again(block)) - 2;
    if (words[0] != mark)
        die("own operators: a stranger's block");
    words[0] = 0;
    balance--;
    give(again(words), words[1] + 16);
}

void operator delete(void *block, size_t) noexcept
{
    operator delete(block);
}

NOINLINE static void work()
{
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 200; i++)
        map["a key that is longer than what a string holds by itself " + std::to_string(i)].resize(
            static_cast<size_t>(i));
    auto shared = std::make_shared<std::string>(100, 'x');
    std::unique_ptr<long[]> array(new long[100]);
    delete new (std::nothrow) int(1);
    say("%zu keys, balance %ld\n", map.size(), balance);
}

int main()
{
    long before = balance;
    work();
    say("balance %ld\n", balance - before);
    try {
        delete[] new char[absurd];
    } catch (const std::bad_alloc &) {
        say("bad_alloc, balance %ld\n", balance - before);
    }
    return 0;
}
