/* unwind_learn.h: libunwind, as a teacher.
 *
 * Its generic library unwinds any process through accessors: we give it registers and memory that
 * are symbols. It is asked for one step from a pc whose registers hold sentinels ("rsp + 0"), and
 * the CFA, the slot of the return address and the slot of rbp come back as sentinels too ("rsp +
 * 48"), which name base and offset exactly. No real stack is needed, so nothing on it can mislead.
 * (perf, in the kernel's tools, uses the same interface.)
 *
 * All of it is done under one lock of ours, which is held across fork, with signals blocked, on a
 * stack of our own: the library needs 3.5 KiB. */
#ifndef HT_SAMPLE_UNWIND_LEARN_H
#define HT_SAMPLE_UNWIND_LEARN_H

#include "sample/unwind_rules.h"
#include "sys/arch.h"

/* False, with a reason for the user, when the library cannot be had. Context: once, at start. */
bool ht_learn_start(const char **ret_reason);
bool ht_learn_is_ready(void);

/* The rule of a lookup address, learnt and remembered. Context: sample. Takes the learn lock. */
struct ht_rule ht_learn_rule(uintptr_t pc);

/* The second tier: the whole stack by libunwind with the real registers, for frames that no rule
 * expresses (OpenSSL's assembler, _dl_runtime_resolve). `from` is a frame of a function that is
 * still active; frames below it are left out. Writes like ht_unwind_walk(). Context: sample. Takes
 * the learn lock. */
unsigned ht_learn_walk(const struct ht_frame *from, uintptr_t *pcs, unsigned depth_max);

/* Around dlclose (hooks/loader.c): rules of what is unloaded are forgotten. */
void ht_learn_unload_begin(void);
void ht_learn_unload_end(void);

/* Around a fork, in rank order (control/fork.c). */
void ht_learn_fork_prepare(void);
void ht_learn_fork_parent(void);
void ht_learn_fork_child(void);

#endif
