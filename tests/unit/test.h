/* test.h: a test program in one include.
 *
 *     #include "test.h"
 *
 *     TEST(addition)
 *     {
 *         CHECK_EQ(1 + 1, 2);
 *     }
 *
 * Every TEST registers itself and the main function below runs them in the order of the file. A
 * failed CHECK leaves its test at once; the others still run, and the program's status is 1. An
 * argument runs only the tests that have it in their name.
 *
 * A CHECK in another thread ends the program, because there is no test to return to. */
#ifndef HT_TESTS_TEST_H
#define HT_TESTS_TEST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *test_first, **test_last = &test_first;
static const char *test_running;
static jmp_buf test_exit;
static pthread_t test_thread;

#define TEST(name)                                                                                 \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void test_register_##name(void)                            \
    {                                                                                              \
        static struct test_case self = {#name, test_##name, NULL};                                 \
        *test_last = &self;                                                                        \
        test_last = &self.next;                                                                    \
    }                                                                                              \
    static void test_##name(void)

__attribute__((noreturn, unused)) static void test_fail(const char *file, int line)
{
    printf("FAILED %s %s:%d\n", test_running, file, line);
    fflush(stdout);
    if (!pthread_equal(pthread_self(), test_thread))
        _exit(1);
    longjmp(test_exit, 1);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("  is false: %s\n", #condition);                                                \
            test_fail(__FILE__, __LINE__);                                                         \
        }                                                                                          \
    } while (0)

/* For integers; the comparison is made in 64 bits. */
#define CHECK_EQ(is, expected)                                                                     \
    do {                                                                                           \
        int64_t is_ = (int64_t)(is), expected_ = (int64_t)(expected);                              \
        if (is_ != expected_) {                                                                    \
            printf("  %s is %lld (0x%llx), expected %lld (0x%llx)\n", #is, (long long)is_,         \
                   (unsigned long long)is_, (long long)expected_, (unsigned long long)expected_);  \
            test_fail(__FILE__, __LINE__);                                                         \
        }                                                                                          \
    } while (0)

#define CHECK_STR_EQ(is, expected)                                                                 \
    do {                                                                                           \
        const char *is_ = (is), *expected_ = (expected);                                           \
        if (is_ == NULL || strcmp(is_, expected_) != 0) {                                          \
            printf("  %s is \"%s\", expected \"%s\"\n", #is, is_ == NULL ? "(null)" : is_,         \
                   expected_);                                                                     \
            test_fail(__FILE__, __LINE__);                                                         \
        }                                                                                          \
    } while (0)

int main(int argc, char **argv)
{
    volatile int failures = 0;
    test_thread = pthread_self();
    for (struct test_case *volatile test = test_first; test != NULL; test = test->next) {
        if (argc > 1 && strstr(test->name, argv[1]) == NULL)
            continue;
        test_running = test->name;
        if (setjmp(test_exit) != 0) {
            failures++;
            continue;
        }
        test->run();
        printf("ok %s\n", test->name);
        fflush(stdout);
    }
    return failures == 0 ? 0 : 1;
}

#endif
