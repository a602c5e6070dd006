/* locked.h: programs that lock their memory.
 *
 * mlockall() counts all address space of the process against RLIMIT_MEMLOCK, ours too: the page
 * shadow alone is 16 MiB, and would all become resident. So the mappings that are there are locked
 * one by one, without ours, and what we map later is unlocked at once: the limit has to do for the
 * program alone, as without us. */
#ifndef HT_CONTROL_LOCKED_H
#define HT_CONTROL_LOCKED_H

/* Until then mlockall() is the system call. */
void ht_locked_start(void);

#endif
