/* trigger.h: when a profile is written: a signal, or the clock.
 *
 * The collector, the one thread of ours, writes profiles at its own pace: requests that come
 * meanwhile are answered by one more profile, not by one each. It waits for a signal of its own
 * that is sent to it alone (request.h): by the handler of the signal that we serve
 * (signals.h), and by the tools, who disturb no thread of the program that way and need no signal
 * of its. It blocks every signal but the C library's for setuid(), has a descriptor table of its
 * own (so that no open() of the program ever gets another number than without us), and exists only
 * when something can trigger it. */
#ifndef HT_CONTROL_TRIGGER_H
#define HT_CONTROL_TRIGGER_H

#include "control/config.h"

/* Takes the signal and makes the collector, unless HEAPTAP_SIGNAL is none and there is no clock to
 * keep. Context: start. Keeps a pointer to `config`. */
void ht_trigger_start(const struct ht_config *config);

/* Makes the collector if there should be one and is none: after a fork. Context:
 * ht_record_attend(). */
void ht_trigger_attend(void);

/* Has a profile written soon. Context: any, signal handlers too. */
void ht_trigger_ask(void);

/* Ends the collector, after the profile it is writing, so that the program has only its own
 * threads. False when there is none, or it cannot be told. Then ht_trigger_come_back() lets the
 * next allocation make another. Context: hooks of unshare and setns. */
bool ht_trigger_step_aside(void);
void ht_trigger_come_back(void);

void ht_trigger_fork_child(void);

#endif
