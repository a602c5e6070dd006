#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/config.h"

#include "report_file.h"
#include "symbolizer_process.h"
#include "target.h"
#include "watch.h"

struct run {
    char **arguments; /* the program's, argv[0] first */
    const char *name; /* of the program, without its directory */
    bool quiet, no_symbolize;
    struct ht_config config;
    struct report_file report;
    char directory
        [PATH_MAX]; /* ours, with a slash at its end; profiles in it are named without it */
    pid_t program;
    bool was_told_of_output; /* that profiles cannot be written was said before the start */
    unsigned written, failed;
    struct symbolizer_process symbolizer;
};

/* The environment of the program: what the options say, else what is there, else what `heaptap run`
 * wants. A wrong value that is there already is refused here and taken out, so that the library,
 * which would refuse it as well, finds none. */
static void complete_environment(struct run *run)
{
    ht_config_defaults(&run->config);
    for (size_t i = 0; i < HT_SETTING_COUNT; i++) {
        const struct ht_setting *setting = &ht_settings[i];
        char error[HT_CONFIG_ERROR_SIZE];
        const char *text = getenv(setting->name);
        if (text && ht_config_set(&run->config, setting, text, error, sizeof(error)) < 0) {
            say("%s", error);
            unsetenv(setting->name);
            text = NULL;
        }
        if ((!text || !*text) && setting->in_run) {
            setenv(setting->name, setting->in_run, 1);
            ht_config_set(&run->config, setting, setting->in_run, error, sizeof(error));
        }
    }
}

/* One option of the settings table; 0, -ENOENT when it is none, or an exit status. */
static int take_setting(struct run *run, char **argv, int *index)
{
    for (size_t i = 0; i < HT_SETTING_COUNT; i++) {
        const struct ht_setting *setting = &ht_settings[i];
        char error[HT_CONFIG_ERROR_SIZE];
        const char *value;
        if (!setting->option)
            continue;
        if (!setting->argument && strcmp(argv[*index], setting->option) == 0) {
            setenv(setting->name, setting->in_run ? "0" : "1", 1);
            return 0;
        }
        if (!setting->argument || !option_is(argv, index, setting->option, &value))
            continue;
        if (!value || !*value)
            return say_usage("run", "%s needs a value: %s", setting->option, setting->allowed);
        if (ht_config_set(&run->config, setting, value, error, sizeof(error)) < 0)
            return say_usage("run", "%s %s is refused: %s", setting->option, value,
                             setting->allowed);
        setenv(setting->name, value, 1);
        return 0;
    }
    return -ENOENT;
}

/* 0, or an exit status; *ret_done when there is nothing more to do. */
static int take_options(struct run *run, int argc, char **argv, bool *ret_done)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *ret_done = true;
            return help_print("run") ? 0 : EXIT_OURSELVES;
        }
        if (strcmp(argv[i], "--quiet") == 0) {
            run->quiet = true;
            continue;
        }
        if (strcmp(argv[i], "--no-symbolize") == 0) {
            run->no_symbolize = true;
            continue;
        }
        int r = take_setting(run, argv, &i);
        if (r == -ENOENT)
            return say_usage("run", "%s is not an option of heaptap run", argv[i]);
        if (r != 0)
            return r;
    }
    if (i >= argc)
        return say_usage("run", "no program is named");
    run->arguments = argv + i;
    const char *slash = strrchr(argv[i], '/');
    run->name = slash && slash[1] ? slash + 1 : argv[i];
    return 0;
}

/* Puts the library before what is preloaded already; 0 or an exit status. */
static int preload(void)
{
    char library[PATH_MAX];
    if (target_find_library(library) < 0) {
        say("libheaptap.so is neither beside this command nor in " HT_LIBDIR);
        return EXIT_OURSELVES;
    }
    if (strpbrk(library, " :")) {
        say("%s cannot be preloaded: the loader takes no space or colon in a path", library);
        return EXIT_OURSELVES;
    }
    const char *others = getenv("LD_PRELOAD");
    char *list = NULL;
    if (asprintf(&list, "%s%s%s", library, others && *others ? ":" : "", others ? others : "") < 0)
        return EXIT_OURSELVES;
    setenv("LD_PRELOAD", list, 1);
    free(list);
    return 0;
}

/* Says at once that profiles will not be written, rather than when the program has run for a day.
 * Only a directory whose name is the same for all profiles can be looked at. */
static void check_output(struct run *run)
{
    char directory[HT_CONFIG_TEXT_SIZE];
    struct stat status;
    if (!output_directory(run->config.output, directory, sizeof(directory)))
        return;

    const char *trouble = NULL;
    if (stat(directory, &status) < 0)
        trouble = strerror(errno);
    else if (!S_ISDIR(status.st_mode))
        trouble = strerror(ENOTDIR);
    else if (access(directory, W_OK | X_OK) < 0)
        trouble = strerror(errno);
    if (trouble)
        say("profiles cannot be written to %s: %s",
            strcmp(directory, ".") == 0 ? "this directory" : directory, trouble);
    run->was_told_of_output = trouble != NULL;
}

static void start_reports(struct run *run)
{
    int r = report_file_create(&run->report);
    if (r == 0)
        setenv("HEAPTAP_REPORT", run->report.path, 1);
    else
        say("cannot tell which profiles are written: %s: %s", run->report.path, strerror(-r));
    if (!getcwd(run->directory, sizeof(run->directory) - 1))
        run->directory[0] = 0;
    if (strcmp(run->directory, "/") != 0)
        strcat(run->directory, "/");
}

