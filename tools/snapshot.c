#include "tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/config.h"
#include "control/request.h"

#include "ask.h"
#include "symbolizer.h"
#include "symbolizer_words.h"

#define LOOK_EVERY_MS 20
#define TIMEOUT       "30s"

struct snapshot {
    struct process process;
    int64_t every_nanos, timeout_nanos;
    const char *timeout; /* as it was given */
    uint64_t count;      /* 0: until the process ends */
    bool lifetimes, no_symbolize;
    struct report_file report;
    unsigned answers, errors;
    struct symbolizer symbolizer;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    interrupted = signal;
}

static int take_value(struct snapshot *snapshot, const char *option, const char *value)
{
    int r = -EINVAL;
    const char *allowed = "a time such as 10s, 200ms, 5m or 1h";
    if (value && strcmp(option, "--every") == 0) {
        r = ht_parse_duration(value, &snapshot->every_nanos);
    } else if (value && strcmp(option, "--timeout") == 0) {
        r = ht_parse_duration(value, &snapshot->timeout_nanos);
        snapshot->timeout = value;
    } else if (strcmp(option, "--count") == 0) {
        allowed = "a number from 1";
        r = value ? ht_parse_number(value, &snapshot->count) : -EINVAL;
        if (r == 0 && snapshot->count == 0)
            r = -EINVAL;
    }
    if (r == 0)
        return 0;
    if (!value)
        return say_usage("snapshot", "%s needs a value: %s", option, allowed);
    return say_usage("snapshot", "%s %s is refused: %s", option, value, allowed);
}

/* 0, or an exit status; *ret_done when there is nothing more to do. */
static int take_options(struct snapshot *snapshot, int argc, char **argv, bool *ret_done)
{
    static const char *const options[] = {"--every", "--count", "--timeout"};
    const char *process = NULL, *value;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *ret_done = true;
            return help_print("snapshot") ? 0 : EXIT_OURSELVES;
        }
        if (strcmp(argv[i], "--lifetimes") == 0) {
            snapshot->lifetimes = true;
            continue;
        }
        if (strcmp(argv[i], "--no-symbolize") == 0) {
            snapshot->no_symbolize = true;
            continue;
        }
        size_t known = 0;
        while (known < HT_ARRAY_SIZE(options) && !option_is(argv, &i, options[known], &value))
            known++;
        if (known < HT_ARRAY_SIZE(options)) {
            int r = take_value(snapshot, options[known], value);
            if (r != 0)
                return r;
        } else if (argv[i][0] == '-') {
            return say_usage("snapshot", "%s is not an option of heaptap snapshot", argv[i]);
        } else if (process) {
            return say_usage("snapshot", "one process at a time: %s or %s", process, argv[i]);
        } else {
            process = argv[i];
        }
    }
    if (!process)
        return say_usage("snapshot", "no process is named");
    uint64_t pid;
    if (ht_parse_number(process, &pid) < 0 || pid == 0 || pid > INT32_MAX)
        return say_usage("snapshot", "%s is not the number of a process", process);
    snapshot->process.pid = (pid_t)pid;
    if (snapshot->count && !snapshot->every_nanos)
        return say_usage("snapshot", "--count needs --every");
    if (!snapshot->count && !snapshot->every_nanos)
        snapshot->count = 1;
    return 0;
}

/* Whether there is somebody to ask. 0, or an exit status. */
static int check_process(struct snapshot *snapshot)
{
    struct process *process = &snapshot->process;
    int r = process_open_patiently(process);
    if (r != 0 || process->collector)
        return r;
    if (!process->has_heaptap)
        say("heaptap is not in process %d (%s): start it with heaptap run or LD_PRELOAD",
            process->pid, process->name);
    else
        say("process %d (%s) has heaptap in it, but not its thread, which writes profiles: "
            "HEAPTAP_SIGNAL is none, or it is the child of a fork that has not allocated yet; see "
            "heaptap doctor %d",
            process->pid, process->name, process->pid);
    return 1;
}

/* Signals wait meanwhile; those from the terminal end it, and the profile stays as it is. */
static void symbolize(struct snapshot *snapshot, const char *path)
{
    struct symbolized result;
    if (snapshot->no_symbolize || access(path, F_OK) < 0 ||
        symbolizer_file(&snapshot->symbolizer, path, path, &result) < 0)
        return;
    for (size_t i = 0; i < result.object_count && snapshot->answers == 1; i++)
        symbolizer_complain(&result.objects[i]);
    symbolized_free(&result);
}

