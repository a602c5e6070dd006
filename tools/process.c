#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control/config.h"
#include "control/request.h"

#include "tool.h"

#include "tool.h"

#define THREAD_PREFIX "heaptap-"

/* One text file below /proc, at most `size` - 1 bytes of it. Its length, or -errno. */
static ssize_t read_text(const char *path, char *ret_text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t length = 0;
    ssize_t n;
    while (length < size - 1 && (n = read(fd, ret_text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    ret_text[length] = 0;
    close(fd);
    return (ssize_t)length;
}

ssize_t process_read(const struct process *process, const char *name, char *ret_text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", process->pid, name);
    return read_text(path, ret_text, size);
}

const char *process_field(const char *status, const char *name)
{
    char key[32];
    snprintf(key, sizeof(key), "\n%s:\t", name);
    const char *found = strstr(status, key);
    return found ? found + strlen(key) : "";
}

static uint64_t signal_set(const char *status, const char *name)
{
    return strtoull(process_field(status, name), NULL, 16);
}

static void read_thread_name(struct process *process, const char *directory, const char *thread)
{
    char path[PATH_MAX], name[64];
    uint64_t signal;
    snprintf(path, sizeof(path), "%s/%s/comm", directory, thread);
    if (read_text(path, name, sizeof(name)) < 0 ||
        strncmp(name, THREAD_PREFIX, strlen(THREAD_PREFIX)) != 0)
        return;
    name[strcspn(name, "\n")] = 0;
    const char *trigger = name + strlen(THREAD_PREFIX);
    bool serves = strncmp(trigger, "sig", 3) == 0 && ht_parse_number(trigger + 3, &signal) == 0 &&
                  signal >= 1 && signal <= 64;
    if (!serves && strcmp(trigger, "none") != 0)
        return;
    process->collector = (pid_t)strtol(thread, NULL, 10);
    process->signal = serves ? (int)signal : 0;
}

static void find_collector(struct process *process)
{
    char directory[64];
    snprintf(directory, sizeof(directory), "/proc/%d/task", process->pid);
    DIR *threads = opendir(directory);
    if (!threads)
        return;
    for (struct dirent *thread; (thread = readdir(threads));) {
        if (thread->d_name[0] != '.')
            read_thread_name(process, directory, thread->d_name);
    }
    closedir(threads);
}

static bool has_library_mapped(pid_t pid)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return false;
    while (!found && getline(&line, &size, maps) > 0)
        found = strstr(line, "/libheaptap.so") != NULL;
    free(line);
    fclose(maps);
    return found;
}

/* Our /tmp need not be the one of the process: it may live in a container or behind a chroot. */
static void find_root(struct process *process)
{
    char path[64], ours[64] = "", theirs[64] = "", root[PATH_MAX] = "/";
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", process->pid);
    if (readlink("/proc/self/ns/mnt", ours, sizeof(ours) - 1) < 0 ||
        readlink(path, theirs, sizeof(theirs) - 1) < 0)
        return;
    snprintf(path, sizeof(path), "/proc/%d/root", process->pid);
    ssize_t length = readlink(path, root, sizeof(root) - 1);
    root[length < 0 ? 0 : length] = 0;
    if (strcmp(ours, theirs) != 0 || (length > 0 && strcmp(root, "/") != 0))
        snprintf(process->root, sizeof(process->root), "/proc/%d/root", process->pid);
}

int process_open(struct process *process)
{
    char path[64], status[4096];
    process->fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    if (process->fd < 0)
        return errno == EINVAL ? -ESRCH : -errno;
    fcntl(process->fd, F_SETFD, FD_CLOEXEC);

    snprintf(path, sizeof(path), "/proc/%d/status", process->pid);
    ssize_t length = read_text(path, status, sizeof(status));
    if (length < 0)
        return length == -ENOENT ? -ESRCH : (int)length;
    snprintf(process->name, sizeof(process->name), "%.*s", (int)strcspn(status, "\n") - 6,
             status + 6);
    process->caught = signal_set(status, "SigCgt");
    process->ignored = signal_set(status, "SigIgn");
    if (sscanf(process_field(status, "Uid"), "%*u %u", &process->uid) != 1 ||
        sscanf(process_field(status, "Gid"), "%*u %u", &process->gid) != 1)
        return -EIO;
    if (syscall(SYS_pidfd_send_signal, process->fd, 0, NULL, 0) < 0)
        return -errno;

    find_collector(process);
    process->has_heaptap = process->collector != 0 || has_library_mapped(process->pid);
    find_root(process);
    return 0;
}

int process_open_patiently(struct process *process)
{
    int r = process_open(process);
    for (int i = 0; i < 10 && r == 0 && process->has_heaptap && !process->collector; i++) {
        close(process->fd);
        usleep(50 * 1000);
        r = process_open(process);
    }
    if (r == -ESRCH)
        say("there is no process %d", process->pid);
    else if (r == -EPERM || r == -EACCES)
        say("process %d (%s) belongs to somebody else", process->pid, process->name);
    else if (r < 0)
        say("process %d: %s", process->pid, strerror(-r));
    return r < 0;
}

/* No call sends a queued signal to a thread by a pidfd. The numbers of process and thread are both
 * taken from the process while the pidfd says that it lives. */
int process_send(const struct process *process, uint64_t value)
{
    siginfo_t info = {.si_signo = HT_REQUEST_SIGNAL, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = (void *)(uintptr_t)value;
    if (syscall(SYS_pidfd_send_signal, process->fd, 0, NULL, 0) < 0 ||
        syscall(SYS_rt_tgsigqueueinfo, process->pid, process->collector, HT_REQUEST_SIGNAL, &info) <
            0)
        return -errno;
    return 0;
}

bool process_blocks_everywhere(const struct process *process, int signal)
{
    char directory[64], path[PATH_MAX], status[4096];
    bool blocks = true;
    snprintf(directory, sizeof(directory), "/proc/%d/task", process->pid);
    DIR *threads = opendir(directory);
    if (!threads)
        return false;
    for (struct dirent *thread; blocks && (thread = readdir(threads));) {
        snprintf(path, sizeof(path), "%s/%s/status", directory, thread->d_name);
        if (thread->d_name[0] != '.' && read_text(path, status, sizeof(status)) > 0)
            blocks = signal_set(status, "SigBlk") >> (signal - 1) & 1;
    }
    closedir(threads);
    return blocks;
}
