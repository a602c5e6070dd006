#include "control/sandbox.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "control/exit.h"
#include "control/filter.h"
#include "control/fork.h"
#include "control/request.h"
#include "control/trigger.h"
#include "hooks/next.h"
#include "sample/record.h"
#include "sample/sampler.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

HT_EXPORT long ht_sandbox_syscall(long number, long a, long b, long c, long d, long e,
                                  long f) __asm__("syscall");

/* What is forbidden. */
enum { SAMPLING = 1, WRITING = 2 };

struct call {
    unsigned for_what;
    long number;
    const char *name;
    uint64_t arguments[6];
};

#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)
#define CREATE    (O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC)

/* The system calls that we make, with those of their arguments that filters look at. */
static const struct call calls[] = {
    {SAMPLING, SYS_rt_sigprocmask, "rt_sigprocmask", {(uint64_t)-1, 0, 0, 8}},
    {SAMPLING, SYS_mmap, "mmap", {0, HT_PAGE, PROT_READ | PROT_WRITE, ANONYMOUS, ~0ULL}},
    {SAMPLING, SYS_munmap, "munmap", {0}},
    {SAMPLING, SYS_futex, "futex", {0}},
    {SAMPLING, SYS_gettid, "gettid", {0}},
    {SAMPLING, SYS_getpid, "getpid", {0}},
    {SAMPLING, SYS_getrandom, "getrandom", {0, 8}},
    {SAMPLING, SYS_sched_yield, "sched_yield", {0}},
    {SAMPLING, SYS_clock_gettime, "clock_gettime", {CLOCK_MONOTONIC}},
    {SAMPLING, SYS_clock_gettime, "clock_gettime", {CLOCK_PROCESS_CPUTIME_ID}},
    {SAMPLING, SYS_getcwd, "getcwd", {0}},
    {SAMPLING, SYS_madvise, "madvise", {0, HT_PAGE, MADV_DONTNEED}},
    {WRITING, SYS_clock_gettime, "clock_gettime", {CLOCK_THREAD_CPUTIME_ID}},
    {WRITING, SYS_openat, "openat", {(uint64_t)AT_FDCWD, 0, O_WRONLY | O_CLOEXEC | O_TMPFILE}},
    {WRITING, SYS_openat, "openat", {(uint64_t)AT_FDCWD, 0, CREATE}},
    {WRITING, SYS_openat, "openat", {(uint64_t)AT_FDCWD, 0, O_RDONLY | O_NONBLOCK | O_CLOEXEC}},
    {WRITING, SYS_linkat, "linkat", {(uint64_t)AT_FDCWD, 0, (uint64_t)AT_FDCWD}},
    {WRITING, SYS_read, "read", {3}},
    {WRITING, SYS_write, "write", {3}},
    {WRITING, SYS_pread64, "pread64", {3}},
    {WRITING, SYS_close, "close", {3}},
    {WRITING, SYS_newfstatat, "newfstatat", {(uint64_t)AT_FDCWD}},
    {WRITING, SYS_newfstatat, "newfstatat", {3}},
    {WRITING, SYS_geteuid, "geteuid", {0}},
    {WRITING, SYS_fcntl, "fcntl", {3, F_GETFL}},
    {WRITING, SYS_unlink, "unlink", {0}},
    {WRITING, SYS_renameat2, "renameat2", {(uint64_t)AT_FDCWD, 0, (uint64_t)AT_FDCWD}},
    {WRITING, SYS_rename, "rename", {0}},
    {WRITING, SYS_link, "link", {0}},
    {WRITING, SYS_readlink, "readlink", {0}},
    {WRITING, SYS_uname, "uname", {0}},
    {WRITING, SYS_rt_sigpending, "rt_sigpending", {0}},
    {WRITING, SYS_rt_sigtimedwait, "rt_sigtimedwait", {0}},
    {WRITING, SYS_pidfd_open, "pidfd_open", {0}},
    {WRITING, SYS_pidfd_getfd, "pidfd_getfd", {0}},
    /* A collector's. */
    {WRITING, SYS_clone3, "clone3", {0}},
    {WRITING, SYS_tgkill, "tgkill", {0, 0, HT_REQUEST_SIGNAL}},
    {WRITING, SYS_tgkill, "tgkill", {0, 0, 0}},
    {WRITING, SYS_prctl, "prctl", {PR_SET_NAME}},
    {WRITING, SYS_close_range, "close_range", {0}},
    {WRITING, SYS_mprotect, "mprotect", {0, HT_PAGE, PROT_READ | PROT_WRITE}},
    {WRITING, SYS_set_robust_list, "set_robust_list", {0}},
};

static unsigned forbidden;
static const char *reason;

static long first_syscall(long number, long a, long b, long c, long d, long e, long f);
static long (*next_syscall)(long, long, long, long, long, long, long) = first_syscall;

