#include "test.h"

#include <sys/mman.h>

#include "sample/span.h"

#define PAGE 4096u

static uintptr_t here(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

TEST(span_of_the_main_stack_reaches_its_end)
{
    ht_span_start();
    struct ht_span span = ht_span_of(here());
    CHECK(ht_span_is_own(here()));
    /* The environment's strings lie at the end of it. */
    extern char **environ;
    CHECK(ht_span_holds(&span, (uintptr_t)environ[0] & ~(uintptr_t)7));
    CHECK(!ht_span_holds(&span, span.low - 8));
    uintptr_t word = 42;
    CHECK_EQ(ht_span_word((uintptr_t)&word), 42);
}

static void *look(void *argument)
{
    struct ht_span span = ht_span_of(here());
    CHECK(ht_span_is_own(here()));
    CHECK(span.high - span.low < 1 << 20); /* ThreadSanitizer keeps much below its frames */
    *(struct ht_span *)argument = span;
    return NULL;
}

TEST(span_of_a_thread_ends_with_its_stack)
{
    pthread_t thread;
    struct ht_span span;
    CHECK_EQ(pthread_create(&thread, NULL, look, &span), 0);
    pthread_join(thread, NULL);
    CHECK(!ht_span_is_own(span.low)); /* it was that thread's */
}

/* Three pages, then one that cannot be read. */
TEST(span_of_a_foreign_stack_grows_as_far_as_it_can_be_read)
{
    char *pages = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    CHECK_EQ(mprotect(pages + 3 * PAGE, PAGE, PROT_NONE), 0);
    uintptr_t low = (uintptr_t)pages + 100;
    struct ht_span span = ht_span_of(low);
    CHECK(!ht_span_is_own(low));
    CHECK(ht_span_holds(&span, low));
    CHECK(ht_span_holds(&span, (uintptr_t)pages + 3 * PAGE - 8));
    CHECK(!ht_span_holds(&span, (uintptr_t)pages + 3 * PAGE - 7)); /* half of it cannot be read */
    CHECK(!ht_span_holds(&span, (uintptr_t)pages + 3 * PAGE));
    CHECK(!ht_span_holds(&span, UINTPTR_MAX - 8));
    CHECK(!ht_span_holds(&span, low - 8));
    munmap(pages, 4 * PAGE);
}
