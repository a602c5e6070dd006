/* sandbox.h: a program that puts itself under a seccomp filter, which may end it for what we do.
 *
 * prctl() and syscall() are hooked: a filter that the program installs is asked what it says to our
 * system calls (filter.h) before it is in force. If it ends the program for those that sampling
 * makes, sampling stops; for those that write a profile, none is written from then on, and no
 * collector is made. A filter that was there when the program started, by a container or a service
 * manager, was made for any program, and is trusted. */
#ifndef HT_CONTROL_SANDBOX_H
#define HT_CONTROL_SANDBOX_H

#include "sys/compiler.h"

void ht_sandbox_start(void);

/* What a filter adds to what is forbidden already, and what to undo if it is refused. */
struct ht_sandbox_entry {
    unsigned added;
    bool stepped_aside;
    uint64_t interval;
};

/* Before the program makes the system call prctl(PR_SET_SECCOMP, mode, filter), and after it. */
struct ht_sandbox_entry ht_sandbox_enter(unsigned long mode, unsigned long filter,
                                         bool for_all_threads);
void ht_sandbox_entered(const struct ht_sandbox_entry *entry, bool done);

/* Whether no profile may be written, and no thread made. Context: any. */
bool ht_sandbox_is_closed(void);
/* The system call for which a filter ends the program; NULL: none is known. */
const char *ht_sandbox_reason(void);

#endif
