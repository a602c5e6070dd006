/* os.h: the system calls we make, made directly.
 *
 * None touches errno, none is a cancellation point, none allocates: all may be called in a hook,
 * and all but ht_os_call_on_stack() in a signal handler. Results are those of the kernel: >= 0, or
 * -errno. */
#ifndef HT_SYS_OS_H
#define HT_SYS_OS_H

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "sys/compiler.h"

#define HT_PAGE 4096u

/* The longest path we write to or read from, with its NUL. */
#define HT_PATH_MAX 4096u

/* Anonymous memory, private and zeroed; NULL when there is none. `size` is a multiple of
 * HT_PAGE. */
void *ht_os_map(size_t size);
void ht_os_unmap(void *address, size_t size);
/* Gives the pages back but keeps the range mapped; it reads as zero afterwards. False when the
 * kernel refuses and nothing was done: the program has locked its memory (mlockall). */
bool ht_os_discard(void *address, size_t size);
/* Keeps the kernel from backing a sparse range with huge pages. */
void ht_os_no_huge_pages(void *address, size_t size);
/* From now on the kernel locks what is mapped (mlockall): ours is unlocked again, at once. */
void ht_os_maps_are_locked(void);
/* mlock2, munlock, mlockall. 0 or -errno. */
int ht_os_lock(uintptr_t address, size_t size, unsigned flags);
void ht_os_unlock(uintptr_t address, size_t size);
void ht_os_unlock_all(void);
int ht_os_lock_all(int flags);

int ht_os_open_read(const char *path);
/* Creates a file that must not be there yet, O_CLOEXEC. */
int ht_os_create(const char *path, unsigned mode);
/* A file that has no name yet, in this directory, and the name for it: -EEXIST when that is there
 * already. If the process dies in between, nothing is left. Not every file system has such files,
 * and naming needs /proc. */
int ht_os_create_unnamed(const char *directory, unsigned mode);
int ht_os_name(int fd, const char *path);
/* Opens an existing file for one appended line, never following a link and never waiting (FIFO). */
int ht_os_open_append(const char *path);
void ht_os_close(int fd);
ssize_t ht_os_read(int fd, void *buffer, size_t size);
/* Up to `size` bytes from `offset`; fewer only at the end of the file. */
ssize_t ht_os_read_at(int fd, void *buffer, size_t size, uint64_t offset);
/* All of it: 0 or -errno. A file size limit gives -EFBIG, a pipe without a reader -EPIPE, and the
 * program gets neither SIGXFSZ nor SIGPIPE. Waits where the descriptor does, with signals
 * blocked. */
int ht_os_write_all(int fd, const void *buffer, size_t size);
int ht_os_unlink(const char *path);
/* -EEXIST when `to` is there already. */
int ht_os_rename_new(const char *from, const char *to);
int ht_os_rename_over(const char *from, const char *to);
/* Whether there is something at `path`, through links, that is no plain file. */
bool ht_os_is_special(const char *path);
/* What tells one file, and one state of it, from others. All zero: there is none. */
struct ht_os_file {
    uint64_t device, inode, size;
    int64_t changed_nanos; /* when it was last written to */
    uint32_t owner;
    bool is_regular;
};
int ht_os_file_of(int fd, struct ht_os_file *ret_file);
int ht_os_file_at(const char *path, struct ht_os_file *ret_file);
ssize_t ht_os_read_link(const char *path, char *buffer, size_t size);
int ht_os_current_directory(char *buffer, size_t size);

/* For a thread with descriptors of its own: a copy of one of the process's main thread. Linux
 * 5.6. */
int ht_os_borrow_descriptor(int fd);

pid_t ht_os_pid(void);
pid_t ht_os_tid(void);
/* The effective user. */
uint32_t ht_os_user(void);
/* Whether this process has such a thread; true if it cannot be told. */
bool ht_os_is_thread(pid_t tid);
bool ht_os_random(void *buffer, size_t size);
/* Nanoseconds since 1970, and of a clock that only goes forward. */
int64_t ht_os_wall_nanos(void);
int64_t ht_os_steady_nanos(void);
/* CPU time of the process, and of the calling thread. */
int64_t ht_os_cpu_nanos(void);
int64_t ht_os_thread_cpu_nanos(void);

/* All but the one by which glibc's setuid() and its kin have each thread make the system call: they
 * wait until the last one has. */
void ht_os_block_signals(uint64_t *ret_old);
void ht_os_restore_signals(const uint64_t *old);

/* Sleeps while *word == expected, at most `timeout_nanos` (< 0: for ever). */
void ht_os_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_nanos);
void ht_os_futex_wake(const uint32_t *word, int count);
void ht_os_yield(void);

/* Whether 8 bytes at `address` can be read, without reading them ourselves: rt_sigprocmask copies
 * its new mask in before it refuses an unknown `how`. About 60 ns; no descriptor, no signal. */
bool ht_os_readable(uintptr_t address);
/* Of all of so many bytes, at least one. */
bool ht_os_readable_all(uintptr_t address, size_t size);

/* Runs function(argument) on another stack, of which `top` is the end. Returns what it returns. */
intptr_t ht_os_call_on_stack(intptr_t (*function)(void *), void *argument, void *top);

#endif
