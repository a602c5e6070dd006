/* ask.h: asking the library in another process for a line in a file of ours.
 *
 * profiler/control/request.h says how, and what can be asked for. */
#ifndef HT_TOOL_ASK_H
#define HT_TOOL_ASK_H

#include "process.h"
#include "report_file.h"

/* Makes the file and sends the signal. What cannot be done is said, too, unless `quiet`. 0 or
 * -errno; after 0 the caller removes the file. */
int ask_send(const struct process *process, uint64_t mark, const char *question, bool quiet,
             struct report_file *ret_file);

/* Sends, and waits for one line, without its newline. `question` is a line that the file has from
 * the start, or NULL. 0; -ETIMEDOUT; -ESRCH when the process has
 * ended; -ENOBUFS when the line is longer than that; -errno. Signals wait meanwhile, so that the
 * file is always removed. */
int ask_line(const struct process *process, uint64_t mark, const char *question, int timeout_ms,
             char *ret_line, size_t size);

#endif
