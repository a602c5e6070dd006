#include "control/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "control/comments.h"
#include "control/keep.h"
#include "control/names.h"
#include "control/tell.h"
#include "report/lifetimes.h"
#include "report/pprof.h"
#include "report/tables.h"
#include "sample/exact.h"
#include "sample/live.h"
#include "sample/record.h"
#include "sys/arena.h"
#include "sys/lock.h"
#include "sys/message.h"

#include "sys/poison.h"

/* Another number, or another ending, where a name is taken. */
#define ATTEMPTS 10000u

/* dump_lock: rank HT_RANK_DUMP, one profile at a time. shared_lock is held besides while a thread
 * that shares the program's descriptors writes: a fork waits for it, or the child would inherit
 * ours. Neither is waited for for ever: a profile may go to a pipe that nobody reads, or whose
 * reader is the very thread that forks or ends the process. */
#define PATIENCE_NANOS INT64_C(10000000000)
static struct ht_lock dump_lock, shared_lock;
static HT_THREAD_LOCAL bool fork_has_lock;
static pid_t writer; /* thread that holds dump_lock */
static uint64_t number;
static uint64_t written;
static const struct ht_config *config;
static uint64_t process; /* names this process in its profiles */
static HT_THREAD_LOCAL bool private_descriptors;

static void name_process(void)
{
    if (!ht_os_random(&process, sizeof(process)))
        process = (uint64_t)ht_os_wall_nanos() << 20 ^ (uint64_t)ht_os_pid();
}

void ht_dump_start(const struct ht_config *new_config)
{
    name_process();
    config = new_config;
    ht_names_start(config->output);
    ht_keep_start(config->keep * (config->lifetimes ? 2 : 1));
}

uint64_t ht_dump_count(void)
{
    return __atomic_load_n(&written, __ATOMIC_RELAXED);
}

void ht_dump_set_private(bool is_private)
{
    private_descriptors = is_private;
}

/* ---- one profile ---- */

struct want {
    const char *path; /* NULL: the next name */
    int fd;           /* >= 0: this descriptor */
    const uint32_t *nonces;
    unsigned nonce_count;
    bool is_last;   /* the program ends */
    bool lifetimes; /* and that profile, too */
};

struct dump {
    struct want want;
    bool is_lifetimes; /* it is that one's turn */
    bool is_named;     /* the file has its temporary name while it is written */
    struct ht_telling telling;
    struct ht_snapshot snapshot;
    char final[HT_PATH_MAX], temporary[HT_PATH_MAX];
};

static int encode(struct dump *dump, int fd)
{
    ht_exact_settle();
    ht_live_settle();
    if (dump->is_lifetimes)
        ht_snapshot_of_lifetimes(&dump->snapshot);
    else
        ht_snapshot_of_tables(&dump->snapshot);
    dump->snapshot.process = process;
    ht_comments_add(&dump->snapshot, !dump->want.is_last);
    int64_t began = ht_os_thread_cpu_nanos();
    int r = ht_pprof_encode(&dump->snapshot, fd, &dump->telling.totals);
    ht_comments_count_dump(ht_os_thread_cpu_nanos() - began);
    return r;
}

/* ---- its file ---- */

/* A profile is written to a file without a name, and gets its name when it is complete: whatever
 * ends the process, nothing half is left. Where there are no such files it has a temporary name,
 * beside the final one. */
static int open_file(struct dump *dump)
{
    int r = ht_names_temporary(dump->final, number, dump->temporary, sizeof(dump->temporary));
    if (r < 0)
        return r;
    if (!dump->is_named) {
        char *name = strrchr(dump->temporary, '/');
        HT_ASSERT(name != NULL);
        char after = name[1];
        name[1] = 0; /* the directory, for a moment */
        int fd = ht_os_create_unnamed(dump->temporary, 0600);
        name[1] = after;
        if (fd >= 0)
            return fd;
    }
    dump->is_named = true;
    int fd = ht_os_create(dump->temporary, 0600);
    if (fd == -EEXIST) { /* left by a process of the same number that was killed */
        ht_os_unlink(dump->temporary);
        fd = ht_os_create(dump->temporary, 0600);
    }
    return fd;
}

