#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "control/request.h"

#include "tool.h"

#define REPORT_FORMAT "%s" HT_REQUEST_FILE
#define LOOK_EVERY_MS 20

int ask_send(const struct process *process, uint64_t mark, const char *question, bool quiet,
             struct report_file *ret_file)
{
    uint32_t number;
    char path[PATH_MAX];
    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return -EIO;
    snprintf(path, sizeof(path), REPORT_FORMAT, process->root, number);
    int r = report_file_create_at(ret_file, path);
    if (r < 0) {
        if (!quiet)
            say("%s: %s", path, strerror(-r));
        return r;
    }
    /* The process must be able to write to it, and nobody else. */
    if (geteuid() != process->uid && fchown(ret_file->fd, process->uid, process->gid) < 0 && !quiet)
        say("%s: %s", path, strerror(errno));
    size_t length = question ? strlen(question) : 0;
    if (length && write(ret_file->fd, question, length) != (ssize_t)length) {
        r = -EIO;
        report_file_remove(ret_file);
        return r;
    }
    r = process_send(process, mark << 48 | number);
    if (r < 0) {
        if (!quiet)
            say("process %d (%s): %s", process->pid, process->name, strerror(-r));
        report_file_remove(ret_file);
    }
    return r;
}

/* A line that has come; 0, -EAGAIN when there is none yet, -ENOBUFS. */
static int read_line(const struct report_file *file, size_t from, char *ret_line, size_t size)
{
    ssize_t length = pread(file->fd, ret_line, size - 1, (off_t)from);
    ret_line[length < 0 ? 0 : length] = 0;
    char *end = strchr(ret_line, '\n');
    if (!end)
        return length == (ssize_t)size - 1 ? -ENOBUFS : -EAGAIN;
    *end = 0;
    return 0;
}

int ask_line(const struct process *process, uint64_t mark, const char *question, int timeout_ms,
             char *ret_line, size_t size)
{
    static struct report_file file;
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    int r = ask_send(process, mark, question, true, &file);
    if (r == 0) {
        struct pollfd end = {.fd = process->fd, .events = POLLIN};
        size_t from = question ? strlen(question) : 0;
        int waited = 0;
        while ((r = read_line(&file, from, ret_line, size)) == -EAGAIN && waited < timeout_ms) {
            if (poll(&end, 1, LOOK_EVERY_MS) > 0)
                r = -ESRCH;
            if (r == -ESRCH)
                break;
            waited += LOOK_EVERY_MS;
        }
        if (r == -EAGAIN)
            r = -ETIMEDOUT;
        report_file_remove(&file);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return r;
}