static void hear_of_profile(void *context, const struct report *report)
{
    struct run *run = context;
    const char *path = report->path;
    size_t length = strlen(run->directory);
    if (length > 1 && strncmp(path, run->directory, length) == 0)
        path += length;
    if (*report->error) {
        run->failed++;
        if (!run->was_told_of_output)
            say("could not write %s: %s", path, report->error);
    } else {
        run->written++;
        if (!run->quiet)
            say("wrote %s: %s", path, report_numbers(report));
        if (!run->no_symbolize)
            symbolizer_process_send(&run->symbolizer, report->path);
    }
}

static void say_start(const struct run *run)
{
    const struct ht_config *config = &run->config;
    char what[80], how[160], signal[HT_SIGNAL_NAME_SIZE];
    if (config->interval_bytes == 0)
        strcpy(what, "sampling is off in");
    else if (config->interval_bytes == HT_PARSE_AUTO)
        snprintf(what, sizeof(what), "recording, with up to %g %% of its CPU time,",
                 config->budget_ppm / 1e4);
    else if (config->interval_bytes == 1)
        strcpy(what, "recording every allocation of");
    else
        snprintf(what, sizeof(what), "sampling every %s of", text_bytes(config->interval_bytes));

    ht_signal_name(config->signal, signal);
    if (config->signal)
        snprintf(how, sizeof(how), "for a snapshot: kill -%s %d", signal, run->program);
    else if (config->every_nanos)
        strcpy(how, "a profile is written every so often");
    else if (config->at_exit)
        strcpy(how, "a profile is written at its end");
    else
        strcpy(how, "no profile is asked for");
    say("%s %s (pid %d); %s", what, run->name, run->program, how);
}

/* Somebody who waits for a profile at the end and gets none should not have to guess. */
static void say_end(const struct run *run, int status)
{
    if (run->written || run->failed || run->was_told_of_output || !run->config.at_exit ||
        run->report.fd < 0)
        return;
    char signal[HT_SIGNAL_NAME_SIZE];
    if (WIFSIGNALED(status)) {
        if (run->quiet)
            return;
        ht_signal_name(WTERMSIG(status), signal);
        say("%s wrote no profile: signal %s ended it; --every or a snapshot works before that",
            run->name, signal);
    } else {
        say("%s wrote no profile: most likely it started a program that is static or setuid in its "
            "place, or one that clears its environment",
            run->name);
    }
}

/* In the child. `go` is readable when the parent has said what it has to say. */
static void execute(struct run *run, struct watch *watch, int go, int failure)
{
    char byte;
    while (read(go, &byte, 1) < 0 && errno == EINTR)
        continue;
    watch_undo(watch);
    execvp(run->arguments[0], run->arguments);
    int error = errno;
    say("%s: %s", run->arguments[0], strerror(error));
    if (write(failure, &error, sizeof(error)) < 0)
        error = errno;
    _exit(error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE);
}

/* Starts the program, waits for it, gives its wait status. -errno when it could not be started. */
static int run_program(struct run *run, int *ret_status)
{
    struct watch watch;
    int go[2], failure[2], error;
    int r = watch_start(&watch, run->report.fd < 0 ? NULL : run->report.path, run->config.signal);
    if (r < 0)
        return r;
    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(failure, O_CLOEXEC) < 0 || (run->program = fork()) < 0)
        return -errno;
    if (run->program == 0) {
        close(go[1]);
        execute(run, &watch, go[0], failure[1]);
    }
    close(go[0]);
    close(failure[1]);
    if (!run->quiet)
        say_start(run);
    close(go[1]);
    bool failed = read(failure[0], &error, sizeof(error)) == sizeof(error);
    close(failure[0]);

    while (!watch_wait(&watch, run->program, ret_status))
        report_file_read(&run->report, hear_of_profile, run);
    report_file_read(&run->report, hear_of_profile, run);
    if (!failed)
        say_end(run, *ret_status);
    symbolizer_process_finish(&run->symbolizer, &watch, run->quiet);
    watch_undo(&watch);
    return 0;
}

/* Ends as the program did, so that whoever started us sees the same. Its core is enough. */
static int end_like(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    sigset_t one;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(WTERMSIG(status), SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, WTERMSIG(status));
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}

int run_command(int argc, char **argv)
{
    static struct run run = {.symbolizer.fd = -1}; /* large */
    char path[PATH_MAX], culprit[PATH_MAX];
    bool done = false;
    int r = take_options(&run, argc, argv, &done);
    if (r != 0 || done)
        return r;

    r = target_find(run.arguments[0], path);
    if (r < 0) {
        say("%s: %s", run.arguments[0],
            r == -ENOENT ? "there is no such program" : "cannot be executed");
        return r == -ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
    }
    const char *obstacle = target_obstacle(path, culprit);
    if (obstacle) {
        say("%s %s; it runs without heaptap", culprit, obstacle);
        execvp(run.arguments[0], run.arguments);
        say("%s: %s", run.arguments[0], strerror(errno));
        return EXIT_CANNOT_EXECUTE;
    }

    complete_environment(&run);
    r = preload();
    if (r != 0)
        return r;
    check_output(&run);
    start_reports(&run);
    int status = 0;
    r = run_program(&run, &status);
    report_file_remove(&run.report);
    if (r < 0) {
        say("cannot start %s: %s", run.name, strerror(-r));
        return EXIT_OURSELVES;
    }
    return end_like(status);
}
