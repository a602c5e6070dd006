/* object_process.h: object_read() in a process of its own.
 *
 * What libdw makes of a damaged or hostile file, a crash, an endless loop, all of the memory, costs
 * the names from that file and nothing else. */
#ifndef HT_TOOL_OBJECT_PROCESS_H
#define HT_TOOL_OBJECT_PROCESS_H

#include <sys/stat.h>
#include <sys/types.h>

#include "object.h"

struct object_process {
    pid_t pid;
    int fd; /* what it answers; readable at its end, too */
    struct bytes answer;
    size_t room;
};

/* Starts one. Root reads as the owner of the profile, whose word all of this is. 0 or -errno. */
int object_process_start(const struct debug_search *search, const struct object_request *request,
                         const struct stat *profile, struct object_process *ret_process);

/* Takes what there is to read. True when that was all. */
bool object_process_read(struct object_process *process);

/* Waits for its end. 0 and the answer; -EINTR when a signal for us has ended it, -EIO when it ended
 * badly. */
int object_process_finish(struct object_process *process, struct edit *ret_answer);

/* Ends it. */
void object_process_kill(struct object_process *process);

#endif
