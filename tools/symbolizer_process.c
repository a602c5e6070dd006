#include "symbolizer_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "symbolizer.h"
#include "symbolizer_words.h"
#include "tool.h"

#define NICENESS 10
/* Room for the paths of some thousand profiles that wait. */
#define PIPE_SIZE (1 << 20)
/* Who waits longer wants to know for what. */
#define PATIENCE_MS 1000

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    stopped = signal;
}

/* ---- in the process ---- */

/* The next path, without its 0. False at the end. */
static bool read_path(int fd, char ret_path[PATH_MAX])
{
    size_t length = 0;
    while (length < PATH_MAX && !stopped) {
        ssize_t n = read(fd, ret_path + length, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        if (!ret_path[length++])
            return true;
    }
    return false;
}

/* The program has ended: now somebody waits, and the processors are free. */
static bool is_last(int fd)
{
    struct pollfd end = {.fd = fd};
    return poll(&end, 1, 0) > 0 && (end.revents & POLLHUP);
}

/* Each object is complained of once. */
static void complain(const struct symbolized *result, struct symbolizer *symbolizer, size_t before)
{
    for (size_t i = 0; i < result->object_count; i++)
        for (size_t j = before; j < symbolizer->object_count; j++)
            if (symbolizer_path(symbolizer, j) == result->objects[i].path)
                symbolizer_complain(&result->objects[i]);
}

static void work(int fd)
{
    char path[PATH_MAX];
    struct symbolizer symbolizer = {.stop = &stopped};
    while (read_path(fd, path)) {
        struct symbolized result;
        size_t before = symbolizer.object_count;
        if (access(path, F_OK) < 0) /* removed again, or it is not ours to see */
            continue;
        symbolizer.processes = is_last(fd) ? symbolizer_processes() : 1;
        if (symbolizer_file(&symbolizer, path, path, &result) < 0)
            continue;
        complain(&result, &symbolizer, before);
        symbolized_free(&result);
    }
    symbolizer_free(&symbolizer);
}

static void be_child(int fd)
{
    struct sigaction action = {.sa_handler = stop};
    sigset_t none;
    sigemptyset(&none);
    sigaction(SIGTERM, &action, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpriority(PRIO_PROCESS, 0, NICENESS);
    work(fd);
    _exit(0);
}

/* ---- outside ---- */

static int start(struct symbolizer_process *process)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    process->pid = fork();
    if (process->pid == 0) {
        setpgid(0, 0);
        close(fds[1]);
        be_child(fds[0]);
    }
    close(fds[0]);
    if (process->pid < 0) {
        close(fds[1]);
        return -errno;
    }
    setpgid(process->pid, process->pid); /* whoever comes first */
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    process->fd = fds[1];
    return 0;
}

void symbolizer_process_send(struct symbolizer_process *process, const char *path)
{
    int r = process->fd < 0 && !process->has_failed ? start(process) : 0;
    if (r == 0 && process->fd >= 0 && write(process->fd, path, strlen(path) + 1) < 0)
        r = -errno;
    if (r < 0 && !process->has_failed) {
        say("no lines for %s and perhaps others: %s; heaptap symbolize adds them", path,
            r == -EAGAIN ? "too many wait for theirs" : strerror(-r));
        process->has_failed = r != -EAGAIN;
    }
}

void symbolizer_process_finish(struct symbolizer_process *process, struct watch *watch,
                               bool is_quiet)
{
    if (process->fd < 0)
        return;
    close(process->fd);
    process->fd = -1;
    int r = watch_wait_other(watch, process->pid, is_quiet ? -1 : PATIENCE_MS);
    if (r == -ETIMEDOUT) {
        say("adding files and lines to the profiles; Ctrl-C leaves them out");
        r = watch_wait_other(watch, process->pid, -1);
    }
    if (r == 0)
        return;
    kill(-process->pid, SIGTERM);
    waitpid(process->pid, NULL, 0);
}
