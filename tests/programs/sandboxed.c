/* sandboxed.c: a program that puts itself under a seccomp filter, and goes on allocating.
 *
 *     sandboxed WAY ACTION ALLOWED
 *
 * WAY: prctl, syscall, tsync (syscall() with SECCOMP_FILTER_FLAG_TSYNC), thread (by prctl, in a
 * thread of its own), child (by prctl, in the child of a fork), refused (the kernel refuses it),
 * again (by prctl, and then once more, which is refused). ACTION, on all that is not allowed:
 * kill, trap, errno. ALLOWED: least, what malloc and write take; probe, rt_sigprocmask and what else
 * sampling takes, too; all but openat: "files". */
#include "truth.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LENGTH_MAX 128

static struct truth truth;
static struct sock_filter filter[LENGTH_MAX];
static unsigned short length;

static const long least[] = {
    SYS_read,        SYS_write,      SYS_exit,   SYS_exit_group,      SYS_brk,     SYS_mmap,
    SYS_futex,       SYS_munmap,     SYS_mremap, SYS_rt_sigreturn,    SYS_wait4,   SYS_madvise,
    SYS_sched_yield, SYS_newfstatat, SYS_rseq,   SYS_set_robust_list, SYS_mprotect};
static const long probe[] = {SYS_rt_sigprocmask, SYS_getpid, SYS_gettid,
                             SYS_getrandom,      SYS_getcwd, SYS_clock_gettime};

static void add(unsigned short code, unsigned char jump_true, unsigned char jump_false, uint32_t k)
{
    filter[length++] = (struct sock_filter){code, jump_true, jump_false, k};
}

static void allow(const long *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)calls[i]);
        add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    }
}

static void write_filter(const char *action, const char *allowed)
{
    uint32_t verdict = strcmp(action, "kill") == 0   ? SECCOMP_RET_KILL_PROCESS
                       : strcmp(action, "trap") == 0 ? SECCOMP_RET_TRAP
                                                     : SECCOMP_RET_ERRNO | EPERM;
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    if (strcmp(allowed, "files") == 0) {
        add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_openat);
        add(BPF_RET | BPF_K, 0, 0, verdict);
        add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
        return;
    }
    allow(least, sizeof(least) / sizeof(*least));
    if (strcmp(allowed, "probe") == 0)
        allow(probe, sizeof(probe) / sizeof(*probe));
    add(BPF_RET | BPF_K, 0, 0, verdict);
}

static void be_refused(const struct sock_fprog *program)
{
    const long no_such_flag = 1L << 30;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, no_such_flag, program) != -1)
        die("not refused");
}

static void install(const char *way)
{
    struct sock_fprog program = {length, filter};
    if (strcmp(way, "refused") == 0) {
        be_refused(&program);
        return;
    }
    long flags = strcmp(way, "tsync") == 0 ? SECCOMP_FILTER_FLAG_TSYNC : 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        die("no_new_privs");
    /* What libseccomp asks first. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) != -1 || errno != EFAULT)
        die("no seccomp");
    long r = strcmp(way, "syscall") == 0 || flags != 0
                 ? syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)
                 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    if (r != 0)
        die("no filter");
    if (strcmp(way, "again") == 0)
        be_refused(&program);
}

NOINLINE static void site(size_t size)
{
    static void *held[64];
    static unsigned next;
    void *block = malloc(size);
    STAY();
    keep(block);
    free(held[next % 64]);
    held[next++ % 64] = block;
    truth.alloc_objects++;
    truth.alloc_bytes += size;
}

static void work(void)
{
    for (size_t i = 0; i < 20000; i++)
        site(16 + i % 3000);
    site(1 << 20);
    site(300 << 10);
}

static void *work_alone(void *way)
{
    install(way);
    work();
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: sandboxed WAY ACTION ALLOWED");
    write_filter(argv[2], argv[3]);
    work();
    say("before\n");
    if (strcmp(argv[1], "thread") == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work_alone, argv[1]) != 0 ||
            pthread_join(thread, NULL) != 0)
            die("no thread");
    } else if (strcmp(argv[1], "child") == 0) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            work_alone(argv[1]);
            exit(3);
        }
        if (waitpid(child, &status, 0) != child)
            die("no child");
        say("child %x\n", (unsigned)status);
    } else {
        work_alone(argv[1]);
    }
    work();
    say("after %llu\n", (unsigned long long)truth.alloc_objects);
    return 4;
}
