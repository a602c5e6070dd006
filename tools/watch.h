/* watch.h: waiting for the program that we started, in its place as far as anybody else can tell.
 *
 * Signals sent to us by a process go to the program. Those from the terminal reach it without us,
 * as it is in our process group. When the terminal stops it we stop too, so that the shell sees a
 * stopped job; when we are continued, so is it. No disposition changes: the program inherits what
 * we were given.
 *
 * The signal that asks for a profile would end a program in which heaptap has not taken it yet: in
 * the first second it waits until the program handles or ignores it. */
#ifndef HT_TOOL_WATCH_H
#define HT_TOOL_WATCH_H

#include <signal.h>
#include <sys/types.h>

#include "sys/compiler.h"

struct watch {
    int signals;        /* signalfd */
    int changes;        /* inotify; -1: look every 100 ms */
    int profile_signal; /* 0: none */
    int64_t started;    /* by the steady clock */
    sigset_t old_mask;
    struct sigaction old_child;
};

/* `path` is a file whose growth ends a wait, or NULL. 0 or -errno. Before the fork. */
int watch_start(struct watch *watch, const char *path, int profile_signal);
/* True when the program has ended; false when there may be something new in the file. */
bool watch_wait(struct watch *watch, pid_t program, int *ret_status);
/* Waits for another process of ours when the program has ended: 0 when it has, too; -EINTR when a
 * signal says before that it should; -ETIMEDOUT after so many milliseconds, if they are not -1. */
int watch_wait_other(struct watch *watch, pid_t pid, int timeout_ms);
/* Back to what was; in the child before exec, in the parent at the end. */
void watch_undo(struct watch *watch);

#endif
