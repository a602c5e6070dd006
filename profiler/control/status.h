/* status.h: how the profiler does in this process, for `heaptap doctor`.
 *
 * The doctor asks as `heaptap snapshot` does (request.h), but with another
 * mark: it wants no profile. The answer is one line in the file named after the nonce: key=value,
 * with tabs between them; tabs, newlines and backslashes in the values are written \t, \n and \\.
 * The keys are those of status.c; a reader ignores what it does not know. */
#ifndef HT_CONTROL_STATUS_H
#define HT_CONTROL_STATUS_H

#include "control/config.h"

/* Finds out whose malloc the program calls, which may not be ours, and whose we call.
 * `stacks_problem` says why there are none; NULL: there are. Context: start. Keeps pointers to
 * `config` and `stacks_problem`. */
void ht_status_start(const struct ht_config *config, const char *stacks_problem);

/* `signal` is the one that we were to take; 0: none. Context: collector; needs 20 KiB of stack. */
void ht_status_answer(int signal, const uint32_t *nonces, unsigned nonce_count);

#endif
