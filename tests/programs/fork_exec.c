/* fork_exec.c: parents and children.
 *
 *     fork_exec fork N        N children; each frees half of what it inherits and allocates its own
 *     fork_exec storm N       N children forked while four threads allocate without end
 *     fork_exec exec DEPTH    executes itself DEPTH times in one process, each round allocating
 *     fork_exec spawn N       posix_spawn of itself, N times
 *     fork_exec locks N       N forks, each while a thread that has a lock fork waits for allocates
 *     fork_exec learn N LIBRARY   N children forked while four threads allocate from ever other places;
 *                                 before each, the library is opened and closed
 *
 * Each process that prints a truth puts its pid before it: `pid PID`. */
#include "truth.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

#define INHERITED 1000u
static void *inherited[INHERITED];
static struct truth before, child_truth;

NOINLINE static void *site_before_fork(void)
{
    void *block = malloc(100);
    keep(block);
    return block;
}

NOINLINE static void *site_in_child(size_t size)
{
    void *block = malloc(size);
    keep(block);
    return block;
}

static void check_status(pid_t pid, int wanted)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != wanted)
        die("a child ended with %#x", status);
}

static void say_pid(void)
{
    say("pid %d\n", (int)getpid());
}

NOINLINE static void child(unsigned number)
{
    for (unsigned i = 0; i < INHERITED; i += 2) {
        free(inherited[i]);
        truth_free(&before, 100);
    }
    for (unsigned i = 0; i <= number; i++) {
        site_in_child(500);
        truth_alloc(&child_truth, 500);
    }
    say_pid();
    truth_say("site_before_fork", "leaf", &before);
    truth_say("site_in_child", "leaf", &child_truth);
    exit(0);
}

static void run_fork(unsigned count)
{
    for (unsigned i = 0; i < INHERITED; i++) {
        inherited[i] = site_before_fork();
        truth_alloc(&before, 100);
    }
    for (unsigned i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork failed");
        if (pid == 0)
            child(i);
        check_status(pid, 0);
    }
    say_pid();
    truth_say("site_before_fork", "leaf", &before);
    truth_say("site_in_child", "leaf", &child_truth);
}

static void *allocate_for_ever(void *unused)
{
    (void)unused;
    for (size_t i = 0;; i++)
        free(site_before_fork());
    return NULL;
}

static void run_storm(unsigned count)
{
    pthread_t thread;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&thread, NULL, allocate_for_ever, NULL) != 0)
            die("no thread");
    for (unsigned i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int j = 0; j < 50; j++)
                free(site_in_child(200));
            _exit(0);
        }
        check_status(pid, 0);
    }
    say("done\n");
    exit(0);
}

static void run_exec(char **argv)
{
    unsigned depth = (unsigned)strtoul(argv[2], NULL, 10);
    site_in_child(500);
    if (depth == 0)
        exit(0);
    char less[16];
    snprintf(less, sizeof(less), "%u", depth - 1);
    if (getenv("SNAPSHOT_FIRST")) { /* leave a profile of this round behind */
        raise(SIGUSR1);
        usleep(300000);
    }
    execv(argv[0], (char *[]){argv[0], argv[1], less, NULL});
    die("exec failed");
}

static void run_spawn(char **argv, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pid_t pid;
        if (posix_spawn(&pid, argv[0], NULL, NULL, (char *[]){argv[0], "exec", "0", NULL},
                        environ) != 0)
            die("posix_spawn failed");
        check_status(pid, 0);
    }
}

/* fflush(NULL) has stdio's list of files locked while it calls this; fork waits for that list. */
static uint32_t is_flushing;

static ssize_t write_slowly(void *cookie, const char *text, size_t size)
{
    (void)cookie, (void)text;
    __atomic_store_n(&is_flushing, 1, __ATOMIC_RELEASE);
    usleep(50000);
    for (int i = 0; i < 100; i++)
        free(site_in_child(1));
    return (ssize_t)size;
}

static void *flush_all(void *unused)
{
    FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_slowly});
    if (file == NULL || fputs("text", file) < 0 || fflush(NULL) != 0)
        die("no file");
    fclose(file);
    return unused;
}

static void run_locks(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pthread_t thread;
        is_flushing = 0;
        if (pthread_create(&thread, NULL, flush_all, NULL) != 0)
            die("no thread");
        while (!__atomic_load_n(&is_flushing, __ATOMIC_ACQUIRE))
            usleep(1000);
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        check_status(pid, 0);
        pthread_join(thread, NULL);
    }
    say("done\n");
}

/* Many places that allocate, 16 bytes each. Their unwind table is right where they call. */
#define PLACES "8000"
void allocate_at(void);
__attribute__((used, noinline)) void allocate_at(void)
{
    free(site_before_fork());
}
__asm__(".text\n"
        ".p2align 4\n"
        ".type places, @function\n"
        "places:\n"
        ".cfi_startproc\n"
        ".cfi_def_cfa_offset 16\n"
        ".rept " PLACES "\n"
        ".p2align 4\n"
        "sub $8, %rsp\n"
        "call allocate_at\n"
        "add $8, %rsp\n"
        "ret\n"
        ".endr\n"
        ".cfi_endproc\n"
        ".size places, . - places\n");
extern const char places[] __attribute__((visibility("hidden")));

static void allocate_from(unsigned place)
{
    uintptr_t code = (uintptr_t)places + 16 * (place % (unsigned)strtoul(PLACES, NULL, 10));
    void (*function)(void);
    memcpy(&function, &code, sizeof(function));
    function();
}

static void *allocate_everywhere(void *first)
{
    for (unsigned i = (unsigned)(uintptr_t)first;; i++)
        allocate_from(i * 7);
    return NULL;
}

static void run_learn(unsigned count, const char *path)
{
    pthread_t thread;
    for (uintptr_t i = 0; i < 4; i++)
        if (pthread_create(&thread, NULL, allocate_everywhere, (void *)(i * 1000)) != 0)
            die("no thread");
    for (unsigned i = 0; i < count; i++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL || dlclose(library) != 0)
            die("%s", dlerror());
        pid_t pid = fork();
        if (pid == 0) {
            for (unsigned j = 0; j < 50; j++)
                allocate_from(i * 50 + j);
            _exit(0);
        }
        check_status(pid, 0);
    }
    say("done\n");
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: fork_exec fork|storm|exec|spawn|locks|learn N");
    unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
    if (strcmp(argv[1], "fork") == 0)
        run_fork(n);
    else if (strcmp(argv[1], "storm") == 0)
        run_storm(n);
    else if (strcmp(argv[1], "exec") == 0)
        run_exec(argv);
    else if (strcmp(argv[1], "locks") == 0)
        run_locks(n);
    else if (strcmp(argv[1], "learn") == 0 && argc > 3)
        run_learn(n, argv[3]);
    else
        run_spawn(argv, n);
    return 0;
}
