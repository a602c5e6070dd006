/* symbolizer_process.h: a process that gives profiles their lines while the program goes on.
 *
 * It is nicer than the program, does one profile after the other, and remembers what it found. It is
 * in a process group of its own: what is typed at the terminal is for the program. */
#ifndef HT_TOOL_SYMBOLIZER_PROCESS_H
#define HT_TOOL_SYMBOLIZER_PROCESS_H

#include <sys/types.h>

#include "watch.h"

/* Starts as {.fd = -1}. */
struct symbolizer_process {
    pid_t pid;
    int fd; /* takes paths, each with its 0; -1: there is no process */
    bool has_failed;
};

/* Has a profile symbolized, soon; starts the process for the first one. */
void symbolizer_process_send(struct symbolizer_process *process, const char *path);

/* Waits until all are done, or ends it when a signal says so: profiles stay as they are then. Says
 * what it waits for, unless it is quiet or soon over. */
void symbolizer_process_finish(struct symbolizer_process *process, struct watch *watch,
                               bool is_quiet);

#endif
