/* ask.h: asking the library in another process, by its signal, for a line in a file of ours.
 *
 * The signal carries a mark, which says what is wanted, and a number, which is in the name of the
 * file: in the /tmp of the process, owned by its user (profiler/control/tell.h). */
#ifndef HT_TOOL_ASK_H
#define HT_TOOL_ASK_H

#include "process.h"
#include "report_file.h"

#define ASK_FOR_PROFILE UINT64_C(0x6874) /* and a line of report_file.h */
#define ASK_FOR_STATUS  UINT64_C(0x6875) /* a line of key=value, tabs between them */

/* Makes the file and sends the signal. What cannot be done is said, too, unless `quiet`. 0 or
 * -errno; after 0 the caller removes the file. */
int ask_send(const struct process *process, int signal, uint64_t mark, bool quiet,
             struct report_file *ret_file);

/* Sends, and waits for one line, without its newline. 0; -ETIMEDOUT; -ESRCH when the process has
 * ended; -ENOBUFS when the line is longer than that; -errno. Signals wait meanwhile, so that the
 * file is always removed. */
int ask_line(const struct process *process, int signal, uint64_t mark, int timeout_ms,
             char *ret_line, size_t size);

#endif
