/* process.h: what /proc tells of a process that a profile is asked of. */
#ifndef HT_TOOL_PROCESS_H
#define HT_TOOL_PROCESS_H

#include <limits.h>
#include <sys/types.h>

#include "sys/compiler.h"

/* The collector thread of heaptap bears the trigger in its name: "heaptap-sigN" or
 * "heaptap-none". */
enum process_trigger {
    PROCESS_WITHOUT_HEAPTAP,
    PROCESS_HAS_NO_SIGNAL,
    PROCESS_HAS_SIGNAL,
};

struct process {
    pid_t pid; /* set by the caller; the others by process_open() */
    int fd; /* a pidfd: readable when the process has ended; a signal sent by it reaches no other one */
    uid_t uid; /* effective */
    gid_t gid;
    char name[64];
    uint64_t caught, ignored; /* signals; bit 0 is signal 1 */
    enum process_trigger trigger;
    bool has_collector; /* false: the library is there, but not its thread */
    int signal;
    /* What to put before a path to have it mean what it means to the process: "" or
     * "/proc/PID/root". */
    char root[32];
};

/* Waits half a second for the collector of a program that has just begun. Says what is wrong and
 * gives -ESRCH, -EPERM when it is not ours to signal, -errno; else 0. */
int process_open(struct process *process);
/* A file of /proc/PID: at most `size` - 1 bytes of it, and a NUL. Its length, or -errno. */
ssize_t process_read(const struct process *process, const char *name, char *ret_text, size_t size);
/* What follows "name:" in the status file; "" when it is not there. */
const char *process_field(const char *status, const char *name);
/* 0 or -errno. */
int process_send(const struct process *process, int signal, uint64_t value);
/* Whether no thread but heaptap's own, which blocks everything, would take the signal now. */
bool process_blocks_everywhere(const struct process *process, int signal);

#endif
