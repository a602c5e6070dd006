/* privileges.c: sets its user and group, to what they are, as servers do that drop their
 * privileges: the C library signals every thread of the process and waits for each. In the process
 * itself and in a child, before and after a snapshot. */
#include "truth.h"

#include <signal.h>
#include <sys/wait.h>

static void set_all(void)
{
    free(again(malloc(100))); /* has the child's collector made */
    if (setgid(getgid()) != 0 || setuid(getuid()) != 0 ||
        setresgid(getgid(), getgid(), getgid()) != 0 ||
        setresuid(getuid(), getuid(), getuid()) != 0)
        die("cannot set the user");
}

int main(void)
{
    set_all();
    pid_t pid = fork();
    if (pid == 0) {
        set_all();
        execl("/bin/true", "true", (char *)NULL);
        die("no /bin/true");
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("the child ended with %#x", status);
    raise(SIGUSR1);
    set_all();
    usleep(200000);
    say("back\n");
    return 0;
}
