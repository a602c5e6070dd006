/* signal_edges.c: signals at the worst of times.
 *
 *     signal_edges altstack    a handler that allocates on an alternate stack of 8 KiB
 *     signal_edges prof        SIGPROF, a thousand a second, whose handler allocates and frees while the program does
 *     signal_edges prof-any    the same, also while the program allocates: for an allocator that can take it
 *     signal_edges storm N     N signals SIGUSR1 from a child, one each millisecond; how late the program's own clock runs
 *     signal_edges before      SIGUSR1 handled by the program from its first constructor on
 *     signal_edges after       handled from the middle of main on
 *     signal_edges ignored     ignored from the middle of main on
 *     signal_edges disposition what main finds of SIGUSR1, and its mask
 *     signal_edges shown       what sigaction() and signal() say of SIGUSR1, and of what was put there
 *     signal_edges put-back    a handler that puts the default back and dies of the signal
 *     signal_edges sleep       sleeps and reads until its input ends; how often it was interrupted */
#include "truth.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static struct truth truth;
static volatile sig_atomic_t handled;

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    truth_count(&truth, size);
    return block;
}

static void on_signal(int number)
{
    (void)number;
    for (size_t i = 1; i <= 5; i++)
        free(site(i * 100));
    free(realloc(site(10), 1000));
    handled++;
}

/* Counts and no more. */
static void on_count(int number)
{
    (void)number;
    handled++;
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    if (sigaction(number, &action, NULL) != 0)
        die("sigaction failed");
}

static void run_altstack(void)
{
    const size_t size = 8192, page = 4096;
    char *memory = off_heap(size + page);
    if (mprotect(memory, page, PROT_NONE) != 0)
        die("mprotect failed");
    stack_t stack = {.ss_sp = memory + page, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0)
        die("sigaltstack failed");
    handle(SIGUSR2, on_signal, SA_ONSTACK);
    for (int i = 0; i < 100; i++)
        raise(SIGUSR2);
    say("handled %d\n", (int)handled);
}

/* glibc's malloc is not to be called from a handler that may have interrupted it: over that one the
 * handler allocates only while the program computes. Over bump.c, at any time: also while the
 * profiler has its locks. */
static volatile sig_atomic_t in_malloc;
static bool at_any_time;

static void on_prof(int number)
{
    if (at_any_time || !in_malloc)
        on_signal(number);
    else
        handled++;
}

static void run_prof(bool any)
{
    at_any_time = any;
    struct itimerval timer = {.it_interval = {.tv_usec = 1000}, .it_value = {.tv_usec = 1000}};
    void *blocks[100] = {0};
    handle(SIGPROF, on_prof, SA_RESTART);
    if (setitimer(ITIMER_PROF, &timer, NULL) != 0)
        die("no timer");
    for (size_t i = 0; handled < 50; i++) {
        in_malloc = 1;
        free(blocks[i % 100]);
        blocks[i % 100] = site(1 + i % 1000);
        in_malloc = 0;
        for (volatile int j = 0; j < 100; j++)
            ;
    }
    timer = (struct itimerval){0};
    setitimer(ITIMER_PROF, &timer, NULL);
    for (size_t i = 0; i < 100; i++)
        free(blocks[i]);
    say("handled enough\n");
}

static int64_t now_micros(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void run_storm(unsigned count)
{
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < count; i++) {
            if (kill(parent, SIGUSR1) != 0)
                _exit(1);
            usleep(1000);
        }
        _exit(0);
    }
    int64_t longest = 0, before = now_micros();
    while (waitpid(child, NULL, WNOHANG) == 0) {
        for (size_t i = 0; i < 100; i++)
            free(site(10 + i * 10));
        int64_t now = now_micros();
        if (now - before > longest)
            longest = now - before;
        before = now;
    }
    /* Known to the last profile only, which is one of after the last signal. */
    void *last = site(123456);
    kill(parent, SIGUSR1);
    usleep(300000);
    keep(last);
    say("longest %lld us\n", (long long)longest);
    exit(0);
}

__attribute__((constructor(101))) static void own_it_early(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "before") == 0)
        handle(SIGUSR1, on_count, 0);
}

static void run_owned(const char *mode)
{
    if (strcmp(mode, "after") == 0) {
        free(site(10));
        handle(SIGUSR1, on_count, 0);
    } else if (strcmp(mode, "ignored") == 0) {
        free(site(10));
        handle(SIGUSR1, SIG_IGN, 0);
    }
    for (int i = 0; i < 5; i++) {
        kill(getpid(), SIGUSR1);
        free(site(1000));
    }
    usleep(50000);
    say("handled %d\n", (int)handled);
    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    say("handler %s\n", action.sa_handler == on_count  ? "ours"
                        : action.sa_handler == SIG_IGN ? "ignored"
                                                       : "another");
}

