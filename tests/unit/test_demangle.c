#include "report/demangle.h"

#include <sys/mman.h>

#include "test.h"

static const char *demangle(const char *mangled)
{
    static char name[1024];
    ht_demangle(mangled, name, sizeof(name));
    return name;
}

TEST(demangle_leaves_other_names_alone)
{
    static const char *const names[] = {"main", "_start", "__libc_start_main", "",    "_",
                                        "_Z",   "_R",     "foo.constprop.0",   "_ZN", "_Znonsense"};
    char name[64];
    for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++) {
        CHECK(!ht_demangle(names[i], name, sizeof(name)));
        CHECK_STR_EQ(name, names[i]);
    }
}

TEST(demangle_gives_the_short_form)
{
    static const struct {
        const char *mangled, *name;
    } names[] = {
        {"_Z3fooi", "foo"},
        {"_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector::push_back"},
        {"_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE9_M_appendEPKcm",
         "std::__cxx11::basic_string::_M_append"},
        {"_ZNKSt8functionIFiiEEclEi", "std::function::operator()"},
        {"_ZNSt8functionIFiiEED2Ev", "std::function::~function"},
        {"_ZSt13__invoke_implIiRZ4mainEUliE_JiEET_St14__invoke_otherOT0_DpOT1_",
         "std::__invoke_impl"},
        {"_Z3fooi.cold", "foo"},
        {"_Z3fooi.constprop.0", "foo"},
        {"_Znwm", "operator new"},
        {"_Znam", "operator new[]"},
        {"_ZTv0_n24_N3foo3barEv", "virtual thunk to foo::bar"},
        {"_ZN12_GLOBAL__N_12An1fEi", "(anonymous namespace)::An::f"},
        /* Local names. */
        {"_ZZ4mainENKUliE_clEi", "main::{lambda()#1}::operator()"},
        {"_ZZNK3foo3barEiENKUldiE_clEdi", "foo::bar::{lambda()#1}::operator()"},
        {"_ZZN3foo3barIdEET_S1_EN1L1gEd", "foo::bar::L::g"},
        /* Operators. */
        {"_ZN12_GLOBAL__N_12AnlsEi", "(anonymous namespace)::An::operator<<"},
        {"_ZZN3foo3barIdEET_S1_ENK1LltERKS2_", "foo::bar::L::operator<"},
        {"_ZZN3foo3barIdEET_S1_EN1LgeEi", "foo::bar::L::operator>="},
        {"_ZZN3foo3barIdEET_S1_EN1LixEi", "foo::bar::L::operator[]"},
        {"_ZZN3foo3barIdEET_S1_EN1LptEv", "foo::bar::L::operator->"},
        {"_ZN1AssERKS_", "A::operator<=>"},
        {"_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc", "std::operator<<"},
        {"_ZltIiEbRK1AIT_ES4_", "operator<"},
        {"_ZNSt3mapI1AIXadL_ZN1BltERKS1_EEE1CE3addEv", "std::map::add"},
        {"_ZN3foo1PIXgtLi3ELi2EEE2goEv", "foo::P::go"},
        /* Conversions. */
        {"_ZN3FoocvPKcEv", "Foo::operator char const*"},
        {"_ZN12_GLOBAL__N_12AncvT_ISt6vectorIiSaIiEEEEv",
         "(anonymous namespace)::An::operator std::vector"},
        /* Rust, both schemes. */
        {"_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"},
        {"_ZN50_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$Clone$GT$5clone17h0123456789abcdefE",
         "<alloc::vec::Vec<T> as Clone>::clone"},
        {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++)
        CHECK_STR_EQ(demangle(names[i].mangled), names[i].name);
}

TEST(demangle_cuts_long_names)
{
    char name[12];
    CHECK(ht_demangle("_ZN3foo11barbarbarba1gEv", name, sizeof(name)));
    CHECK_STR_EQ(name, "foo::bar...");
    CHECK(ht_demangle("_ZN3foo6barbarEv", name, sizeof(name)));
    CHECK_STR_EQ(name, "foo::barbar");
    CHECK(!ht_demangle("0123456789abcdef", name, sizeof(name)));
    CHECK_STR_EQ(name, "01234567...");
}

static char deep[2 * HT_DEMANGLE_MAX];

static void repeat(const char *head, const char *open, const char *middle, const char *close_,
                   const char *tail)
{
    size_t fixed = strlen(head) + strlen(middle) + strlen(tail);
    size_t count = (HT_DEMANGLE_MAX - fixed) / (strlen(open) + strlen(close_));
    char *at = stpcpy(deep, head);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, open);
    at = stpcpy(at, middle);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, close_);
    stpcpy(at, tail);
    CHECK(strlen(deep) <= HT_DEMANGLE_MAX);
}

