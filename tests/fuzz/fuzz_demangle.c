/* fuzz_demangle.c: names of C++ and Rust functions, into report/demangle.c. The first byte chooses
 * the room for the result, the rest is the name.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -fsanitize=fuzzer,address,undefined \
 *         -fno-sanitize-recover=all -o fuzz tests/fuzz/fuzz_demangle.c \
 *         profiler/report/{demangle,letters}.c -liberty -lpthread
 *     ./fuzz -max_len=2200 -timeout=10 tests/fuzz/corpus/demangle
 * The demanglers themselves are libiberty's: without coverage of them the fuzzer finds little. With
 * its sources, put cp-demangle.c and rust-demangle.c in the place of -liberty, with
 *     -DHAVE_STDLIB_H -DHAVE_STRING_H -DHAVE_ALLOCA_H -DHAVE_LIMITS_H -Iinclude */
#include "report/demangle.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "replay.h"

#define CPU_SECONDS_MAX 5

/* What demangle.h asks for, and a page below it that cannot be touched. Sanitizers need more, and
 * so does a libiberty that was not compiled as the one we link. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACK_SIZE ((size_t)64 << 20)
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(HT_FUZZ_REPLAY)
#undef STACK_SIZE
#define STACK_SIZE ((size_t)64 << 20)
#endif
#ifndef STACK_SIZE
#define STACK_SIZE ((size_t)720 << 10)
#endif
#define GUARD_SIZE ((size_t)64 << 10)

struct question {
    char mangled[HT_DEMANGLE_MAX + 128], name[1024];
    size_t room;
};

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

static void *answer(void *question_)
{
    struct question *question = question_;
    struct timespec spent;
    memset(question->name, '#', sizeof(question->name));
    bool done = ht_demangle(question->mangled, question->name, question->room);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    check(spent.tv_sec < CPU_SECONDS_MAX);

    size_t length = strnlen(question->name, question->room);
    check(length < question->room);
    for (size_t i = question->room; i < sizeof(question->name); i++)
        check(question->name[i] == '#');
    if (done) {
        check(length > 0 && strlen(question->mangled) <= HT_DEMANGLE_MAX);
    } else if (strlen(question->mangled) < question->room) {
        check(strcmp(question->name, question->mangled) == 0);
    } else {
        check(length == question->room - 1);
        size_t same = question->room > 4 ? length - 3 : length;
        check(memcmp(question->name, question->mangled, same) == 0);
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *stack;
    static struct question question;
    pthread_attr_t attributes;
    pthread_t thread;
    if (size == 0)
        return 0;
    size_t length = ht_min(size - 1, sizeof(question.mangled) - 1);
    memcpy(question.mangled, data + 1, length);
    question.mangled[length] = 0;
    question.room = 1 + (size_t)data[0] * 4;
    if (stack == NULL) {
        stack = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(stack != MAP_FAILED && mprotect(stack, GUARD_SIZE, PROT_NONE) == 0);
    }
    pthread_attr_init(&attributes);
    check(pthread_attr_setstack(&attributes, stack + GUARD_SIZE, STACK_SIZE) == 0);
    check(pthread_create(&thread, &attributes, answer, &question) == 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    return 0;
}
