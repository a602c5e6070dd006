#include "sys/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "sys/arch.h"

#include "sys/poison.h"

#define CALL(name, a, b, c, d, e, f)                                                               \
    ht_arch_syscall(SYS_##name, (uintptr_t)(a), (uintptr_t)(b), (uintptr_t)(c), (uintptr_t)(d),    \
                    (uintptr_t)(e), (uintptr_t)(f))

/* What the kernel calls a signal set; glibc's sigset_t is sixteen times as large. */
#define SIGNAL_SET_SIZE 8

static bool maps_are_locked;

/* A mapping that cannot be read is not filled when it is locked. */
void *ht_os_map(size_t size)
{
    bool is_locked = __atomic_load_n(&maps_are_locked, __ATOMIC_RELAXED);
    int rights = is_locked ? PROT_NONE : PROT_READ | PROT_WRITE;
    intptr_t r = CALL(mmap, 0, size, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r < 0 && r > -4096)
        return NULL;
    if (is_locked) {
        CALL(munlock, r, size, 0, 0, 0, 0);
        if (CALL(mprotect, r, size, PROT_READ | PROT_WRITE, 0, 0, 0) < 0) {
            CALL(munmap, r, size, 0, 0, 0, 0);
            return NULL;
        }
    }
    return (void *)r;
}

void ht_os_maps_are_locked(void)
{
    __atomic_store_n(&maps_are_locked, true, __ATOMIC_RELAXED);
}

int ht_os_lock(uintptr_t address, size_t size, unsigned flags)
{
    return (int)CALL(mlock2, address, size, flags, 0, 0, 0);
}

void ht_os_unlock(uintptr_t address, size_t size)
{
    CALL(munlock, address, size, 0, 0, 0, 0);
}

void ht_os_unlock_all(void)
{
    CALL(munlockall, 0, 0, 0, 0, 0, 0);
}

int ht_os_lock_all(int flags)
{
    return (int)CALL(mlockall, flags, 0, 0, 0, 0, 0);
}

void ht_os_unmap(void *address, size_t size)
{
    CALL(munmap, address, size, 0, 0, 0, 0);
}

bool ht_os_discard(void *address, size_t size)
{
    return CALL(madvise, address, size, MADV_DONTNEED, 0, 0, 0) == 0;
}

void ht_os_no_huge_pages(void *address, size_t size)
{
    CALL(madvise, address, size, MADV_NOHUGEPAGE, 0, 0, 0);
}

