/* blocked: one thread stands still in the middle of something, and all others must go on.
 *
 *     blocked pipe PROFILE PLUGIN.so         a profile is written to a pipe that nobody reads
 *     blocked exit PROFILE                   the same, and the program ends
 *     blocked constructor PROFILE WAITING.so a library's constructor waits, under the loader's lock
 *     blocked callback PROFILE               a callback of dl_iterate_phdr() waits, under another
 *
 * Meanwhile new threads allocate from code that was never sampled before, and the program forks; in
 * the child of the fork a profile is written to PROFILE.child, and in the last two a thread has one
 * written to PROFILE. What hangs is ended by SIGALRM. */
#include "truth.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <heaptap.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define THREADS 4
#define STACKS  20000

static struct truth truth;
static const char *path;

/* ---- what goes on ---- */

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    truth_count(&truth, size);
    return block;
}

/* Functions of their own, called once each: their frames have to be learnt. */
#define FRESH(n)                                                                                   \
    NOINLINE static void *fresh_##n(size_t size)                                                   \
    {                                                                                              \
        void *block = site(size + n);                                                              \
        STAY();                                                                                    \
        return block;                                                                              \
    }
#define FOUR(a, f) f(a##0) f(a##1) f(a##2) f(a##3)
#define ALL(f)     FOUR(1, f) FOUR(2, f) FOUR(3, f) FOUR(4, f) FOUR(5, f) FOUR(6, f)
#define NAME(n)    fresh_##n,
ALL(FRESH)
static void *(*const fresh[])(size_t) = {ALL(NAME)};
#define FRESH_EACH 4

static void *work(void *number)
{
    void *(*const *mine)(size_t) = fresh + FRESH_EACH * (uintptr_t)number;
    for (size_t i = 0; i < FRESH_EACH; i++) {
        for (size_t size = 1; size < 2000; size++) {
            void *block = realloc(mine[i](size), size * 2);
            keep(block);
            free(block);
        }
    }
    return NULL;
}

static pthread_t start(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, argument) != 0)
        die("no thread");
    return thread;
}

static void fork_once(void)
{
    char name[4096];
    snprintf(name, sizeof(name), "%s.child", path);
    pid_t child = fork();
    if (child == 0) {
        free(site(77));
        int r = heaptap_snapshot(name);
        kill(getpid(), r == 0 ? SIGKILL : SIGTERM);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        die("no child");
    say("profile of a child: %s\n", WTERMSIG(status) == SIGKILL ? "written" : "failed");
}

static void go_on(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = start(work, (void *)i);
    work((void *)THREADS);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    say("threads\n");
    fork_once();
    say("set: %d\n", heaptap_set_interval(1));
}

/* ---- a pipe that nobody reads ---- */

static int ends[2];

static void *write_to_pipe(void *unused)
{
    say("to the pipe: %d\n", heaptap_snapshot_fd(ends[1]));
    close(ends[1]);
    return unused;
}

/* Enough different stacks that the profile fills the pipe while its samples are written. */
static void *even(unsigned number, unsigned levels);
static void *odd(unsigned number, unsigned levels);

static void *branch(unsigned number, unsigned levels)
{
    if (levels == 0)
        return site(100);
    return number & 1 ? odd(number >> 1, levels - 1) : even(number >> 1, levels - 1);
}

NOINLINE static void *even(unsigned number, unsigned levels)
{
    void *block = branch(number, levels);
    /* Neither a tail call nor a loop, nor the same function as the other. */
    __asm__ volatile("# even" : "+r"(block));
    return block;
}

NOINLINE static void *odd(unsigned number, unsigned levels)
{
    void *block = branch(number, levels);
    __asm__ volatile("# odd" : "+r"(block));
    return block;
}

static void load_and_unload(const char *plugin)
{
    void *library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library == NULL ? NULL : dlsym(library, "plugin_run");
    if (symbol == NULL)
        die("%s", dlerror());
    void *(*run)(size_t);
    memcpy(&run, &symbol, sizeof(symbol));
    free(run(100));
    say("closed: %d\n", dlclose(library));
}

static pthread_t fill_pipe(void)
{
    int waiting = 0;
    for (unsigned i = 0; i < STACKS; i++)
        free(even(i * 40503, 20)); /* odd, so all are different */
    if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[1], F_SETPIPE_SZ, 4096) < 0)
        die("no pipe");
    pthread_t writer = start(write_to_pipe, NULL);
    /* From now on it cannot come to its end. */
    while (ioctl(ends[0], FIONREAD, &waiting) == 0 && waiting == 0)
        usleep(1000);
    return writer;
}

static void run_pipe(const char *plugin)
{
    static char buffer[65536];
    pthread_t writer = fill_pipe();
    go_on();
    load_and_unload(plugin);
    say("in the pipe\n");
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
        if (write(file, buffer, (size_t)n) != n)
            die("no file");
    pthread_join(writer, NULL);
}

/* ---- the loader's locks ---- */

static int entered[2], leave[2];
static bool is_written;

static void *write_profile(void *unused)
{
    int r = heaptap_snapshot(path);
    __atomic_store_n(&is_written, true, __ATOMIC_RELEASE);
    say("profile: %d\n", r);
    return unused;
}

static void *load(void *library)
{
    if (dlopen(library, RTLD_NOW | RTLD_LOCAL) == NULL)
        die("%s", dlerror());
    return NULL;
}

static int wait_in_callback(struct dl_phdr_info *info, size_t size, void *unused)
{
    char byte = 'x';
    (void)info, (void)size, (void)unused;
    if (write(entered[1], &byte, 1) != 1 || read(leave[0], &byte, 1) != 1)
        die("no pipe");
    return 1;
}

static void *visit(void *unused)
{
    dl_iterate_phdr(wait_in_callback, NULL);
    return unused;
}

static void run_loader(void *(*function)(void *), char *library)
{
    char text[64], byte = 'x';
    if (pipe2(entered, 0) != 0 || pipe2(leave, 0) != 0)
        die("no pipes");
    snprintf(text, sizeof(text), "%d %d", entered[1], leave[0]);
    setenv("BLOCKED_FDS", text, 1);
    pthread_t blocked = start(function, library);
    if (read(entered[0], &byte, 1) != 1)
        die("no pipe");
    pthread_t writer = start(write_profile, NULL);
    go_on();
    /* Constructors run under a lock that a profile does not need. */
    while (library != NULL && !__atomic_load_n(&is_written, __ATOMIC_ACQUIRE))
        usleep(1000);
    if (write(leave[1], &byte, 1) != 1)
        die("no pipe");
    pthread_join(blocked, NULL);
    pthread_join(writer, NULL);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    path = argc > 2 ? argv[2] : NULL;
    alarm(40);
    if (strcmp(mode, "pipe") == 0 && argc == 4)
        run_pipe(argv[3]);
    else if (strcmp(mode, "exit") == 0)
        fill_pipe();
    else if (strcmp(mode, "constructor") == 0 && argc == 4)
        run_loader(load, argv[3]);
    else if (strcmp(mode, "callback") == 0)
        run_loader(visit, NULL);
    else
        die("usage: blocked pipe|exit|constructor|callback PROFILE [LIBRARY]");
    truth_say("site", "leaf", &truth);
    return 0;
}
