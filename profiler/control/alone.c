#include "control/alone.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "control/fork.h"
#include "control/trigger.h"
#include "sys/arch.h"
#include "sys/compiler.h"

#include "sys/poison.h"

HT_EXPORT int unshare(int flags);
HT_EXPORT int setns(int fd, int type);

/* A thread that was joined counts as one of the process's for a moment longer: 100 tries of a millisecond. */
#define TRIES     100
#define TRY_NANOS 1000000

#define ALONE_FLAGS (CLONE_NEWUSER | CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)

static int (*next_unshare)(int);
static int (*next_setns)(int, int);

static void find(void *to, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol != NULL)
        memcpy(to, &symbol, sizeof(symbol));
}

void ht_alone_start(void)
{
    find(&next_unshare, "unshare");
    find(&next_setns, "setns");
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
