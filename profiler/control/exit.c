#include "control/exit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "control/dump.h"
#include "control/fork.h"
#include "control/sandbox.h"
#include "hooks/next.h"
#include "sys/arch.h"

#include "sys/poison.h"

HT_EXPORT _Noreturn void _exit(int status);
HT_EXPORT _Noreturn void _Exit(int status);

static bool wanted;
static pid_t
    done_by; /* the process whose last profile is written, or being written: a fork's child has its own */
static void (*next__exit)(int), (*next__Exit)(int);

static void write_last(void)
{
    if (!wanted || ht_sandbox_is_closed() || !ht_fork_is_own_process())
        return;
    pid_t self = ht_os_pid();
    if (__atomic_exchange_n(&done_by, self, __ATOMIC_ACQ_REL) != self)
        ht_dump_last();
}

__attribute__((destructor)) static void at_exit(void)
{
    write_last();
}

bool ht_exit_is_wanted(void)
{
    return wanted;
}

void ht_exit_start(bool write_profile)
{
    ht_next_find(&next__exit, "_exit");
    ht_next_find(&next__Exit, "_Exit");
    wanted = write_profile;
    if (wanted)
        at_quick_exit(write_last);
}

_Noreturn static void end(void (*next)(int), int status)
{
    write_last();
    if (next != NULL)
        next(status);
    for (;;)
        ht_arch_syscall(SYS_exit_group, (uintptr_t)status, 0, 0, 0, 0, 0);
}

_Noreturn void _exit(int status)
{
    end(next__exit, status);
}

_Noreturn void _Exit(int status)
{
    end(next__Exit, status);
}
