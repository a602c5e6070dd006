/* loaded.h: the modules that are loaded, as dl_iterate_phdr() tells them.
 *
 * dl_iterate_phdr() takes a lock of the loader that fork() does not reset: if any thread has it at
 * that moment, the child's dlopen, and our own profiles there, wait for ever. So a fork waits until
 * none of our threads has it. What the program's threads do is not ours to wait for: in the child
 * of a fork the modules are found without the lock, by the kernel's list and the loader's lock-free
 * index. What a thread of the child unloads within the microsecond in which its headers are read is
 * the risk that remains. */
#ifndef HT_REPORT_LOADED_H
#define HT_REPORT_LOADED_H

#include <link.h>

#include "sys/compiler.h"

/* Calls `take` for each module, the main program first; names are valid only meanwhile. `take` runs
 * under the loader's lock: it copies, and nothing else. 0 or -errno. Context: dump. */
int ht_loaded_each(void (*take)(const struct dl_phdr_info *info, void *context), void *context);

/* Around a fork (control/fork.c). */
void ht_loaded_fork_prepare(void);
void ht_loaded_fork_parent(void);
void ht_loaded_fork_child(void);

#endif
