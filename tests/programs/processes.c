/* processes.c: what programs do with processes, descriptors and limits. Each prints what it sees.
 *
 *     processes double          fork, fork again, the child in between ends
 *     processes daemon          daemon(0, 0); tells through a pipe
 *     processes close FILE...   closes every descriptor, opens the files, allocates; their content is its own
 *     processes chroot DIR      chroot(DIR), for root
 *     processes space           RLIMIT_AS that soon is reached
 *     processes few             RLIMIT_NOFILE of 4
 *     processes size FILE       RLIMIT_FSIZE of 0
 *     processes locked          mlockall(), where all that it has just fits RLIMIT_MEMLOCK
 *     processes nobody          setuid(65534), for root
 *     processes empty PROGRAM   executes it with an empty environment
 *     processes spawn N         posix_spawn, N times
 *     processes vfork N         vfork and exec, N times
 *     processes clone N         clone(CLONE_VM | CLONE_VFORK) of a child that allocates nothing
 *     processes numbers N       open() gives the same number always, in another thread too, while N SIGUSR1
 * come */
#include "truth.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    return block;
}

NOINLINE static void allocate(void)
{
    for (size_t i = 1; i <= 200; i++)
        free(realloc(site(i * 10), i * 20));
    keep(site(4096)); /* held to the end */
}

static void wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("a child ended with %#x", status);
}

/* A pipe that says when every process that holds its other end is gone. */
static int end_pipe(int *ret_writing)
{
    int ends[2];
    if (pipe(ends) != 0)
        die("no pipe");
    *ret_writing = ends[1];
    return ends[0];
}

static void wait_for_end(int reading, int writing)
{
    char text[256];
    ssize_t n;
    close(writing);
    while ((n = read(reading, text, sizeof(text))) > 0)
        say("%.*s", (int)n, text);
}

static void tell(int writing, const char *text)
{
    if (write(writing, text, strlen(text)) < 0)
        _exit(3);
}

static void run_double(void)
{
    int writing, reading = end_pipe(&writing);
    allocate();
    pid_t child = fork();
    if (child == 0) {
        allocate();
        if (fork() == 0) {
            allocate();
            tell(writing, getppid() > 0 ? "grandchild\n" : "?\n");
            exit(0);
        }
        exit(0);
    }
    wait_for(child);
    wait_for_end(reading, writing);
}

static void run_daemon(void)
{
    int writing, reading = end_pipe(&writing);
    allocate();
    pid_t child = fork();
    if (child == 0) {
        if (daemon(0, 0) != 0)
            _exit(2);
        allocate();
        tell(writing, "daemon\n");
        char text[64];
        snprintf(text, sizeof(text), "next descriptor %d\n", open("/dev/null", O_RDONLY));
        tell(writing, text);
        exit(0);
    }
    wait_for(child);
    wait_for_end(reading, writing);
}

static void run_close(char **files)
{
    int out = fcntl(STDOUT_FILENO, F_DUPFD, 500);
    for (int fd = 0; fd < 1024; fd++)
        if (fd != out)
            close(fd);
    for (int i = 0; files[i] != NULL; i++) {
        int fd = open(files[i], O_RDWR | O_CREAT | O_APPEND, 0600);
        if (fd != i || write(fd, "mine\n", 5) != 5)
            _exit(4);
    }
    allocate();
    raise(SIGUSR1); /* no harm without us: the test has it ignored or handled */
    usleep(50000);
    allocate();
    for (int i = 0; files[i] != NULL; i++) {
        char text[64];
        ssize_t n = pread(i, text, sizeof(text), 0);
        if (n != 5 || lseek(i, 0, SEEK_CUR) != 5)
            _exit(5);
    }
    if (write(out, "untouched\n", 10) != 10)
        _exit(6);
}

static void limit(int what, rlim_t value)
{
    struct rlimit limits = {value, value};
    if (setrlimit(what, &limits) != 0)
        die("setrlimit: %s", strerror(errno));
}

static void run_space(void)
{
    void *blocks[64];
    unsigned count = 0;
    limit(RLIMIT_AS, (rlim_t)300 << 20);
    allocate();
    while (count < 64 && (blocks[count] = site((size_t)16 << 20)) != NULL)
        count++;
    say("%s\n", count < 64 && count > 4 ? "reached" : "not reached");
    for (size_t i = 0; i < 20000; i++) /* at the limit: nothing more can be mapped */
        free(site(i % 2000 + 1));
    while (count > 0)
        free(blocks[--count]);
    allocate();
}

static void run_few(void)
{
    limit(RLIMIT_NOFILE, 4);
    allocate();
    int fd = open("/dev/null", O_RDONLY);
    say("got %d, then %d\n", fd, open("/dev/null", O_RDONLY));
    allocate();
}

static void run_size(const char *file)
{
    limit(RLIMIT_FSIZE, 0);
    signal(SIGXFSZ, SIG_IGN);
    allocate();
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    ssize_t n = write(fd, "text", 4);
    say("write: %zd, %s\n", n, strerror(errno));
    struct sigaction action;
    sigaction(SIGXFSZ, NULL, &action);
    say("SIGXFSZ %s\n", action.sa_handler == SIG_IGN ? "ignored" : "something else");
}

static void run_spawn(char **argv, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pid_t pid;
        allocate();
        int r =
            posix_spawn(&pid, argv[0], NULL, NULL, (char *[]){argv[0], "nothing", NULL}, environ);
        if (r != 0)
            die("posix_spawn: %s", strerror(r));
        wait_for(pid);
    }
    pid_t pid;
    say("none: %s\n", strerror(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ)));
}

