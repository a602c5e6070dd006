#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

#define LOOK_EVERY_MS 100
#define START_NANOS   INT64_C(1000000000)

static int64_t steady_nanos(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int watch_start(struct watch *watch, const char *path, int profile_signal)
{
    watch->profile_signal = profile_signal;
    watch->started = steady_nanos();
    /* A parent that ignores SIGCHLD makes the kernel reap our child before we can ask for its
     * status. */
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigset_t all;
    sigfillset(&all);
    for (const int *fault =
             (const int[]){SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS, 0};
         *fault; fault++)
        sigdelset(&all, *fault);
    watch->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (watch->signals < 0)
        return -errno;
    sigaction(SIGCHLD, &fallback, &watch->old_child);
    sigprocmask(SIG_SETMASK, &all, &watch->old_mask);

    watch->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->changes >= 0 && path && inotify_add_watch(watch->changes, path, IN_MODIFY) < 0) {
        close(watch->changes);
        watch->changes = -1;
    }
    return 0;
}

void watch_undo(struct watch *watch)
{
    close(watch->signals);
    if (watch->changes >= 0)
        close(watch->changes);
    sigaction(SIGCHLD, &watch->old_child, NULL);
    sigprocmask(SIG_SETMASK, &watch->old_mask, NULL);
}

static bool takes_signal(pid_t program, int signal)
{
    struct process process = {.pid = program};
    if (process_open(&process) < 0)
        return true; /* nothing to wait for */
    struct pollfd end = {.fd = process.fd, .events = POLLIN};
    bool has_ended = poll(&end, 1, 0) > 0;
    close(process.fd);
    return has_ended || (process.caught | process.ignored) >> (signal - 1) & 1;
}

static void wait_for_start(const struct watch *watch, pid_t program)
{
    while (steady_nanos() - watch->started < START_NANOS &&
           !takes_signal(program, watch->profile_signal))
        usleep(2000);
}

static void forward(const struct watch *watch, pid_t program, const struct signalfd_siginfo *info)
{
    int signal = (int)info->ssi_signo;
    if (signal == watch->profile_signal)
        wait_for_start(watch, program);
    bool is_from_kernel = info->ssi_code > 0;
    bool is_our_own = info->ssi_pid == (uint32_t)getpid();
    if (signal == SIGCONT)
        kill(program, SIGCONT);
    else if (!is_from_kernel && !is_our_own && info->ssi_code == SI_QUEUE)
        sigqueue(program, signal, (union sigval){.sival_ptr = (void *)(uintptr_t)info->ssi_ptr});
    else if (!is_from_kernel && !is_our_own)
        kill(program, signal);
}

/* True when it has ended. */
static bool ask_for_status(pid_t program, int *ret_status)
{
    int status;
    while (waitpid(program, &status, WNOHANG | WUNTRACED) == program) {
        if (!WIFSTOPPED(status)) {
            *ret_status = status;
            return true;
        }
        /* SIGSTOP is somebody's who will continue the program alone; the others come from the
         * terminal. */
        if (WSTOPSIG(status) != SIGSTOP)
            raise(SIGSTOP);
    }
    return false;
}

bool watch_wait(struct watch *watch, pid_t program, int *ret_status)
{
    struct pollfd fds[] = {{.fd = watch->signals, .events = POLLIN},
                           {.fd = watch->changes, .events = POLLIN}};
    poll(fds, HT_ARRAY_SIZE(fds), watch->changes < 0 ? LOOK_EVERY_MS : -1);

    char events[4096];
    while (watch->changes >= 0 && read(watch->changes, events, sizeof(events)) > 0)
        continue;
    struct signalfd_siginfo info;
    bool has_ended = false;
    while (read(watch->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            has_ended = ask_for_status(program, ret_status) || has_ended;
        else if (!has_ended)
            forward(watch, program, &info);
    }
    return has_ended;
}

static bool is_end(uint32_t signal)
{
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
}

int watch_wait_other(struct watch *watch, pid_t pid, int timeout_ms)
{
    struct pollfd fd = {.fd = watch->signals, .events = POLLIN};
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        struct signalfd_siginfo info;
        if (poll(&fd, 1, timeout_ms) == 0)
            return -ETIMEDOUT;
        while (read(watch->signals, &info, sizeof(info)) == sizeof(info))
            if (is_end(info.ssi_signo))
                return -EINTR;
    }
    return 0;
}
