/* alone.h: calls that the kernel allows only to a process of one thread.
 *
 * unshare(CLONE_NEWUSER) and setns() to a user or mount namespace fail while the collector is there: it steps aside,
 * and the program's next allocation makes it again. A program that makes the system call itself, past the C library,
 * meets the collector. */
#ifndef HT_CONTROL_ALONE_H
#define HT_CONTROL_ALONE_H

/* Context: start; calls the loader. */
void ht_alone_start(void);

#endif
