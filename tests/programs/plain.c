/* plain.c: a program that does one thing and ends as it is told.
 *     plain exit N | plain signal N | plain say | plain fds | plain allocate N | plain sleep MS */
#include "truth.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: plain WHAT [N]");
    int n = argc > 2 ? atoi(argv[2]) : 0;
    keep(malloc(10000));
    if (strcmp(argv[1], "exit") == 0)
        return n;
    if (strcmp(argv[1], "signal") == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(n, SIG_DFL);
        kill(getpid(), n);
    }
    if (strcmp(argv[1], "fds") == 0) /* the lowest free descriptor, and what is open */
        for (int fd = 3; fd < 64; fd++)
            if (fcntl(fd, F_GETFD) >= 0)
                say("open %d\n", fd);
    if (strcmp(argv[1], "fds") == 0)
        say("next %d\n", open("/dev/null", O_RDONLY));
    if (strcmp(argv[1], "allocate") == 0)
        for (int i = 0; i < n; i++)
            keep(malloc(1000));
    if (strcmp(argv[1], "sleep") == 0)
        nanosleep(&(struct timespec){n / 1000, n % 1000 * 1000000L}, NULL);
    say("hello from plain\n");
    if (write(STDERR_FILENO, "and a word of its own\n", 22) < 0)
        return 1;
    return 5;
}