int ht_os_open_read(const char *path)
{
    return (int)CALL(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
}

int ht_os_create(const char *path, unsigned mode)
{
    return (int)CALL(openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                     mode, 0, 0);
}

int ht_os_create_unnamed(const char *directory, unsigned mode)
{
    return (int)CALL(openat, AT_FDCWD, directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode, 0, 0);
}

int ht_os_name(int fd, const char *path)
{
    /* Of this thread: its descriptors may be its own. */
    char link[64];
    snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", fd);
    return (int)CALL(linkat, AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW, 0);
}

int ht_os_open_append(const char *path)
{
    return (int)CALL(openat, AT_FDCWD, path,
                     O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, 0, 0, 0);
}

void ht_os_close(int fd)
{
    CALL(close, fd, 0, 0, 0, 0, 0);
}

ssize_t ht_os_read(int fd, void *buffer, size_t size)
{
    ssize_t r;
    do
        r = CALL(read, fd, buffer, size, 0, 0, 0);
    while (r == -EINTR);
    return r;
}

ssize_t ht_os_read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t r = CALL(pread64, fd, (char *)buffer + done, size - done, offset + done, 0, 0);
        if (r == -EINTR)
            continue;
        if (r < 0)
            return r;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

/* A write beyond RLIMIT_FSIZE raises SIGXFSZ in the writing thread, one to a pipe that nobody reads
 * SIGPIPE, and by default they kill the program: they are blocked, and the one that we caused is
 * taken back. */
static void take_back_signal(int signal)
{
    uint64_t set = UINT64_C(1) << (signal - 1);
    struct timespec now = {0, 0};
    CALL(rt_sigtimedwait, &set, 0, &now, SIGNAL_SET_SIZE, 0, 0);
}

static bool is_pending(int signal)
{
    uint64_t pending = 0;
    CALL(rt_sigpending, &pending, SIGNAL_SET_SIZE, 0, 0, 0, 0);
    return pending >> (signal - 1) & 1;
}

int ht_os_write_all(int fd, const void *buffer, size_t size)
{
    uint64_t old;
    ht_os_block_signals(&old);
    bool was_pending = is_pending(SIGXFSZ) || is_pending(SIGPIPE);
    int result = 0;
    size_t done = 0;
    while (done < size && result == 0) {
        ssize_t r = CALL(write, fd, (const char *)buffer + done, size - done, 0, 0, 0);
        if (r == -EINTR)
            continue;
        if (r < 0)
            result = (int)r;
        else if (r == 0)
            result = -EIO;
        else
            done += (size_t)r;
    }
    if ((result == -EFBIG || result == -EPIPE) && !was_pending)
        take_back_signal(result == -EFBIG ? SIGXFSZ : SIGPIPE);
    ht_os_restore_signals(&old);
    return result;
}

int ht_os_unlink(const char *path)
{
    return (int)CALL(unlink, path, 0, 0, 0, 0, 0);
}

int ht_os_rename_new(const char *from, const char *to)
{
    int r = (int)CALL(renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE, 0);
    if (r != -EINVAL && r != -ENOSYS)
        return r;
    /* Some file systems cannot rename that way; a hard link refuses an existing name as well. */
    r = (int)CALL(link, from, to, 0, 0, 0, 0);
    if (r == 0)
        ht_os_unlink(from);
    return r;
}

int ht_os_rename_over(const char *from, const char *to)
{
    return (int)CALL(rename, from, to, 0, 0, 0, 0);
}

bool ht_os_is_special(const char *path)
{
    struct stat status;
    return CALL(newfstatat, AT_FDCWD, path, &status, 0, 0, 0) == 0 && !S_ISREG(status.st_mode);
}

static int file_of(int r, const struct stat *status, struct ht_os_file *ret_file)
{
    *ret_file = (struct ht_os_file){0};
    if (r < 0)
        return r;
    ret_file->device = status->st_dev;
    ret_file->inode = status->st_ino;
    ret_file->size = (uint64_t)status->st_size;
    ret_file->changed_nanos =
        status->st_mtim.tv_sec * INT64_C(1000000000) + status->st_mtim.tv_nsec;
    ret_file->owner = status->st_uid;
    ret_file->is_regular = S_ISREG(status->st_mode);
    return 0;
}

int ht_os_file_of(int fd, struct ht_os_file *ret_file)
{
    struct stat status;
    return file_of((int)CALL(newfstatat, fd, "", &status, AT_EMPTY_PATH, 0, 0), &status, ret_file);
}

int ht_os_file_at(const char *path, struct ht_os_file *ret_file)
{
    struct stat status;
    return file_of((int)CALL(newfstatat, AT_FDCWD, path, &status, 0, 0, 0), &status, ret_file);
}

ssize_t ht_os_read_link(const char *path, char *buffer, size_t size)
{
    ssize_t r = CALL(readlink, path, buffer, size - 1, 0, 0, 0);
    buffer[r < 0 ? 0 : r] = 0;
    return r;
}

int ht_os_current_directory(char *buffer, size_t size)
{
    intptr_t r = CALL(getcwd, buffer, size, 0, 0, 0, 0);
    /* "(unreachable)/..." is a directory outside our root. */
    if (r > 0 && buffer[0] != '/')
        return -ENOENT;
    return r < 0 ? (int)r : 0;
}

int ht_os_borrow_descriptor(int fd)
{
    int process = (int)CALL(pidfd_open, ht_os_pid(), 0, 0, 0, 0, 0);
    if (process < 0)
        return process;
    int copy = (int)CALL(pidfd_getfd, process, fd, 0, 0, 0, 0);
    ht_os_close(process);
    return copy;
}

pid_t ht_os_pid(void)
{
    return (pid_t)CALL(getpid, 0, 0, 0, 0, 0, 0);
}

pid_t ht_os_tid(void)
{
    return (pid_t)CALL(gettid, 0, 0, 0, 0, 0, 0);
}

uint32_t ht_os_user(void)
{
    return (uint32_t)CALL(geteuid, 0, 0, 0, 0, 0, 0);
}

bool ht_os_is_thread(pid_t tid)
{
    return CALL(tgkill, ht_os_pid(), tid, 0, 0, 0, 0) != -ESRCH;
}

bool ht_os_random(void *buffer, size_t size)
{
    return CALL(getrandom, buffer, size, GRND_NONBLOCK, 0, 0, 0) == (intptr_t)size;
}

/* The clocks are read by system call, not by the C library: its vdso pointer is not set up yet when
 * the first allocations come. */
static int64_t clock_nanos(int clock)
{
    struct timespec time = {0, 0};
    CALL(clock_gettime, clock, &time, 0, 0, 0, 0);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int64_t ht_os_wall_nanos(void)
{
    return clock_nanos(CLOCK_REALTIME);
}

int64_t ht_os_steady_nanos(void)
{
    return clock_nanos(CLOCK_MONOTONIC);
}

int64_t ht_os_cpu_nanos(void)
{
    return clock_nanos(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t ht_os_thread_cpu_nanos(void)
{
    return clock_nanos(CLOCK_THREAD_CPUTIME_ID);
}

void ht_os_block_signals(uint64_t *ret_old)
{
    const uint64_t setxid = UINT64_C(1) << 32; /* signal 33 */
    uint64_t all = ~setxid;
    CALL(rt_sigprocmask, SIG_SETMASK, &all, ret_old, SIGNAL_SET_SIZE, 0, 0);
}

void ht_os_restore_signals(const uint64_t *old)
{
    CALL(rt_sigprocmask, SIG_SETMASK, old, 0, SIGNAL_SET_SIZE, 0, 0);
}

void ht_os_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_nanos)
{
    struct timespec timeout = {timeout_nanos / 1000000000, timeout_nanos % 1000000000};
    CALL(futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_nanos < 0 ? NULL : &timeout, 0, 0);
}

void ht_os_futex_wake(const uint32_t *word, int count)
{
    CALL(futex, word, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}

void ht_os_yield(void)
{
    CALL(sched_yield, 0, 0, 0, 0, 0, 0);
}

bool ht_os_readable(uintptr_t address)
{
    const int no_such_how = ~0;
    /* No set at all is fine with the kernel. */
    return address != 0 &&
           CALL(rt_sigprocmask, no_such_how, address, 0, SIGNAL_SET_SIZE, 0, 0) != -EFAULT;
}

bool ht_os_readable_all(uintptr_t address, size_t size)
{
    uintptr_t last = address + size - 1;
    if (last < address || size == 0)
        return false;
    for (uintptr_t page = ht_round_down(address, HT_PAGE); page <= last; page += HT_PAGE) {
        if (!ht_os_readable(page))
            return false;
    }
    return true;
}

/* intptr_t ht_os_call_on_stack(function, argument, top): the frame pointer keeps the old stack, so
 * a debugger sees through it. */
__asm__(".text\n"
        ".globl ht_os_call_on_stack\n"
        ".hidden ht_os_call_on_stack\n"
        ".type ht_os_call_on_stack, @function\n"
        "ht_os_call_on_stack:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    movq %rdx, %rsp\n"
        "    andq $-16, %rsp\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    callq *%rax\n"
        "    leave\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size ht_os_call_on_stack, . - ht_os_call_on_stack\n");
