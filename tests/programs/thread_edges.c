/* thread_edges.c: threads at their limits.
 *
 *     thread_edges short N     N threads, one after the other, 8 at a time, each allocating a little
 *     thread_edges small       threads with the smallest stack there may be
 *     thread_edges late        in destructors of keys, of thread_local objects' kin, and behind them all
 *     thread_edges cancel      cancelled, at once and later, with blocks allocated and freed around it
 *     thread_edges many N      N threads at the same time, in a loop
 *     thread_edges resident N  the same, waiting; then says `resident BYTES` with all of them
 * alive */
#include "truth.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

static struct truth truth;

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    truth_count(&truth, size);
    return block;
}

static pthread_t start(void *(*work)(void *), void *argument, size_t stack)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (stack && pthread_attr_setstacksize(&attributes, stack) != 0)
        die("no such stack size");
    int r = pthread_create(&thread, &attributes, work, argument);
    if (r != 0)
        die("no thread: %s", strerror(r));
    pthread_attr_destroy(&attributes);
    return thread;
}

static void *allocate_a_little(void *unused)
{
    (void)unused;
    void *kept = site(300);
    for (size_t i = 1; i <= 5; i++)
        free(site(i * 10));
    return kept;
}

static void run_short(unsigned count)
{
    pthread_t threads[8];
    for (unsigned i = 0; i < count; i += 8) {
        for (unsigned j = 0; j < 8; j++)
            threads[j] = start(allocate_a_little, NULL, 65536);
        for (unsigned j = 0; j < 8; j++) {
            void *kept;
            pthread_join(threads[j], &kept);
            free(kept);
        }
    }
}

static void run_small(void)
{
    for (int i = 0; i < 200; i++) {
        void *kept;
        pthread_join(start(allocate_a_little, NULL, PTHREAD_STACK_MIN), &kept);
        free(kept);
    }
}

/* ---- late ---- */

static pthread_key_t first_key, second_key;
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;
static __thread char local[100]; /* whose memory goes after all of these */

static void at_first_key_end(void *value)
{
    static __thread int rounds;
    free(value);
    memset(local, 1, sizeof(local));
    if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(first_key, site(77));
}

static void at_second_key_end(void *value)
{
    free(value);
    free(realloc(site(44), 440));
}

static void at_object_end(void *value)
{
    free(value);
    pthread_setspecific(first_key, site(55)); /* objects end before keys */
}

static void *end_late(void *unused)
{
    __cxa_thread_atexit_impl(at_object_end, site(66), &__dso_handle);
    pthread_setspecific(second_key, site(88));
    return unused;
}

static void run_late(void)
{
    pthread_key_create(&first_key, at_first_key_end);
    pthread_key_create(&second_key, at_second_key_end);
    for (int i = 0; i < 300; i++)
        pthread_join(start(end_late, NULL, 0), NULL);
}

/* ---- cancel ---- */

static uint32_t is_ready, may_end;

static void give_back(void *block)
{
    free(block);
    free(site(20));
}

/* A pending cancel is no business of malloc and free: they are no cancellation points. */
static void *is_cancelled_later(void *unused)
{
    void *block = site(500);
    pthread_cleanup_push(give_back, block);
    __atomic_store_n(&is_ready, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&may_end, __ATOMIC_ACQUIRE))
        sched_yield();
    for (size_t i = 0; i < 1000; i++)
        free(realloc(site(i + 1), i + 50));
    say("still here\n");
    pthread_testcancel();
    die("not cancelled");
    pthread_cleanup_pop(1);
    return unused;
}

/* Only the loop may be cancelled at any time. */
static void *is_cancelled_at_once(void *unused)
{
    int old;
    void *block = site(600);
    pthread_cleanup_push(give_back, block);
    free(site(700));
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    __atomic_store_n(&is_ready, 1, __ATOMIC_RELEASE);
    for (volatile uint64_t i = 0; i < UINT64_MAX; i++)
        ;
    pthread_cleanup_pop(1);
    return unused;
}

static void run_cancel(void)
{
    for (int i = 0; i < 40; i++) {
        void *result;
        is_ready = may_end = 0;
        pthread_t thread = start(i % 2 ? is_cancelled_at_once : is_cancelled_later, NULL, 0);
        while (!__atomic_load_n(&is_ready, __ATOMIC_ACQUIRE))
            sched_yield();
        pthread_cancel(thread);
        __atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
        pthread_join(thread, &result);
        say("%s\n", result == PTHREAD_CANCELED ? "cancelled" : "returned");
    }
}

/* ---- many ---- */

static pthread_barrier_t together;

static void *churn(void *unused)
{
    void *blocks[64] = {0};
    pthread_barrier_wait(&together);
    for (size_t i = 0; i < 4000; i++) {
        free(blocks[i % 64]);
        blocks[i % 64] = site(1 + i % 777);
    }
    for (size_t i = 0; i < 64; i++)
        free(blocks[i]);
    return unused;
}

static void *churn_and_wait(void *unused)
{
    for (size_t i = 1; i < 200; i++)
        free(site(i));
    void *kept = site(100);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    free(kept);
    return unused;
}

static size_t resident(void)
{
    char text[128] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || !fgets(text, sizeof(text), file))
        die("no statm");
    fclose(file);
    return strtoul(strchr(text, ' '), NULL, 10) * 4096;
}

static void run_many(unsigned count, void *(*work)(void *))
{
    bool waiting = work == churn_and_wait;
    pthread_t *threads = off_heap(count * sizeof(*threads));
    pthread_barrier_init(&together, NULL, count + (waiting ? 1 : 0));
    for (unsigned i = 0; i < count; i++)
        threads[i] = start(work, NULL, waiting ? 65536 : 0);
    if (waiting) {
        pthread_barrier_wait(&together);
        say("resident %zu\n", resident());
        pthread_barrier_wait(&together);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (strcmp(mode, "short") == 0)
        run_short(count);
    else if (strcmp(mode, "small") == 0)
        run_small();
    else if (strcmp(mode, "late") == 0)
        run_late();
    else if (strcmp(mode, "cancel") == 0)
        run_cancel();
    else if (strcmp(mode, "many") == 0)
        run_many(count, churn);
    else if (strcmp(mode, "resident") == 0)
        run_many(count, churn_and_wait);
    else
        die("usage: thread_edges short|small|late|cancel|many|resident [N]");
    truth_say("site", "leaf", &truth);
    return 0;
}
