/* alone: calls that the kernel allows only to a process of one thread, with allocations before and
 * after. Prints their results; what they are depends on the machine, but not on us. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, int result)
{
    printf("%s: %s\n", what, result == 0 ? "ok" : strerror(errno));
    fflush(stdout);
    for (int i = 0; i < 50; i++)
        free(malloc(1 << 20));
}

static int enter(const char *path, int type)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result = fd < 0 ? -1 : setns(fd, type);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return result;
}

int main(void)
{
    say("start", 0);
    say("unshare nothing", unshare(0));
    say("unshare user", unshare(CLONE_NEWUSER));
    say("unshare mount", unshare(CLONE_NEWNS));
    say("enter mount", enter("/proc/self/ns/mnt", CLONE_NEWNS));
    say("enter a file", enter("/dev/null", 0));
    say("enter nothing", setns(-1, 0));
    say("unshare absurd", unshare(-1));
    /* From here on children are alone in their world, and threads cannot be made. */
    say("unshare pids", unshare(CLONE_NEWPID));
    pid_t child = fork();
    if (child == 0) {
        say("child", 0);
        _exit(3);
    }
    int status = 0;
    int waited = waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3 ? 0 : -1;
    say("wait", waited);
    return 0;
}
