/* test.h: the harness of the unit tests. TEST(name) { ... } registers itself; the program runs them all, says
 * `ok name` or `not ok name` for each, and fails when one did. */
#ifndef HT_TEST_H
#define HT_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_list, **test_end = &test_list;
static int test_failures;

#define TEST(name_)                                                                                \
    static void test_run_##name_(void);                                                            \
    static struct test test_##name_ = {.name = #name_, .run = test_run_##name_};                   \
    __attribute__((constructor)) static void test_register_##name_(void)                           \
    {                                                                                              \
        *test_end = &test_##name_;                                                                 \
        test_end = &test_##name_.next;                                                             \
    }                                                                                              \
    static void test_run_##name_(void)

#define TEST_FAIL(...)                                                                             \
    (fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__),                 \
     fputc('\n', stderr), test_failures++)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            TEST_FAIL("%s", #condition);                                                           \
    } while (0)

#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        long long a_ = (long long)(a), b_ = (long long)(b);                                        \
        if (a_ != b_)                                                                              \
            TEST_FAIL("%s is %lld, not %lld", #a, a_, b_);                                         \
    } while (0)

#define CHECK_STR_EQ(a, b)                                                                         \
    do {                                                                                           \
        const char *a_ = (a), *b_ = (b);                                                           \
        if (strcmp(a_, b_) != 0)                                                                   \
            TEST_FAIL("%s is \"%s\", not \"%s\"", #a, a_, b_);                                     \
    } while (0)

int main(void)
{
    int failed = 0;
    for (struct test *test = test_list; test; test = test->next) {
        int before = test_failures;
        test->run();
        printf("%s %s\n", test_failures == before ? "ok" : "not ok", test->name);
        failed += test_failures != before;
    }
    return failed != 0;
}

#endif
