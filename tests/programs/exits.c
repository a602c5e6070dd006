/* exits.c: the ways a program ends. Each allocates at site_last and ends with status 7. */
#include "truth.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

NOINLINE static void site_last(void)
{
    keep(malloc(4321));
}

static void *exit_here(void *unused)
{
    (void)unused;
    exit(7);
}

static void *underscore_exit_here(void *unused)
{
    (void)unused;
    _exit(7);
}

static void *wait_for_main(void *unused)
{
    (void)unused;
    usleep(50000);
    exit(7);
}

static void *outlive_main(void *unused)
{
    usleep(50000);
    free(again(malloc(100)));
    return unused; /* the last thread of the process, which the C library ends then */
}

static void *fork_and_return(void *unused)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        return unused; /* the only thread of the child */
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("the child ended with %#x", (unsigned)status);
    exit(0);
}

/* In each the collector has just been made when the last thread ends. */
static void *fork_again_and_again(void *unused)
{
    for (int i = 0; i < 300; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            free(again(malloc(100)));
            return unused;
        }
        if (waitpid(pid, &status, 0) != pid || status != 0)
            die("child %d ended with %#x", i, (unsigned)status);
    }
    exit(0);
}

static void on_signal(int number)
{
    (void)number;
    _exit(7);
}

/* 8 KiB, with pages around them that fault. */
static void use_small_stack(void)
{
    const size_t size = 8192;
    char *pages = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = pages + size, .ss_size = size};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    if (pages == MAP_FAILED || mprotect(stack.ss_sp, size, PROT_READ | PROT_WRITE) != 0)
        die("no stack");
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR2, &action, NULL);
}

static void in_atexit(void)
{
    _exit(7);
}

/* Alive in another thread while the program ends. */
static void *allocate_for_ever(void *unused)
{
    (void)unused;
    for (;;)
        free(malloc(100));
    return NULL;
}

static void start_thread(void *(*function)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, NULL) != 0)
        die("no thread");
}

static void end(const char *how)
{
    if (strcmp(how, "exit") == 0)
        exit(7);
    if (strcmp(how, "_exit") == 0)
        _exit(7);
    if (strcmp(how, "_Exit") == 0)
        _Exit(7);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(7);
    if (strcmp(how, "thread_exit") == 0) {
        start_thread(exit_here);
        pause();
    }
    if (strcmp(how, "thread__exit") == 0) {
        start_thread(underscore_exit_here);
        pause();
    }
    if (strcmp(how, "main_pthread_exit") == 0) {
        start_thread(wait_for_main);
        pthread_exit(NULL);
    }
    if (strcmp(how, "last_thread") == 0 || strcmp(how, "last_thread_of_child") == 0) {
        start_thread(how[11] == 0 ? outlive_main : fork_and_return);
        pthread_exit(NULL);
    }
    if (strcmp(how, "last_threads_of_children") == 0) {
        start_thread(fork_again_and_again);
        pthread_exit(NULL);
    }
    if (strcmp(how, "handler__exit") == 0) {
        signal(SIGUSR2, on_signal);
        raise(SIGUSR2);
    }
    if (strcmp(how, "small_stack__exit") == 0) {
        use_small_stack();
        raise(SIGUSR2);
    }
    if (strcmp(how, "atexit__exit") == 0) {
        atexit(in_atexit);
        exit(1);
    }
    if (strcmp(how, "busy_threads_exit") == 0) {
        for (int i = 0; i < 4; i++)
            start_thread(allocate_for_ever);
        usleep(20000);
        exit(7);
    }
    if (strcmp(how, "busy_threads__exit") == 0) {
        for (int i = 0; i < 4; i++)
            start_thread(allocate_for_ever);
        usleep(20000);
        _exit(7);
    }
    if (strcmp(how, "closed_fds") == 0) {
        for (int fd = 0; fd < 256; fd++)
            close(fd);
        exit(7);
    }
    /* A vfork child shares our memory: its _exit is not our end. */
    if (strcmp(how, "vfork") == 0) {
        pid_t pid = vfork();
        if (pid == 0)
            _exit(3);
        int status;
        if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 3)
            die("the vfork child ended otherwise");
        exit(7);
    }
    /* No profile is promised for these two. */
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: exits HOW");
    site_last();
    end(argv[1]);
    return 7; /* "return" */
}
