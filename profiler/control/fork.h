/* fork.h: what the profiler does around fork(), in one place and in the order of ranks.
 *
 * The forking thread holds all our locks while the process is copied, so that the child's tables
 * are whole. The child keeps the inherited heap, writes files of its own, and makes its own
 * collector at its first allocation. Children of vfork and clone(CLONE_VM) share our memory:
 * nothing is done for them. */
#ifndef HT_CONTROL_FORK_H
#define HT_CONTROL_FORK_H

#include "sys/compiler.h"

/* Context: start. */
void ht_fork_start(void);

/* True in the process that started the profiler, or in a child that fork() made; false in a child
 * of vfork or of a bare clone system call, where nothing may be written. */
bool ht_fork_is_own_process(void);

#endif
