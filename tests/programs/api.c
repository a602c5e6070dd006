/* api.c: uses every function of heaptap.h. `api DIRECTORY [MS]` writes profiles there and prints
 * what it found, one `name value` a line; tests/whole/test_api.py knows what is right. MS is the
 * time that the last part, with four threads at once, takes. Compiled as C and, by api.cc, as
 * C++. */
#include "truth.h"

#include <heaptap.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BLOCKS 1000u
static void *blocks[BLOCKS];
static struct truth first, restarted;

NOINLINE static void *site_api(void)
{
    void *block = malloc(48);
    keep(block);
    return block;
}

NOINLINE static void *site_stopped(void)
{
    void *block = malloc(777);
    keep(block);
    return block;
}

NOINLINE static void *site_restarted(size_t size)
{
    void *block = malloc(size);
    keep(block);
    return block;
}

NOINLINE static void *site_sampled(void)
{
    void *block = malloc(1000);
    keep(block);
    return block;
}

static void tell(const char *name, long long value)
{
    say("%s %lld\n", name, value);
}

/* DIRECTORY/name */
static const char *in(const char *directory, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void tell_statistics(const char *when)
{
    struct heaptap_statistics s;
    char name[64];
    int r = heaptap_statistics(&s);
    snprintf(name, sizeof(name), "%s.result", when);
    tell(name, r);
    say("%s.interval %llu\n", when, (unsigned long long)s.interval_bytes);
    say("%s.samples %llu\n", when, (unsigned long long)s.samples);
    say("%s.live %llu\n", when, (unsigned long long)s.live_samples);
    say("%s.dropped %llu\n", when, (unsigned long long)s.dropped);
    say("%s.profiles %llu\n", when, (unsigned long long)s.profiles);
    say("%s.memory_fits %d\n", when, s.memory_bytes > 0 && s.memory_bytes <= s.memory_limit_bytes);
}

/* A snapshot into a descriptor of each kind. */
static void to_descriptors(const char *directory)
{
    int fd = open(in(directory, "fd.pb.gz"), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    tell("fd.file", heaptap_snapshot_fd(fd));
    tell("fd.still_open", fcntl(fd, F_GETFD) >= 0);
    close(fd);

    /* More than a pipe holds may come: somebody has to read it. */
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        die("no socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        int out = open(in(directory, "socket.pb.gz"), O_CREAT | O_EXCL | O_WRONLY, 0600);
        char buffer[4096];
        for (ssize_t n; (n = read(ends[1], buffer, sizeof(buffer))) > 0;)
            if (write(out, buffer, (size_t)n) != n)
                _exit(1);
        kill(getpid(), SIGKILL); /* no profile of this child */
    }
    close(ends[1]);
    tell("fd.socket", heaptap_snapshot_fd(ends[0]));
    close(ends[0]);
    waitpid(pid, NULL, 0);

    int read_only = open("/dev/null", O_RDONLY);
    int full = open("/dev/full", O_WRONLY);
    tell("fd.none", heaptap_snapshot_fd(-1));
    tell("fd.closed", heaptap_snapshot_fd(777));
    tell("fd.read_only", heaptap_snapshot_fd(read_only));
    tell("fd.full", heaptap_snapshot_fd(full));
    close(read_only);
    close(full);
    /* Nobody reads: no SIGPIPE for the program. */
    if (pipe(ends) != 0)
        die("no pipe");
    close(ends[0]);
    tell("fd.broken_pipe", heaptap_snapshot_fd(ends[1]));
    close(ends[1]);
}

static void to_paths(const char *directory)
{
    static char long_path[8192];
    memset(long_path, 'x', sizeof(long_path) - 1);
    tell("path.file", heaptap_snapshot(in(directory, "path.pb.gz")));
    tell("path.again", heaptap_snapshot(in(directory, "path.pb.gz")));
    tell("path.missing", heaptap_snapshot("/nonexistent/directory/x.pb.gz"));
    tell("path.directory", heaptap_snapshot(directory));
    tell("path.empty", heaptap_snapshot(""));
    tell("path.too_long", heaptap_snapshot(long_path));
    tell("path.not_a_directory", heaptap_snapshot("/dev/null/x.pb.gz"));
    if (symlink("/dev/null", in(directory, "null")) != 0 ||
        mkfifo(in(directory, "fifo"), 0600) != 0)
        die("no link");
    tell("path.device", heaptap_snapshot(in(directory, "null")));
    tell("path.fifo", heaptap_snapshot(in(directory, "fifo")));
    char target[16];
    tell("path.link", (int)readlink(in(directory, "null"), target, sizeof(target)));
    unlink(in(directory, "null"));
    unlink(in(directory, "fifo"));
    tell("path.next_name", heaptap_snapshot(NULL));
}

static void stop_and_start(const char *directory)
{
    tell("stop", heaptap_stop());
    tell("stop.twice", heaptap_stop());
    for (unsigned i = 0; i < 500; i++)
        site_stopped();
    for (unsigned i = 0; i < BLOCKS; i += 2) { /* sampled before, freed while off */
        free(blocks[i]);
        truth_free(&first, 48);
    }
    tell_statistics("stopped");
    tell("start", heaptap_start());
    for (unsigned i = 0; i < 1024; i++) { /* 64 MiB: noticed after 16 at the latest */
        keep(site_restarted(65536));
        truth_alloc(&restarted, 65536);
    }
    tell("restarted", heaptap_snapshot(in(directory, "restarted.pb.gz")));
}

static void change_interval(const char *directory)
{
    tell("interval.64k", heaptap_set_interval(65536));
    tell_statistics("interval");
    for (unsigned i = 0; i < 64 * 1024; i++)
        keep(site_sampled());
    tell("interval.snapshot", heaptap_snapshot(in(directory, "interval.pb.gz")));
    tell("interval.absurd", heaptap_set_interval(UINT64_MAX));
    tell("interval.too_large", heaptap_set_interval(((uint64_t)1 << 40) + 1));
    tell("interval.largest", heaptap_set_interval((uint64_t)1 << 40));
    tell("interval.auto", heaptap_set_interval(HEAPTAP_INTERVAL_AUTO));
    tell("interval.zero", heaptap_set_interval(0));
    tell("interval.one", heaptap_set_interval(1));
}

static const char *shared_directory;
static unsigned pause_micros;

static void *snapshot_often(void *argument)
{
    long index = (long)argument;
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof(name), "parallel-%ld-%d.pb.gz", index, i);
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", shared_directory, name);
        int r = heaptap_snapshot(path);
        if (r != 0)
            die("%s: %d", name, r);
        free(site_stopped());
        usleep(pause_micros);
    }
    return NULL;
}

static void in_parallel(const char *directory)
{
    pthread_t threads[4];
    shared_directory = directory;
    for (long i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, snapshot_often, (void *)i) != 0)
            die("no thread");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    tell("parallel", 20);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: api DIRECTORY");
    const char *directory = argv[1];
    pause_micros = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) * 200 : 0;
    say("version %s\n", heaptap_version());
    tell("set_interval", heaptap_set_interval(1));
    tell("start.running", heaptap_start());
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = site_api();
        truth_alloc(&first, 48);
    }
    errno = 1234;
    tell_statistics("first");
    tell("statistics.null", heaptap_statistics_sized(NULL, 64));
    to_paths(directory);
    to_descriptors(directory);
    truth_say("first:site_api", "leaf", &first);
    stop_and_start(directory);
    truth_say("restarted:site_api", "leaf", &first);
    truth_say("restarted:site_restarted", "leaf", &restarted);
    change_interval(directory);
    in_parallel(directory);
    tell("errno", errno);
    return 0;
}
