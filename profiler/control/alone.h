/* alone.h: calls that mean something else when there is a second thread: the kernel allows some
 * only to a process of one, and capabilities are a thread's own.
 *
 * unshare(CLONE_NEWUSER) and setns() to a user or mount namespace fail while the collector is
 * there: it steps aside, and the program's next allocation makes it again. A program that makes the
 * system call itself, past the C library, meets the collector. It steps aside also when the program
 * changes its capabilities. */
#ifndef HT_CONTROL_ALONE_H
#define HT_CONTROL_ALONE_H

/* Context: start; calls the loader. */
void ht_alone_start(void);

#endif