static void hear_of_profile(void *context, const struct report *report)
{
    struct snapshot *snapshot = context;
    snapshot->answers++;
    if (*report->error) {
        snapshot->errors++;
        say("process %d could not write %s: %s", report->pid, report->path, report->error);
    } else {
        symbolize(snapshot, report->path);
        printf("%s: %s\n", report->path, report_numbers(report));
        fflush(stdout);
    }
}

/* Says what it may mean that nothing came back. */
static void say_silence(const struct snapshot *snapshot)
{
    const struct process *process = &snapshot->process;
    say("no profile from process %d (%s) within %s: it is stopped, does not see our /tmp, or a "
        "seccomp filter forbids it; see heaptap doctor %d",
        process->pid, process->name, snapshot->timeout, process->pid);
}

static int64_t steady_nanos(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Sleeps, but not longer than the process lives. True when it is still there. */
static bool process_lives_until(const struct process *process, int64_t when_nanos)
{
    int64_t left = when_nanos - steady_nanos();
    if (left < 0)
        left = 0;
    struct timespec timeout = {left / 1000000000, left % 1000000000};
    struct pollfd fd = {.fd = process->fd, .events = POLLIN};
    sigset_t none;
    sigemptyset(&none);
    return ppoll(&fd, 1, &timeout, &none) <= 0;
}

/* What was asked for has come, or what went wrong. */
static bool is_answered(const struct snapshot *snapshot, unsigned answers, unsigned errors)
{
    return snapshot->answers >= answers + 1 + snapshot->lifetimes || snapshot->errors > errors;
}

/* One profile: 0, or an exit status. */
static int ask(struct snapshot *snapshot)
{
    struct process *process = &snapshot->process;
    unsigned answers = snapshot->answers, errors = snapshot->errors;
    int64_t end = steady_nanos() + snapshot->timeout_nanos;
    int r = ask_send(process, snapshot->lifetimes ? HT_REQUEST_LIFETIMES : HT_REQUEST_PROFILE, NULL,
                     false, &snapshot->report);
    if (r < 0)
        return 1;
    bool lives = true;
    while (!is_answered(snapshot, answers, errors) && lives && !interrupted) {
        int64_t now = steady_nanos();
        if (now >= end)
            break;
        lives = process_lives_until(
            process, (int64_t)ht_min((uint64_t)end, (uint64_t)now + LOOK_EVERY_MS * 1000000));
        report_file_read(&snapshot->report, hear_of_profile, snapshot);
    }
    report_file_remove(&snapshot->report);
    if (!is_answered(snapshot, answers, errors) && !interrupted) {
        if (lives)
            say_silence(snapshot);
        else
            say("process %d (%s) ended before the profile was written", process->pid,
                process->name);
        r = 1;
    }
    return r;
}

static int ask_repeatedly(struct snapshot *snapshot)
{
    const struct process *process = &snapshot->process;
    int64_t due = steady_nanos();
    int r = 0;
    for (uint64_t i = 0; (snapshot->count == 0 || i < snapshot->count) && !interrupted; i++) {
        if (!process_lives_until(process, due)) {
            if (snapshot->count == 0)
                break;
            say("process %d (%s) ended after %llu of %llu profiles", process->pid, process->name,
                (unsigned long long)i, (unsigned long long)snapshot->count);
            return 1;
        }
        if (interrupted)
            break;
        r = ask(snapshot);
        if (r != 0)
            break;
        /* A profile that took longer than the time between two does not let them pile up. */
        due += snapshot->every_nanos;
        int64_t now = steady_nanos();
        if (due < now)
            due = now;
    }
    if (interrupted)
        return 128 + interrupted;
    return r != 0 ? r : snapshot->errors > 0;
}

int snapshot_command(int argc, char **argv)
{
    static struct snapshot snapshot;
    bool done = false;
    take_value(&snapshot, "--timeout", TIMEOUT);
    int r = take_options(&snapshot, argc, argv, &done);
    if (r != 0 || done)
        return r;

    /* These are let in only while we wait, so that our file in /tmp is always removed. */
    struct sigaction action = {.sa_handler = interrupt};
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int *signal = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGPIPE, 0}; *signal;
         signal++) {
        sigaction(*signal, &action, NULL);
        sigaddset(&blocked, *signal);
    }
    sigprocmask(SIG_BLOCK, &blocked, NULL);

    r = check_process(&snapshot);
    if (r != 0)
        return r;
    snapshot.symbolizer.processes = symbolizer_processes();
    r = ask_repeatedly(&snapshot);
    symbolizer_free(&snapshot.symbolizer);
    return r;
}
