#include "control/signals.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "control/fork.h"
#include "control/sandbox.h"
#include "control/trigger.h"
#include "hooks/next.h"
#include "sys/arch.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

#define OUR_FLAGS  (SA_SIGINFO | SA_RESTART | SA_ONSTACK)
#define BSD_FLAGS  SA_RESTART
#define SYSV_FLAGS ((int)SA_RESETHAND | SA_NODEFER)

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);
typedef void (*handler_function)(int);
typedef handler_function (*signal_function)(int, handler_function);

HT_EXPORT handler_function bsd_signal(int signal, handler_function handler);
HT_EXPORT handler_function ssignal(int signal, handler_function handler);
HT_EXPORT handler_function sysv_signal(int signal, handler_function handler);
HT_EXPORT handler_function __sysv_signal(int signal, handler_function handler);
HT_EXPORT handler_function signal(int signal, handler_function handler);
HT_EXPORT int sigaction(int signal, const struct sigaction *action, struct sigaction *ret_old);

static int served; /* 0: none */
/* What the program gave with the default that it sees: nothing depends on it, but it can be
 * asked. */
static bool default_was_put;
static int default_flags;
static uint64_t default_mask;
/* The program had a handler of its own, and has put the default since. */
static bool was_put_back;

static sigaction_function next_sigaction;
static signal_function next_signals[5];

static int call_sigaction(int number, const struct sigaction *action, struct sigaction *ret_old)
{
    if (next_sigaction == NULL)
        ht_next_find(&next_sigaction, "sigaction");
    return next_sigaction(number, action, ret_old);
}

/* ---- our handler ---- */

static bool is_fatal(int number)
{
    return number != SIGCHLD && number != SIGCONT && number != SIGURG && number != SIGWINCH;
}

/* A program that puts the default back in its handler, and then sends itself the signal, means to
 * die of it, for its parent to see. Nothing here touches errno: the system calls are made
 * directly. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (__atomic_load_n(&was_put_back, __ATOMIC_RELAXED) && info->si_code <= 0 &&
        info->si_pid == ht_os_pid() && is_fatal(number)) {
        struct sigaction fallback = {.sa_handler = SIG_DFL};
        call_sigaction(number, &fallback, NULL);
        ht_arch_syscall(SYS_tgkill, (uintptr_t)info->si_pid, (uintptr_t)ht_os_tid(),
                        (uintptr_t)number, 0, 0, 0);
        return; /* it is delivered now */
    }
    ht_trigger_ask();
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_signal;
}

static bool is_default(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == SIG_DFL;
}

static void fill_ours(struct sigaction *ret_action)
{
    *ret_action = (struct sigaction){.sa_sigaction = on_signal, .sa_flags = OUR_FLAGS};
}

/* ---- the program's view ---- */

/* sigaction() for the signal that we serve. */
static int exchange(int number, const struct sigaction *action, struct sigaction *ret_old)
{
    struct sigaction ours, seen, wanted = {0};
    bool puts_default = action != NULL && is_default(action);
    if (action != NULL)
        wanted = *action;
    if (puts_default)
        fill_ours(&ours);
    int r = call_sigaction(number, puts_default ? &ours : action, &seen);
    if (r != 0)
        return r;
    bool had_default = is_ours(&seen);
    if (had_default) {
        /* The C library adds a flag of its own to each that it sets. */
        int added = default_was_put ? seen.sa_flags & ~OUR_FLAGS : 0;
        seen = (struct sigaction){.sa_handler = SIG_DFL, .sa_flags = default_flags | added};
        memcpy(&seen.sa_mask, &default_mask, sizeof(default_mask));
    }
    if (puts_default) {
        default_was_put = true;
        default_flags = wanted.sa_flags;
        memcpy(&default_mask, &wanted.sa_mask, sizeof(default_mask));
        if (!had_default)
            __atomic_store_n(&was_put_back, true, __ATOMIC_RELAXED);
    }
    if (ret_old != NULL)
        *ret_old = seen;
    return 0;
}

/* The child of a vfork has handlers of its own, but shares our memory: it is left alone. */
static bool is_for_us(int number)
{
    return number == __atomic_load_n(&served, __ATOMIC_RELAXED) && number != 0 &&
           (ht_sandbox_is_closed() || ht_fork_is_own_process());
}

int sigaction(int number, const struct sigaction *action, struct sigaction *ret_old)
{
    return is_for_us(number) ? exchange(number, action, ret_old)
                             : call_sigaction(number, action, ret_old);
}

/* `flags` are those that the function gives to sigaction(). */
static handler_function call_signal(unsigned which, const char *name, int flags, int number,
                                    handler_function handler)
{
    if (next_signals[which] == NULL)
        ht_next_find(&next_signals[which], name);
    if (!is_for_us(number))
        return next_signals[which](number, handler);
    if (handler == SIG_DFL) {
        struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = flags}, old;
        if (flags == BSD_FLAGS)
            sigaddset(&action.sa_mask, number);
        return exchange(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
    }
    struct sigaction ours;
    fill_ours(&ours);
    handler_function old = next_signals[which](number, handler);
    return old == ours.sa_handler ? SIG_DFL : old;
}

handler_function signal(int number, handler_function handler)
{
    return call_signal(0, "signal", BSD_FLAGS, number, handler);
}

handler_function bsd_signal(int number, handler_function handler)
{
    return call_signal(1, "bsd_signal", BSD_FLAGS, number, handler);
}

handler_function ssignal(int number, handler_function handler)
{
    return call_signal(2, "ssignal", BSD_FLAGS, number, handler);
}

handler_function sysv_signal(int number, handler_function handler)
{
    return call_signal(3, "sysv_signal", SYSV_FLAGS, number, handler);
}

handler_function __sysv_signal(int number, handler_function handler)
{
    return call_signal(4, "__sysv_signal", SYSV_FLAGS, number, handler);
}

/* ---- start ---- */

void ht_signals_start(int number)
{
    struct sigaction ours;
    const char *owner = ht_signals_owner(number);
    if (number == 0)
        return;
    fill_ours(&ours);
    if (strcmp(owner, "default") != 0)
        ht_message_tell("signal %d is %s by the program: it does not write profiles; heaptap "
                        "snapshot and HEAPTAP_EVERY do, or another HEAPTAP_SIGNAL",
                        number, owner);
    else if (call_sigaction(number, &ours, NULL) == 0)
        __atomic_store_n(&served, number, __ATOMIC_RELAXED);
}

int ht_signals_served(void)
{
    return __atomic_load_n(&served, __ATOMIC_RELAXED);
}

const char *ht_signals_owner(int number)
{
    struct sigaction now;
    if (number == 0 || call_sigaction(number, NULL, &now) != 0)
        return "none";
    return is_ours(&now)                                                   ? "heaptap"
           : is_default(&now)                                              ? "default"
           : (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_IGN ? "ignored"
                                                                           : "handled";
}