#if !defined(__SANITIZE_THREAD__) /* which wants more stack than there is */
/* Shapes on which the demangler recurses once for each few bytes, up to the longest name that is
 * demangled, on the stack that demangle.h asks for; the page below it cannot be touched. */
static void *demangle_deep(void *unused)
{
    (void)unused;
    demangle(deep);
    return NULL;
}

TEST(demangle_stays_on_its_stack)
{
    static const char *const shapes[][5] = {
        {"_Z1fI", "P", "i", "", "Evv"},       {"_Z1fI", "1aI", "i", "E", "Evv"},
        {"_ZN", "1aI", "i", "EE", "Ev"},      {"_Z1fI", "PFv", "i", "E", "Evv"},
        {"_Z1fIX", "ps", "Li1E", "", "EEvv"}, {"_Z", "Z", "1fv", "E1x", ""},
        {"_Z1fI", "A1_", "i", "", "Evv"},     {"_Z1fI", "J", "i", "E", "Evv"},
        {"_R", "I", "C1a", "uE", ""},         {"_RINvC1a1f", "R", "u", "", "E"},
        {"_Z1fI", "A1_A_", "i", "", "Evv"},   {"_Z1fI", "A1_C", "i", "", "Evv"},
    };
    size_t size = 720 * 1024;
    char *stack =
        mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED && mprotect(stack, 4096, PROT_NONE) == 0);
    for (size_t i = 0; i < HT_ARRAY_SIZE(shapes); i++) {
        repeat(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], shapes[i][4]);
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        CHECK_EQ(pthread_attr_setstack(&attributes, stack + 4096, size), 0);
        CHECK_EQ(pthread_create(&thread, &attributes, demangle_deep, NULL), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attributes);
    }
    munmap(stack, size + 4096);
}
#endif

/* What the demangler would not come back from, or only with megabytes on its stack. */
TEST(demangle_leaves_endless_names_alone)
{
    static const char *const shapes[][5] = {
        {"_ZN1Acv", "T_I", "i", "E", "Ev"},
        {"_Z1fIXsp", "pp", "Li1E", "", "EEvv"},
        {"_Z1fI1aIiEDpS0_", "1bIS0_S0_E", "i", "", "Evv"},
        {"_Z1fI", "1aIiERT_", "i", "", "Evv"},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(shapes); i++) {
        repeat(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], shapes[i][4]);
        char name[2 * HT_DEMANGLE_MAX];
        CHECK(!ht_demangle(deep, name, sizeof(name)));
        CHECK_STR_EQ(name, deep);
    }
    const char *binder = "_RNvMIC1aFGzzzzzzzzzz_EuEu1b";
    CHECK_STR_EQ(demangle(binder), binder);
}

TEST(demangle_ends_on_any_name)
{
    static const char alphabet[] = "_ZNKISt6vector1a2abEEvPiRSS_T_LXJDpTtlsclcvXadL0123456789R";
    char mangled[200], name[64];
    uint64_t seed = 1;
    for (int round = 0; round < 200000; round++) {
        size_t length = 2;
        strcpy(mangled, round % 8 == 0 ? "_R" : "_Z");
        while (length < sizeof(mangled) - 1) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            if (seed >> 58 == 0)
                break;
            mangled[length++] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
        }
        mangled[length] = 0;
        ht_demangle(mangled, name, sizeof(name));
        CHECK(strlen(name) > 0 && strlen(name) < sizeof(name));
    }
}
