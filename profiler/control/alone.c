#include "control/alone.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "control/fork.h"
#include "control/sandbox.h"
#include "control/trigger.h"
#include "hooks/next.h"
#include "sample/clock.h"
#include "sys/arch.h"
#include "sys/compiler.h"

#include "sys/poison.h"

HT_EXPORT int unshare(int flags);
HT_EXPORT int setns(int fd, int type);
HT_EXPORT int prctl(int option, ...);
HT_EXPORT int capset(void *header, const void *data);

/* A thread that was joined counts as one of the process's for a moment longer: 100 tries of a
 * millisecond. */
#define TRIES     100
#define TRY_NANOS 1000000

#define ALONE_FLAGS (CLONE_NEWUSER | CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)

static int (*next_unshare)(int);
static int (*next_setns)(int, int);
static int (*next_prctl)(int, unsigned long, unsigned long, unsigned long, unsigned long);
static int (*next_capset)(void *, const void *);

void ht_alone_start(void)
{
    ht_next_find(&next_unshare, "unshare");
    ht_next_find(&next_setns, "setns");
    ht_next_find(&next_prctl, "prctl");
    ht_next_find(&next_capset, "capset");
}

static int result_of(intptr_t r)
{
    if (r >= 0)
        return (int)r;
    errno = (int)-r;
    return -1;
}

static int call_unshare(int flags, int unused)
{
    (void)unused;
    if (next_unshare != NULL)
        return next_unshare(flags);
    return result_of(ht_arch_syscall(SYS_unshare, (uintptr_t)flags, 0, 0, 0, 0, 0));
}

static int call_setns(int fd, int type)
{
    if (next_setns != NULL)
        return next_setns(fd, type);
    return result_of(ht_arch_syscall(SYS_setns, (uintptr_t)fd, (uintptr_t)type, 0, 0, 0, 0));
}

static int call_alone(int (*call)(int, int), int a, int b)
{
    /* The child of a vfork shares our memory, but is a process of one thread. */
    bool aside = ht_fork_is_own_process() && ht_trigger_step_aside();
    int before = errno;
    int r = call(a, b);
    for (int i = 0; aside && r != 0 && errno == EINVAL && i < TRIES; i++) {
        struct timespec pause = {0, TRY_NANOS};
        ht_arch_syscall(SYS_nanosleep, (uintptr_t)&pause, 0, 0, 0, 0, 0);
        errno = before;
        r = call(a, b);
    }
    if (aside)
        ht_trigger_come_back();
    return r;
}

int unshare(int flags)
{
    return (flags & ALONE_FLAGS) != 0 ? call_alone(call_unshare, flags, 0) : call_unshare(flags, 0);
}

int setns(int fd, int type)
{
    return call_alone(call_setns, fd, type);
}

/* ---- capabilities ---- */

/* Capabilities are a thread's own. A program that changes those of its one thread, and then its
 * user, would find the collector without them: the C library sets the user in every thread, and
 * aborts the program when one may and another may not. A collector that is made afterwards has what
 * the thread that makes it has. */
static bool changes_capabilities(int option, unsigned long argument)
{
    return option == PR_SET_KEEPCAPS || option == PR_SET_SECUREBITS || option == PR_CAPBSET_DROP ||
           (option == PR_CAP_AMBIENT && argument != PR_CAP_AMBIENT_IS_SET);
}

int prctl(int option, ...)
{
    va_list arguments;
    va_start(arguments, option);
    unsigned long a = va_arg(arguments, unsigned long), b = va_arg(arguments, unsigned long);
    unsigned long c = va_arg(arguments, unsigned long), d = va_arg(arguments, unsigned long);
    va_end(arguments);
    struct ht_sandbox_entry entry = {0};
    if (option == PR_SET_SECCOMP)
        entry = ht_sandbox_enter(a, b, false);
    bool forbids_clock = option == PR_SET_TSC && a == PR_TSC_SIGSEGV && ht_clock_forbid();
    bool aside =
        changes_capabilities(option, a) && ht_fork_is_own_process() && ht_trigger_step_aside();
    int r = next_prctl != NULL
                ? next_prctl(option, a, b, c, d)
                : result_of(ht_arch_syscall(SYS_prctl, (uintptr_t)option, a, b, c, d, 0));
    ht_sandbox_entered(&entry, r == 0);
    if (forbids_clock && r != 0)
        ht_clock_allow();
    if (aside)
        ht_trigger_come_back();
    return r;
}

int capset(void *header, const void *data)
{
    bool aside = ht_fork_is_own_process() && ht_trigger_step_aside();
    int r = next_capset != NULL ? next_capset(header, data)
                                : result_of(ht_arch_syscall(SYS_capset, (uintptr_t)header,
                                                            (uintptr_t)data, 0, 0, 0, 0));
    if (aside)
        ht_trigger_come_back();
    return r;
}
