/* heaptap.h: a sampling heap profiler inside your program.
 *
 *     cc server.c $(pkg-config --cflags --libs heaptap)
 *     kill -USR1 PID
 *     go tool pprof -http=: heaptap.server.PID.1.pb.gz
 *
 * A program that links heaptap is profiled from its first allocation on; it need not call anything.
 * The environment (HEAPTAP_INTERVAL, HEAPTAP_OUTPUT and others, see heaptap(1)) says how. These
 * functions are for programs that want to decide themselves:
 *
 *     heaptap_set_interval(64 * 1024);
 *     int r = heaptap_snapshot("/var/tmp/before-reload.pb.gz");
 *     if (r < 0)
 *         log("no heap profile: %s", strerror(-r));
 *
 * Functions return 0, or a negative errno value; they leave errno alone. Any thread may call them,
 * but not a signal handler, and not the child of vfork. They keep no pointer that they are given.
 * -EEXIST: the process has another copy of heaptap, which is in front of this one. */
#ifndef HEAPTAP_H
#define HEAPTAP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0". For ever valid. */
const char *heaptap_version(void);

/* Sampling on, at the interval that was last set, or HEAPTAP_INTERVAL says (512 KiB by default);
 * and off. What was sampled stays known: blocks are still forgotten when they are freed. The
 * calling thread notices at once, others at their next sample, or within 16 MiB of allocation where
 * sampling was off. */
int heaptap_start(void);
int heaptap_stop(void);

/* Mean gap between two sampled bytes, in bytes: 1 records every allocation, 0 is heaptap_stop().
 * HEAPTAP_INTERVAL_AUTO has the profiler choose it, and go on choosing, so that what samples take
 * stays within HEAPTAP_BUDGET. Profiles stay unbiased, since each sample is weighed with the
 * interval it was taken with. -EINVAL above 1 TiB; -ENOSPC after 254 different values besides 1 in
 * one process. */
int heaptap_set_interval(uint64_t bytes);
#define HEAPTAP_INTERVAL_AUTO (UINT64_MAX - 1)

/* Writes a profile: gzipped pprof. `path` is replaced if it exists, but never left half written;
 * NULL stands for the next name of HEAPTAP_OUTPUT, which never replaces a file. Takes milliseconds;
 * other threads go on. -ENOENT, -EACCES, -ENOSPC ... of the file; -EEXIST when `path` is a
 * directory, a pipe or a device; -ENAMETOOLONG; -ENOMEM; -EDEADLK when called while this thread is
 * writing one; -EBUSY when another has not come to its end within 10 seconds; -EPERM when a seccomp
 * filter of the program would end it for that. */
int heaptap_snapshot(const char *path);

/* The same, to a descriptor of yours (file, pipe or socket, blocking). It stays open. -EBADF. */
int heaptap_snapshot_fd(int fd);

/* What the profiler has seen and what it costs. Counters only grow, but for those "now". */
struct heaptap_statistics {
    uint64_t interval_bytes; /* now; 0: off */
    uint64_t samples;        /* allocations recorded */
    uint64_t live_samples;   /* of them not freed, now */
    uint64_t stacks;         /* different ones */
    uint64_t dropped;      /* allocations that should have been recorded and could not be, fully */
    uint64_t profiles;     /* written */
    uint64_t memory_bytes; /* mapped by the profiler, now */
    uint64_t memory_limit_bytes;
};

/* Fills `statistics`, of which the caller's compiler knows `size` bytes: later versions add members
 * at the end, and the macro below passes the size that you were compiled with. -EINVAL for NULL. */
int heaptap_statistics_sized(struct heaptap_statistics *statistics, uint64_t size);
#define heaptap_statistics(statistics) heaptap_statistics_sized(statistics, sizeof(*(statistics)))

#ifdef __cplusplus
}
#endif

#endif