/* Which of ours it forbids, and the name of the first one. A filter that cannot be read is no
 * filter for the kernel either. */
static unsigned judge(unsigned long mode, const struct sock_fprog *filter, const char **ret_name)
{
    unsigned found = 0;
    *ret_name = "openat";
    if (mode == SECCOMP_MODE_STRICT)
        return SAMPLING | WRITING;
    if (mode != SECCOMP_MODE_FILTER || !ht_os_readable_all((uintptr_t)filter, sizeof(*filter)) ||
        !ht_os_readable_all((uintptr_t)filter->filter, filter->len * sizeof(*filter->filter)))
        return 0;
    for (unsigned i = 0; i < HT_ARRAY_SIZE(calls); i++) {
        const struct call *call = &calls[i];
        if (ht_filter_lets(filter->filter, filter->len, call->number, call->arguments))
            continue;
        if (found == 0)
            *ret_name = call->name;
        found |= call->for_what | WRITING;
    }
    return found;
}

static void set_sampling(unsigned what, uint64_t interval)
{
    if ((what & SAMPLING) != 0 && ht_sampler_set_interval(interval) == 0)
        ht_record_redraw();
}

/* While it can still be said. */
static void say(unsigned found, const char *name)
{
    const char *what = (found & SAMPLING) != 0 ? "nothing more is sampled, and no profile written"
                                               : "no profile is written at the exit";
    if (ht_exit_is_wanted())
        ht_message_warn("a seccomp filter of the program ends it for %s: %s", name, what);
    else
        ht_message_tell("a seccomp filter of the program ends it for %s: %s", name, what);
}

struct ht_sandbox_entry ht_sandbox_enter(unsigned long mode, unsigned long filter,
                                         bool for_all_threads)
{
    struct ht_sandbox_entry entry = {0};
    const char *name;
    if (!ht_fork_is_own_process()) /* the child of a vfork */
        return entry;
    unsigned found = judge(mode, (const struct sock_fprog *)filter, &name);
    if (found == 0)
        return entry;
    /* The collector would be ended for its next system call. Without this, it goes on: a filter is
     * that of the thread that installs it, and of those it makes. */
    entry.stepped_aside = for_all_threads && ht_trigger_step_aside();
    entry.interval = ht_sampler_interval();
    entry.added = found & ~__atomic_fetch_or(&forbidden, found, __ATOMIC_SEQ_CST);
    if (entry.added == 0)
        return entry;
    __atomic_store_n(&reason, name, __ATOMIC_RELAXED);
    set_sampling(entry.added, 0);
    say(entry.added, name);
    return entry;
}

void ht_sandbox_entered(const struct ht_sandbox_entry *entry, bool done)
{
    if (done)
        return;
    __atomic_fetch_and(&forbidden, ~entry->added, __ATOMIC_SEQ_CST);
    set_sampling(entry->added, entry->interval);
    if (entry->stepped_aside)
        ht_trigger_come_back();
}

bool ht_sandbox_is_closed(void)
{
    return __atomic_load_n(&forbidden, __ATOMIC_RELAXED) != 0;
}

const char *ht_sandbox_reason(void)
{
    return ht_sandbox_is_closed() ? __atomic_load_n(&reason, __ATOMIC_RELAXED) : NULL;
}

/* ---- syscall() ---- */

void ht_sandbox_start(void)
{
    ht_next_find(&next_syscall, "syscall");
    HT_ASSERT(next_syscall != first_syscall);
}

static long first_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    ht_sandbox_start();
    return next_syscall(number, a, b, c, d, e, f);
}

__attribute__((noinline)) static long install(long operation, long flags, long filter)
{
    bool for_all = (flags & (SECCOMP_FILTER_FLAG_TSYNC)) != 0;
    struct ht_sandbox_entry entry = {0};
    if (operation == SECCOMP_SET_MODE_FILTER)
        entry = ht_sandbox_enter(SECCOMP_MODE_FILTER, (unsigned long)filter, for_all);
    else if (operation == SECCOMP_SET_MODE_STRICT)
        entry = ht_sandbox_enter(SECCOMP_MODE_STRICT, 0, false);
    long r = next_syscall(SYS_seccomp, operation, flags, filter, 0, 0, 0);
    /* With TSYNC, a thread that cannot follow is a result above 0; with NEW_LISTENER, a
     * descriptor is. */
    ht_sandbox_entered(&entry, r == 0 || (r > 0 && !for_all));
    return r;
}

/* syscall(): libseccomp's way to install a filter. Whatever else comes here goes on with one jump,
 * its arguments where they are: the C library too takes all six, given or not. */
long ht_sandbox_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    return number == SYS_seccomp ? install(a, b, c) : next_syscall(number, a, b, c, d, e, f);
}
