/* Not of one source but of all: a whole scenario, from samples to a profile, in which every request
 * for memory from the n-th on fails, or the n-th alone, for each n that it makes. */
#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "hook.h"
#include "report/lexicon.h"
#include "report/pprof.h"
#include "report/tables.h"
#include "sample/unwind.h"
#include "sys/arena.h"
#include "sys/os.h"

#define BLOCKS 3000
/* A fork with a sanitizer in it takes long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FEW 5
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FEW 5
#endif
#endif
#ifndef FEW
#define FEW 1
#endif

#define N_EACH (400 / FEW) /* every one of the first: tables, rules, buffers */
#define N_MAX  7000        /* then some of the stacks, and the profile's */
#define N_STEP (31 * FEW)

/* But for the names, which are kept. */
static size_t memory_used(void)
{
    return ht_arena_used() - ht_lexicon_size();
}

static int objects_of(void *context, const struct ht_site_view *site)
{
    uint64_t *sums = context;
    sums[0] += site->counts.alloc_objects >> HT_OBJECTS_SHIFT;
    sums[1] += site->counts.free_objects >> HT_OBJECTS_SHIFT;
    return 0;
}

static intptr_t encode(void *argument)
{
    struct ht_totals totals;
    static struct ht_snapshot snapshot;
    ht_snapshot_of_tables(&snapshot);
    return ht_pprof_encode(&snapshot, *(int *)argument, &totals);
}

/* 0, or the number of the promise that was broken. */
static int scenario(unsigned long n)
{
    static char stack[2 << 20];
    const char *reason = NULL;
    int null = open("/dev/null", O_WRONLY);
    ht_sampler_set_interval(1);
    ht_arena_fail_from(n);
    ht_unwind_start(&reason);
    for (uintptr_t i = 1; i <= BLOCKS; i++)
        hook_malloc(i << 12, 100, i);
    for (uintptr_t i = 1; i <= BLOCKS; i++)
        hook_free(i << 12);
    struct ht_record_counts counts = ht_record_counts();
    uint64_t sums[2] = {0, 0};
    ht_stacks_each(objects_of, sums);
    if (sums[0] != sums[1])
        return 1; /* all that was counted as allocated is counted as freed */
    if (sums[0] + counts.drops[HT_DROP_SCRATCH] != BLOCKS)
        return 2; /* and nothing is lost without a count */
    if (ht_live_count() != 0)
        return 3;
    size_t before = memory_used();
    int r = (int)ht_os_call_on_stack(encode, &null, stack + sizeof(stack));
    if (r != 0 && n == 0)
        return 4;
    if (memory_used() != before)
        return 5; /* a profile gives back what it took, also when it fails */
    ht_arena_fail_from(0);
    r = (int)ht_os_call_on_stack(encode, &null, stack + sizeof(stack));
    return r == 0 ? 0 : 6; /* and the next one succeeds */
}

static int run_apart(unsigned long n)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(scenario(n));
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(memory_that_never_fails)
{
    CHECK_EQ(run_apart(0), 0);
}

TEST(memory_that_fails_from_the_nth_request_on)
{
    for (unsigned long n = 1; n <= N_MAX; n += n < N_EACH ? 1 : N_STEP) {
        int broken = run_apart(n);
        if (broken != 0)
            printf("  n = %lu\n", n);
        CHECK_EQ(broken, 0);
    }
}
