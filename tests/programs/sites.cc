/* sites.cc: sites.c for C++: every operator new and delete, containers, names inside namespaces,
 * classes and templates.
 *
 *     sites_cc COUNT keep|free
 *
 * The names in the truth are those that pprof shows: no parameters, no template arguments. */
#include "truth.h"

#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

bool free_all;
size_t count;

struct Large {
    char bytes[3000];
};

struct alignas(128) Aligned {
    char bytes[384];
};

/* Blocks of one site, kept or given back by the matching operator delete. */
template <typename Allocate, typename Release>
void drive(const char *name, size_t size, Allocate allocate, Release release)
{
    struct truth truth = {0, 0, 0, 0};
    for (size_t i = 0; i < count; i++) {
        auto *block = allocate();
        keep(block);
        truth_alloc(&truth, size);
        if (free_all || i % 2) {
            release(block);
            truth_free(&truth, size);
        }
    }
    truth_say(name, "leaf", &truth);
}

} // namespace

NOINLINE static void *site_new()
{
    void *block = new char;
    STAY();
    return block;
}

NOINLINE static Large *site_new_large()
{
    Large *block = new Large;
    STAY();
    return block;
}

NOINLINE static long *site_new_array()
{
    long *block = new long[25];
    STAY();
    return block;
}

NOINLINE static int *site_new_nothrow()
{
    int *block = new (std::nothrow) int;
    STAY();
    return block;
}

NOINLINE static int *site_new_array_nothrow()
{
    int *block = new (std::nothrow) int[77];
    STAY();
    return block;
}

NOINLINE static Aligned *site_new_aligned()
{
    Aligned *block = new Aligned;
    STAY();
    return block;
}

NOINLINE static Aligned *site_new_array_aligned()
{
    Aligned *block = new Aligned[3];
    STAY();
    return block;
}

NOINLINE static Aligned *site_new_aligned_nothrow()
{
    Aligned *block = new (std::nothrow) Aligned;
    STAY();
    return block;
}

NOINLINE static void *site_operator_new()
{
    void *block = ::operator new(5000);
    STAY();
    return block;
}

/* Names that need the demangler. */
namespace shop
{

template <typename Item> class Cart
{
  public:
    NOINLINE Item *site_method(int items)
    {
        Item *block = new Item[(size_t)items];
        STAY();
        return block;
    }
};

NOINLINE static void *site_in_namespace(size_t size, const std::string &)
{
    void *block = malloc(size);
    keep(block);
    return block;
}

} // namespace shop

/* A constructor that throws: the block is given back by the compiler's own call of operator
 * delete. */
struct Refusing {
    char bytes[200];
    explicit Refusing(bool refuses)
    {
        if (refuses)
            throw std::runtime_error("refused");
    }
};

NOINLINE static void site_constructor_throws(struct truth *truth)
{
    static volatile bool refuses = true;
    try {
        keep(new Refusing(refuses));
    } catch (const std::runtime_error &) {
        truth->alloc_objects++;
        truth->alloc_bytes += sizeof(Refusing);
    }
}

/* Containers: the truth is what their capacities say. */
NOINLINE static void site_vector(std::vector<uint64_t> *numbers, struct truth *truth)
{
    for (uint64_t i = 0; i < 10000; i++) {
        size_t old_bytes = numbers->capacity() * sizeof(i);
        numbers->push_back(i);
        if (numbers->capacity() * sizeof(i) == old_bytes)
            continue;
        truth_alloc(truth, numbers->capacity() * sizeof(i));
        if (old_bytes)
            truth_free(truth, old_bytes);
    }
}

NOINLINE static void site_map(std::map<int, double> *map, struct truth *truth)
{
    for (int i = 0; i < 500; i++) {
        (*map)[i] = i;
        truth_alloc(truth, sizeof(std::_Rb_tree_node<std::pair<const int, double>>));
    }
}

NOINLINE static void site_string(std::vector<std::string> *strings, struct truth *truth)
{
    for (size_t i = 0; i < strings->size(); i++) {
        (*strings)[i] = std::string(100 + i, 'x');
        truth_alloc(truth, 100 + i + 1);
    }
}

static void containers()
{
    static std::vector<uint64_t> *numbers = new std::vector<uint64_t>;
    static std::map<int, double> *map = new std::map<int, double>;
    static std::vector<std::string> *strings = new std::vector<std::string>(300);
    struct truth of_vector = {0, 0, 0, 0}, of_map = {0, 0, 0, 0}, of_strings = {0, 0, 0, 0};
    site_vector(numbers, &of_vector);
    site_map(map, &of_map);
    site_string(strings, &of_strings);
    if (free_all) {
        delete numbers;
        delete map;
        delete strings;
        of_vector.inuse_objects = of_vector.inuse_bytes = 0;
        of_map.inuse_objects = of_map.inuse_bytes = 0;
        of_strings.inuse_objects = of_strings.inuse_bytes = 0;
    }
    truth_say("site_vector", "through", &of_vector);
    truth_say("site_map", "through", &of_map);
    truth_say("site_string", "through", &of_strings);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: sites_cc COUNT keep|free");
    count = strtoul(argv[1], NULL, 10);
    free_all = strcmp(argv[2], "free") == 0;

    drive("site_new", 1, site_new, [](void *block) { delete (char *)block; });
    drive("site_new_large", sizeof(Large), site_new_large, [](Large *block) { delete block; });
    drive("site_new_array", 25 * sizeof(long), site_new_array, [](long *block) { delete[] block; });
    drive("site_new_nothrow", sizeof(int), site_new_nothrow,
          [](int *block) { ::operator delete(block, std::nothrow); });
    drive("site_new_array_nothrow", 77 * sizeof(int), site_new_array_nothrow,
          [](int *block) { ::operator delete[](block, std::nothrow); });
    drive("site_new_aligned", sizeof(Aligned), site_new_aligned,
          [](Aligned *block) { delete block; });
    drive("site_new_array_aligned", 3 * sizeof(Aligned), site_new_array_aligned,
          [](Aligned *block) { delete[] block; });
    drive("site_new_aligned_nothrow", sizeof(Aligned), site_new_aligned_nothrow,
          [](Aligned *block) { ::operator delete(block, std::align_val_t(alignof(Aligned))); });
    drive("site_operator_new", 5000, site_operator_new,
          [](void *block) { ::operator delete(block, (size_t)5000); });
    shop::Cart<double> cart;
    drive(
        "shop::Cart::site_method", 40 * sizeof(double), [&] { return cart.site_method(40); },
        [](double *block) { delete[] block; });
    std::string empty;
    drive(
        "shop::site_in_namespace", 640, [&] { return shop::site_in_namespace(640, empty); },
        [](void *block) { free(block); });

    struct truth refused = {0, 0, 0, 0};
    site_constructor_throws(&refused);
    truth_say("site_constructor_throws", "leaf-only", &refused);
    containers();
    return 0;
}
