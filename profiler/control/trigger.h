/* trigger.h: when a profile is written: a signal, or the clock.
 *
 * A signal handler only bumps a counter and wakes the collector, the one thread of ours, which
 * writes profiles at its own pace: signals that come meanwhile are answered by one more profile,
 * not by one each. The collector blocks every signal but the C library's own for setuid(), has a
 * descriptor table of its own (so that no open() of the program ever gets another number than
 * without us), and exists only when something can trigger it. */
#ifndef HT_CONTROL_TRIGGER_H
#define HT_CONTROL_TRIGGER_H

#include "control/config.h"

/* Takes the signal, if the program's parent left it at its default, and makes the collector.
 * Context: start. Keeps a pointer to `config`. */
void ht_trigger_start(const struct ht_config *config);

/* Makes the collector if there should be one and is none: after a fork. Context:
 * ht_record_attend(). */
void ht_trigger_attend(void);

/* Ends the collector, after the profile it is writing, so that the program has only its own
 * threads. False when there is none. Then ht_trigger_come_back() lets the next allocation make
 * another. Context: hooks of unshare and setns. */
bool ht_trigger_step_aside(void);
void ht_trigger_come_back(void);

void ht_trigger_fork_child(void);

#endif
