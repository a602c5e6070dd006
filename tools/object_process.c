#include "object_process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_SIZE ((size_t)1 << 16)
/* Twenty times what the largest objects take: those of 10 GB of debug information. */
#define CPU_SECONDS 300
/* Names are demangled recursively: report/demangle.h. */
#define STACK_SIZE ((rlim_t)8 << 20)

static void limit(int resource, rlim_t wanted)
{
    struct rlimit now;
    if (getrlimit(resource, &now) < 0)
        return;
    now.rlim_cur = ht_min(wanted, now.rlim_max);
    setrlimit(resource, &now);
}

/* When memory runs out, this process is what the kernel should end. */
static void offer_to_killer(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1000", 4) < 0)
        errno = 0; /* then it is as likely to be ended as we are */
    if (fd >= 0)
        close(fd);
}

static bool become_owner(const struct stat *profile)
{
    if (geteuid() != 0 || profile->st_uid == 0)
        return true;
    return setgroups(0, NULL) == 0 && setgid(profile->st_gid) == 0 && setuid(profile->st_uid) == 0;
}

/* libdw's failed assertions are told by its end. */
static void be_quiet(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
}

static void be_child(const struct debug_search *search, const struct object_request *request,
                     const struct stat *profile, int fd)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU};
    for (size_t i = 0; i < HT_ARRAY_SIZE(faults); i++)
        signal(faults[i], SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, CPU_SECONDS);
    limit(RLIMIT_STACK, STACK_SIZE);
    offer_to_killer();
    be_quiet();
    struct edit answer;
    bool done = become_owner(profile) && object_read(search, request, &answer) &&
                edit_write(&answer, fd, 0) == 0;
    _exit(done ? 0 : 1);
}

int object_process_start(const struct debug_search *search, const struct object_request *request,
                         const struct stat *profile, struct object_process *ret_process)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        be_child(search, request, profile, fds[1]);
    }
    int error = errno;
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return -error;
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    *ret_process = (struct object_process){.pid = pid, .fd = fds[0]};
    return 0;
}

bool object_process_read(struct object_process *process)
{
    for (;;) {
        struct bytes *answer = &process->answer;
        if (process->room - answer->size < READ_SIZE) {
            size_t room = (process->room + READ_SIZE) * 2;
            uint8_t *moved = room < PROFILE_FILE_MAX ? realloc(answer->data, room) : NULL;
            if (!moved)
                return true; /* what was cut off is no answer */
            answer->data = moved;
            process->room = room;
        }
        ssize_t n = read(process->fd, answer->data + answer->size, process->room - answer->size);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        if (n < 0 && errno == EAGAIN)
            return false;
        answer->size += n > 0 ? (size_t)n : 0;
    }
}

static bool is_for_us(int signal)
{
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

int object_process_finish(struct object_process *process, struct edit *ret_answer)
{
    close(process->fd);
    int status = wait_for(process->pid), r = 0;
    if (WIFSIGNALED(status) && is_for_us(WTERMSIG(status)))
        r = -EINTR;
    else if (status != 0 || edit_decode(&process->answer, ret_answer))
        r = -EIO;
    free(process->answer.data);
    return r;
}

void object_process_kill(struct object_process *process)
{
    kill(process->pid, SIGKILL);
    close(process->fd);
    wait_for(process->pid);
    free(process->answer.data);
}