NOINLINE static void vfork_twice(char *const *arguments)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execv(arguments[0], arguments);
        _exit(1);
    }
    wait_for(pid);
    pid = vfork(); /* and one that ends without */
    if (pid == 0)
        _exit(0);
    wait_for(pid);
}

static void run_vfork(char **argv, unsigned count)
{
    char *const arguments[] = {argv[0], "nothing", NULL};
    for (unsigned i = 0; i < count; i++) {
        allocate();
        vfork_twice(arguments);
    }
    say("done\n");
}

static int child_of_clone(void *word)
{
    *(volatile int *)word += 1;
    return 0;
}

/* The child is another process in our memory. What it allocates is ours. */
static int allocating_child(void *unused)
{
    (void)unused;
    allocate();
    return 0;
}

static void run_clone(unsigned count)
{
    const size_t size = 65536;
    char *stack = off_heap(size);
    int word = 0;
    for (unsigned i = 0; i < count; i++) {
        int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
        pid_t pid = clone(i % 2 ? child_of_clone : allocating_child, stack + size, flags, &word);
        if (pid < 0)
            die("clone: %s", strerror(errno));
        wait_for(pid);
        allocate();
    }
    say("done %d\n", word);
}

/* ---- numbers of descriptors ---- */

static uint32_t is_over;

static void *open_and_close(void *wanted)
{
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd != *(int *)wanted) {
            say("open gave %d, not %d\n", fd, *(int *)wanted);
            break;
        }
        close(fd);
    }
    return NULL;
}

static void run_numbers(unsigned count)
{
    pthread_t thread;
    int wanted = open("/dev/null", O_RDONLY);
    say("first %d\n", wanted);
    close(wanted);
    if (pthread_create(&thread, NULL, open_and_close, &wanted) != 0)
        die("no thread");
    for (unsigned i = 0; i < count; i++) {
        allocate();
        kill(getpid(), SIGUSR1);
        usleep(20000);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    say("over\n");
}

/* Root may lock what it likes. */
static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capset, &header, data) != 0)
        die("capset failed");
}

static size_t status_kib(const char *name)
{
    static char status[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t size = read(fd, status, sizeof(status) - 1);
    close(fd);
    if (size < 0)
        die("no status");
    status[size] = 0;
    const char *line = strstr(status, name);
    return line != NULL ? strtoul(line + strlen(name), NULL, 10) : 0;
}

static void run_locked(void)
{
    const size_t size = (size_t)2 << 20, limit_size = (size_t)7 << 20;
    limit(RLIMIT_MEMLOCK, limit_size);
    drop_capabilities();
    say("mlockall: %d\n", mlockall(MCL_CURRENT | MCL_FUTURE));
    say("as much as that: %d\n", status_kib("VmLck:") >= 1000);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("mmap: %d\n", memory != MAP_FAILED);
    for (int i = 0; i < 20; i++)
        allocate();
    say("another: %d\n",
        mmap(NULL, 2 * size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    say("again: %d\n", mlockall(MCL_CURRENT | MCL_FUTURE));
    munmap(memory, size);
    say("no more: %d\n", mlockall(MCL_CURRENT));
    size_t before = status_kib("VmLck:");
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("what is mapped now is not locked: %d\n", status_kib("VmLck:") < before + 1000);
    munmap(memory, size);
    say("munlockall: %d\n", munlockall());
}

/* Whoever reads the processor's clock from now on is killed. Enough follows that each way to record
 * a block, and to forget it, is gone. */
static void run_clockless(void)
{
    allocate();
    if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) != 0)
        die("prctl: %s", strerror(errno));
    for (int i = 0; i < 3000; i++) {
        void *block = malloc(3000);
        keep(block);
        free(block);
        allocate();
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    const char *what = argc > 2 ? argv[2] : "";
    unsigned count = (unsigned)strtoul(what, NULL, 10);
    if (strcmp(mode, "double") == 0)
        run_double();
    else if (strcmp(mode, "daemon") == 0)
        run_daemon();
    else if (strcmp(mode, "close") == 0)
        run_close(argv + 2);
    else if (strcmp(mode, "chroot") == 0) {
        allocate();
        if (chroot(what) != 0 || chdir("/") != 0)
            die("chroot: %s", strerror(errno));
    } else if (strcmp(mode, "space") == 0)
        run_space();
    else if (strcmp(mode, "few") == 0)
        run_few();
    else if (strcmp(mode, "size") == 0)
        run_size(what);
    else if (strcmp(mode, "locked") == 0)
        run_locked();
    else if (strcmp(mode, "clockless") == 0)
        run_clockless();
    else if (strcmp(mode, "nobody") == 0) {
        allocate();
        if (setgid(65534) != 0 || setuid(65534) != 0)
            die("setuid: %s", strerror(errno));
    } else if (strcmp(mode, "empty") == 0)
        execve(what, (char *[]){(char *)(uintptr_t)what, "double", NULL}, (char *[]){NULL});
    else if (strcmp(mode, "spawn") == 0)
        run_spawn(argv, count);
    else if (strcmp(mode, "vfork") == 0)
        run_vfork(argv, count);
    else if (strcmp(mode, "clone") == 0)
        run_clone(count);
    else if (strcmp(mode, "numbers") == 0)
        run_numbers(count);
    allocate();
    if (strcmp(mode, "close") != 0 && strcmp(mode, "nothing") != 0)
        say("end of %s\n", mode);
    return 0;
}
