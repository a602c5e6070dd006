/* A walk whose rules are known asks nobody: no system call, no lock. */
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sample/frames.h"
#include "sample/unwind.h"
#include "sample/unwind_learn.h"
#include "sample/unwind_rules.h"

#define DEPTH 200

static uintptr_t pcs[DEPTH + 1];
static unsigned depth;

__attribute__((noinline)) static void walk_from_caller(void)
{
    struct ht_frame caller = HT_ARCH_CALLER_FRAME();
    depth = ht_unwind_walk(&caller, pcs, DEPTH);
}

__attribute__((noinline)) static int recurse(int levels)
{
    int result = levels;
    if (levels == 0)
        walk_from_caller();
    else
        result = recurse(levels - 1);
    __asm__ volatile("" : "+r"(result));
    return result;
}

/* One place for all walks: another would be another pc. False if a stack is not the expected. */
__attribute__((noinline)) static bool walk_all_depths(int rounds)
{
    bool good = true;
    unsigned shallow = 0;
    for (int i = 0; i < rounds; i++) {
        int levels = i % 128;
        recurse(levels);
        shallow = levels == 0 ? depth : shallow;
        good = good && depth == shallow + (unsigned)levels && pcs[depth - 1] != HT_PC_TRUNCATED;
    }
    return good;
}

TEST(warm_start)
{
    const char *reason = NULL;
    CHECK(ht_unwind_start(&reason));
    CHECK(walk_all_depths(128));
}

/* From here on the kernel kills whoever asks it for anything but to end. */
static void allow_no_system_call(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = HT_ARRAY_SIZE(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        _exit(77); /* a kernel without it */
}

/* How a child ends that walks, twice from the same place, the second time without the kernel. */
static int status_of_child(bool learns)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        bool good = true;
        for (volatile int i = 0; i < 2; i++) { /* volatile: one call site, not two */
            if (i == 1)
                allow_no_system_call();
            good = walk_all_depths(10000) && good;
        }
        if (learns)
            ht_learn_rule((uintptr_t)qsort + 1);
        syscall(SYS_exit_group, good ? 0 : 1); /* _exit() may be a sanitizer's */
    }
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static bool is_without_seccomp(int status)
{
    bool without = WIFEXITED(status) && WEXITSTATUS(status) == 77;
    if (without)
        printf("  no seccomp here\n");
    return without;
}

TEST(warm_walks_make_no_system_call)
{
    int status = status_of_child(false);
    if (is_without_seccomp(status))
        return;
    CHECK_EQ(status, 0);
    status = status_of_child(true); /* learning does, and is not overlooked */
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSYS);
}

/* A thread's stack is found, by system calls, at its first walk; then it needs none either. */
static void *child_of_thread(void *ret_status)
{
    *(int *)ret_status = status_of_child(false);
    return NULL;
}

TEST(warm_walks_of_a_thread_make_no_system_call)
{
    int status = -1;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, child_of_thread, &status), 0);
    pthread_join(thread, NULL);
    if (!is_without_seccomp(status))
        CHECK_EQ(status, 0);
}

static void *walk_in_thread(void *ret_good)
{
    *(bool *)ret_good = walk_all_depths(10000);
    return NULL;
}

/* The lock is held for ever: whoever wanted it would hang, and be killed by the alarm. */
TEST(warm_walks_take_no_lock)
{
    bool good = false;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, walk_in_thread, &good), 0); /* the root's rules */
    pthread_join(thread, NULL);
    uint64_t rules = ht_rules_count();
    good = false;
    alarm(30);
    ht_learn_fork_prepare();
    CHECK_EQ(pthread_create(&thread, NULL, walk_in_thread, &good), 0);
    pthread_join(thread, NULL);
    CHECK(good);
    CHECK_EQ(ht_rules_count(), rules);
    ht_learn_fork_parent();
    alarm(0);
}
