/* process.h: what /proc tells of a process that a profile is asked of. */
#ifndef HT_TOOL_PROCESS_H
#define HT_TOOL_PROCESS_H

#include <limits.h>
#include <sys/types.h>

#include "sys/compiler.h"

struct process {
    pid_t pid; /* set by the caller; the others by process_open() */
    int fd; /* a pidfd: readable when the process has ended; a signal sent by it reaches no other one */
    uid_t uid; /* effective */
    gid_t gid;
    char name[64];
    uint64_t caught, ignored; /* signals; bit 0 is signal 1 */
    bool has_heaptap;
    /* Its collector thread, which bears the signal that it serves in its name: "heaptap-sigN" or
     * "heaptap-none". 0: there is none, and nobody who could be asked. */
    pid_t collector;
    int signal; /* 0: none */
    /* What to put before a path to have it mean what it means to the process: "" or
     * "/proc/PID/root". */
    char root[32];
};

/* 0; -ESRCH; -EPERM when it is not ours to signal; -errno. */
int process_open(struct process *process);
/* A file of /proc/PID: at most `size` - 1 bytes of it, and a NUL. Its length, or -errno. */
ssize_t process_read(const struct process *process, const char *name, char *ret_text, size_t size);
/* What follows "name:" in the status file; "" when it is not there. */
const char *process_field(const char *status, const char *name);
/* process_open(), and says what is wrong. A program that has just begun is given a moment to make
 * its collector. 0 or an exit status. */
int process_open_patiently(struct process *process);
/* Sends a value to the collector, and to no other thread. 0 or -errno. */
int process_send(const struct process *process, uint64_t value);
/* Whether no thread but heaptap's own, which blocks everything, would take the signal now. */
bool process_blocks_everywhere(const struct process *process, int signal);

#endif
