/* owner.c: a program that has plans for SIGUSR1 itself.
 *     owner handler       installs a handler and counts
 *     owner ignore        ignores it
 *     owner wait          blocks it and takes it with sigwait
 *     owner take_later    leaves it alone until told, then installs a handler
 *
 * Prints `ready`, and then `got N` for each line on standard input; ends at its end with status
 * 5. */
#include "truth.h"

#include <errno.h>
#include <signal.h>

static volatile sig_atomic_t got;

static void on_signal(int number)
{
    (void)number;
    got++;
}

static void take(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    if (sigaction(SIGUSR1, &action, NULL) != 0)
        die("sigaction failed");
}

static void take_waiting(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    struct timespec soon = {0, 200 * 1000000L};
    while (sigtimedwait(&set, NULL, &soon) == SIGUSR1)
        got++;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "handler";
    int waits = strcmp(how, "wait") == 0;
    keep(malloc(10000));
    if (strcmp(how, "handler") == 0)
        take();
    if (strcmp(how, "ignore") == 0)
        signal(SIGUSR1, SIG_IGN);
    if (waits) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    say("ready\n");
    char byte;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n == 0)
            return 5;
        if (n < 0 && errno != EINTR)
            die("read failed");
        if (n < 1 || byte != '\n')
            continue;
        if (waits)
            take_waiting();
        if (strcmp(how, "take_later") == 0)
            take();
        say("got %d\n", (int)got);
    }
}
