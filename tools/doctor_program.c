/* doctor_program.c: a program that was not started yet. Nothing is run: the files are looked at. */
#include "doctor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target.h"
#include "tool.h"

extern char **environ;

/* Our environment is what the program would get. */
static void read_own_settings(struct ht_config *config)
{
    char *entries = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&entries, &size);
    for (char **entry = environ; stream && *entry; entry++)
        fwrite(*entry, 1, strlen(*entry) + 1, stream);
    if (stream)
        fclose(stream);
    doctor_read_settings(config, entries ? entries : "", size);
    free(entries);
}

/* A program inherits what its parent ignores and blocks. */
static void check_signal(int signal)
{
    char name[HT_SIGNAL_NAME_SIZE];
    struct sigaction action;
    sigset_t blocked;
    if (!signal)
        return;
    ht_signal_name(signal, name);
    if (sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        doctor_problem("Name another one with HEAPTAP_SIGNAL, or use HEAPTAP_EVERY.",
                       "signal %s is ignored here, and a program started from here leaves it so",
                       name);
    if (sigprocmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, signal) == 1)
        doctor_problem("Name another one with HEAPTAP_SIGNAL, or use HEAPTAP_EVERY.",
                       "signal %s is blocked here, and a program started from here inherits that",
                       name);
}

static void check_library(const struct doctor_view *view)
{
    char library[PATH_MAX];
    const char *list = getenv("LD_PRELOAD");
    if (target_find_library(library) < 0)
        doctor_problem("Install heaptap, or run the command of the tree it was built in.",
                       "libheaptap.so is neither beside this command nor in " HT_LIBDIR);
    else if (strpbrk(library, " :"))
        doctor_problem("Install it somewhere else.",
                       "%s cannot be preloaded: the loader takes no space or colon in a path",
                       library);
    else
        doctor_fact("library", "%s", library);
    if (list && *list && doctor_check_preload(view, list))
        doctor_fact("preload", "LD_PRELOAD is %s", list);
}

int doctor_program(const char *name)
{
    char path[PATH_MAX], culprit[PATH_MAX];
    int r = target_find(name, path);
    if (r < 0) {
        say("%s: %s", name, r == -ENOENT ? "there is no such program" : "cannot be executed");
        return r == -ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
    }
    puts(path);

    const char *obstacle = target_obstacle(path, culprit);
    if (strcmp(path, culprit) != 0)
        doctor_fact("script", "run by %s", culprit);
    struct symbols symbols;
    bool is_readable = symbols_read(culprit, &symbols) == 0;
    if (obstacle)
        doctor_problem("heaptap cannot be loaded into it; heaptap run starts it without.", "%s %s",
                       culprit, obstacle);
    else if (is_readable)
        doctor_check_symbols(culprit, &symbols);
    else
        doctor_fact("unknown", "%s cannot be read, or is no ELF file", culprit);

    struct doctor_view view = {.root = "", .uid = geteuid()};
    check_library(&view);
    if (!obstacle)
        doctor_check_unwinder();
    static struct ht_config config;
    read_own_settings(&config);
    if (config.interval_bytes == 0)
        doctor_problem("Leave it out, or set HEAPTAP_INTERVAL=512K.",
                       "HEAPTAP_INTERVAL is 0: sampling is off");
    check_signal(config.signal);
    doctor_fact("profiles", "%s", config.output);
    doctor_check_output(&view, config.output);
    return 0;
}