static void run_disposition(void)
{
    sigset_t mask;
    struct sigaction action;
    free(site(1));
    sigprocmask(SIG_BLOCK, NULL, &mask);
    sigaction(SIGUSR1, NULL, &action);
    say("SIGUSR1 %s, %s\n", sigismember(&mask, SIGUSR1) ? "blocked" : "not blocked",
        action.sa_handler == SIG_IGN ? "ignored" : "not ignored");
    for (int number = 1; number < 65; number++)
        if (number != SIGUSR1 && sigismember(&mask, number) == 1)
            say("blocked: %d\n", number);
    kill(getpid(), SIGUSR1);
    usleep(50000);
    free(site(1));
    sigpending(&mask);
    say("pending: %d\n", sigismember(&mask, SIGUSR1));
}

static const char *name_of(void (*handler)(int))
{
    return handler == SIG_DFL    ? "default"
           : handler == SIG_IGN  ? "ignored"
           : handler == SIG_ERR  ? "error"
           : handler == on_count ? "on_count"
                                 : "another";
}

static void show(const char *when)
{
    struct sigaction action;
    memset(&action, 1, sizeof(action));
    if (sigaction(SIGUSR1, NULL, &action) != 0)
        die("sigaction failed");
    say("%s: %s, flags %x, mask %d%d\n", when, name_of(action.sa_handler),
        (unsigned)action.sa_flags, sigismember(&action.sa_mask, SIGHUP),
        sigismember(&action.sa_mask, SIGUSR2));
}

/* Each way to set a handler, each followed by each other. */
static void run_shown(void)
{
    typedef void (*handler)(int);
    static handler (*const ways[])(int, handler) = {signal, ssignal, sysv_signal, __sysv_signal};
    static const handler handlers[] = {SIG_DFL, on_count, SIG_IGN, SIG_DFL, SIG_DFL, on_count};
    show("start");
    for (size_t way = 0; way < sizeof(ways) / sizeof(*ways); way++) {
        for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++) {
            say("%zu put %s, had %s\n", way, name_of(handlers[i]),
                name_of(ways[way](SIGUSR1, handlers[i])));
            show("then");
        }
    }
    for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++) {
        struct sigaction action = {.sa_handler = handlers[i], .sa_flags = i % 2 ? SA_RESTART : 0},
                         old;
        sigaddset(&action.sa_mask, i % 3 ? SIGHUP : SIGUSR2);
        if (sigaction(SIGUSR1, &action, &old) != 0)
            die("sigaction failed");
        say("put %s, had %s, flags %x\n", name_of(handlers[i]), name_of(old.sa_handler),
            (unsigned)old.sa_flags);
        show("then");
    }
    errno = 0;
    struct sigaction none = {.sa_handler = SIG_DFL};
    say("SIGKILL: %d, errno %d\n", sigaction(SIGKILL, &none, NULL), errno);
    say("99: %s, errno %d\n", name_of(signal(99, SIG_DFL)), errno);
    kill(getpid(), SIGUSR1);
    say("handled %d\n", (int)handled);
    /* Put back by a library, say: somebody else's signal may come. */
    signal(SIGUSR1, SIG_DFL);
    show("end");
}

static void die_of_it(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

static void run_put_back(void)
{
    if (signal(SIGUSR1, die_of_it) != SIG_DFL)
        die("SIGUSR1 is not at its default");
    raise(SIGUSR1);
    die("still alive");
}

static void run_sleep(void)
{
    int interrupted = 0;
    char byte;
    free(site(1));
    say("ready\n");
    for (;;) {
        struct timespec soon = {0, 10 * 1000000L};
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        interrupted += nanosleep(&soon, NULL) != 0;
        int r = poll(&input, 1, 100);
        interrupted += r < 0;
        if (r > 0 && read(STDIN_FILENO, &byte, 1) == 0)
            break;
    }
    say("interrupted %d\n", interrupted);
    exit(0);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "altstack") == 0)
        run_altstack();
    else if (strncmp(mode, "prof", 4) == 0)
        run_prof(strcmp(mode, "prof-any") == 0);
    else if (strcmp(mode, "storm") == 0)
        run_storm((unsigned)strtoul(argv[2], NULL, 10));
    else if (strcmp(mode, "disposition") == 0)
        run_disposition();
    else if (strcmp(mode, "shown") == 0)
        run_shown();
    else if (strcmp(mode, "put-back") == 0)
        run_put_back();
    else if (strcmp(mode, "sleep") == 0)
        run_sleep();
    else
        run_owned(mode);
    if (strncmp(mode, "prof", 4) != 0)
        truth_say("site", "leaf", &truth);
    else
        say("allocated %s\n", truth.alloc_objects > 100 ? "enough" : "too little");
    return 0;
}