static int publish_new(struct dump *dump, int fd)
{
    return dump->is_named ? ht_os_rename_new(dump->temporary, dump->final)
                          : ht_os_name(fd, dump->final);
}

/* The next name that is not taken. A device, a pipe or a directory at the very name that was given
 * is a mistake. */
static int publish_next(struct dump *dump, int fd)
{
    int r = publish_new(dump, fd);
    if (dump->is_lifetimes)
        return r;
    if (r == -EEXIST && !ht_names_have_number() && ht_os_is_special(dump->final))
        return r;
    for (unsigned attempt = 1; r == -EEXIST && attempt <= ATTEMPTS; attempt++) {
        if (ht_names_have_number())
            r = ht_names_profile(++number, 0, dump->final, sizeof(dump->final));
        else
            r = ht_names_profile(number, attempt, dump->final, sizeof(dump->final));
        if (r == 0)
            r = publish_new(dump, fd);
    }
    return r;
}

/* Never over a device: root would replace /dev/null. */
static int publish_over(struct dump *dump, int fd)
{
    int r = ht_os_is_special(dump->final) ? -EEXIST : 0;
    if (r < 0)
        return r;
    if (!dump->is_named) {
        r = ht_os_name(fd, dump->temporary);
        if (r == -EEXIST) {
            ht_os_unlink(dump->temporary);
            r = ht_os_name(fd, dump->temporary);
        }
    }
    if (r == 0) {
        r = ht_os_rename_over(dump->temporary, dump->final);
        if (r < 0)
            ht_os_unlink(dump->temporary);
    }
    return r;
}

static int write_file(struct dump *dump)
{
    int fd = open_file(dump);
    if (fd < 0)
        return fd;
    int r = encode(dump, fd);
    bool is_whole = r == 0;
    if (is_whole)
        r = dump->want.path != NULL ? publish_over(dump, fd) : publish_next(dump, fd);
    ht_os_close(fd);
    if (r < 0 && dump->is_named)
        ht_os_unlink(dump->temporary); /* half a profile is worse than none */
    if (r < 0 && r != -EEXIST && is_whole && !dump->is_named) {
        dump->is_named = true; /* it could not be named: no /proc, for one */
        return write_file(dump);
    }
    return r;
}

static int write_next(struct dump *dump)
{
    int r = ht_names_profile(++number, 0, dump->final, sizeof(dump->final));
    if (r == 0)
        r = write_file(dump);
    if (r == 0)
        ht_keep_written(dump->final);
    return r;
}

/* Beside the profile that has just been written. Those that the settings ask for go with it when it
 * is too old; one that somebody asked for stays. */
static int write_lifetimes(struct dump *dump)
{
    dump->is_lifetimes = true;
    int r = ht_names_lifetimes(dump->final, sizeof(dump->final));
    if (r == 0)
        r = write_file(dump);
    if (r == 0 && config->lifetimes)
        ht_keep_written(dump->final);
    return r;
}

/* A path without a directory is in the current one. */
static int write_path(struct dump *dump)
{
    int n = snprintf(dump->final, sizeof(dump->final), "%s%s",
                     strchr(dump->want.path, '/') != NULL ? "" : "./", dump->want.path);
    return n >= 0 && (size_t)n < sizeof(dump->final) ? write_file(dump) : -ENAMETOOLONG;
}

static bool is_next(const struct dump *dump)
{
    return dump->want.path == NULL && dump->want.fd < 0;
}

static void tell(struct dump *dump, int r)
{
    dump->telling.path = dump->final;
    dump->telling.error = -r;
    ht_tell(config, &dump->telling, dump->want.nonces, dump->want.nonce_count);
}

static intptr_t write_on_stack(void *argument)
{
    struct dump *dump = argument;
    int r;
    if (dump->want.fd >= 0)
        r = encode(dump, dump->want.fd);
    else
        r = dump->want.path != NULL ? write_path(dump) : write_next(dump);
    if (r == 0)
        __atomic_add_fetch(&written, 1, __ATOMIC_RELAXED);
    if (!is_next(dump))
        return r;
    tell(dump, r);
    if (r == 0 && (config->lifetimes || dump->want.lifetimes))
        tell(dump, write_lifetimes(dump));
    return r;
}

/* ---- around it ---- */

#define STACK_SIZE (HT_PPROF_STACK_SIZE + 64 * 1024)

/* The stack, and the dump itself at its end: two paths are more than the caller's stack may hold,
 * which can be that of a signal handler that ends the program. */
static int write_with_memory(const struct want *want)
{
    char *memory = ht_arena_map(STACK_SIZE + sizeof(struct dump));
    if (memory == NULL) {
        if (want->path == NULL && want->fd < 0)
            ht_message_warn("no profile: no memory to write it");
        return -ENOMEM;
    }
    struct dump *dump = (struct dump *)(memory + STACK_SIZE);
    dump->want = *want;
    int r = (int)ht_os_call_on_stack(write_on_stack, dump, memory + STACK_SIZE);
    ht_arena_unmap(memory, STACK_SIZE + sizeof(struct dump));
    return r;
}

static int write_profile(const struct want *want)
{
    pid_t self = ht_os_tid();
    if (__atomic_load_n(&writer, __ATOMIC_RELAXED) == self)
        return -EDEADLK; /* a signal handler of the program that interrupted us */
    if (config == NULL)
        return -EAGAIN;
    struct ht_record_pause pause = ht_record_pause();
    int saved = errno;
    int r = -EBUSY; /* a profile, or a fork, that does not come to its end */
    if (!ht_lock_take_within(&dump_lock, PATIENCE_NANOS)) {
        if (want->path == NULL && want->fd < 0)
            ht_message_warn("no profile: another one is being written, and does not end");
    } else {
        if (private_descriptors || ht_lock_take(&shared_lock)) {
            __atomic_store_n(&writer, self, __ATOMIC_RELAXED);
            r = write_with_memory(want);
            __atomic_store_n(&writer, 0, __ATOMIC_RELAXED);
            if (!private_descriptors)
                ht_lock_release(&shared_lock);
        }
        ht_lock_release(&dump_lock);
    }
    errno = saved;
    ht_record_resume(pause);
    return r;
}

int ht_dump_next(const uint32_t *nonces, unsigned nonce_count, bool lifetimes)
{
    return write_profile(&(struct want){
        .fd = -1, .nonces = nonces, .nonce_count = nonce_count, .lifetimes = lifetimes});
}

int ht_dump_last(void)
{
    return write_profile(&(struct want){.fd = -1, .is_last = true});
}

int ht_dump_next_name(char *ret_path, size_t size)
{
    return ht_names_profile(__atomic_load_n(&number, __ATOMIC_RELAXED) + 1, 0, ret_path, size);
}

int ht_dump_to_path(const char *path)
{
    return write_profile(&(struct want){.path = path, .fd = -1});
}

int ht_dump_to_fd(int fd)
{
    int saved = errno;
    int flags = fcntl(fd, F_GETFL);
    errno = saved;
    if (fd < 0 || flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    return write_profile(&(struct want){.fd = fd});
}

void ht_dump_fork_prepare(void)
{
    /* Unless this very thread is writing, and a hook of the C library forks. */
    fork_has_lock = __atomic_load_n(&writer, __ATOMIC_RELAXED) != ht_os_tid() &&
                    ht_lock_take_within(&shared_lock, HT_LOCK_PATIENCE_NANOS);
}

void ht_dump_fork_parent(void)
{
    if (fork_has_lock)
        ht_lock_release(&shared_lock);
}

void ht_dump_fork_child(void)
{
    ht_lock_reset(&shared_lock);
    ht_lock_reset(&dump_lock);
    ht_keep_fork_child();
    process ^= (uint64_t)ht_os_steady_nanos() << 20 ^
               (uint64_t)ht_os_pid(); /* no more system calls than must be */
    writer = 0;
    number = 0;
    written = 0;
}
