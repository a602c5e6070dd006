#include "doctor.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"
#include "tool.h"

#define PROBLEMS_MAX 32

static struct {
    char text[2 * PATH_MAX];
    char advice[1024];
} problems[PROBLEMS_MAX];
static unsigned problem_count;

/* What is printed may hold names of files, and those may hold anything; a line stays a line. */
static void print_line(const char *before, char *text)
{
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    }
    printf("%s%s\n", before, text);
}

void doctor_fact(const char *name, const char *format, ...)
{
    char before[32], text[3 * PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    snprintf(before, sizeof(before), "  %-10s  ", name);
    print_line(before, text);
}

void doctor_problem(const char *advice, const char *format, ...)
{
    if (problem_count == PROBLEMS_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problems[problem_count].text, sizeof(problems[0].text), format, arguments);
    va_end(arguments);
    snprintf(problems[problem_count].advice, sizeof(problems[0].advice), "%s", advice);
    problem_count++;
}

static void print_problems(void)
{
    for (unsigned i = 0; i < problem_count; i++) {
        print_line("wrong: ", problems[i].text);
        print_line("       ", problems[i].advice);
    }
    if (problem_count == 0)
        puts("all is well");
}

/* ---- paths ---- */

static int writable_to_us(const struct doctor_view *view, const char *directory)
{
    struct statvfs space;
    struct stat status;
    if (*view->root && *directory == '/') {
        directory += strspn(directory, "/");
        if (chdir(view->root) < 0)
            return errno;
    }
    if (!*directory)
        directory = ".";
    if (stat(directory, &status) < 0)
        return errno;
    if (!S_ISDIR(status.st_mode))
        return ENOTDIR;
    if (access(directory, W_OK | X_OK) < 0)
        return errno;
    if (statvfs(directory, &space) == 0 && space.f_blocks && space.f_bavail == 0)
        return ENOSPC;
    return 0;
}

/* An errno value: access() is asked by a child that is the other user. */
static int writable(const struct doctor_view *view, const char *directory)
{
    pid_t child = fork();
    if (child < 0)
        return errno;
    if (child == 0) {
        bool is_other = geteuid() == 0 && view->groups && view->uid != 0;
        if (is_other && ((*view->root && chdir(view->root) < 0) ||
                         setgroups(view->group_count, view->groups) < 0 ||
                         setresgid(view->gid, view->gid, view->gid) < 0 ||
                         setresuid(view->uid, view->uid, view->uid) < 0))
            _exit(errno);
        struct doctor_view own = *view;
        if (is_other && *view->root)
            own.root = "."; /* /proc/PID/root itself may be closed to that user */
        _exit(writable_to_us(&own, directory));
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

void doctor_check_output(const struct doctor_view *view, const char *path)
{
    char directory[PATH_MAX];
    if (!output_directory(path, directory, sizeof(directory)))
        return;
    int error = writable(view, directory);
    if (error == ENOENT)
        doctor_problem("Make the directory, or name another one with HEAPTAP_OUTPUT.",
                       "profiles cannot be written: there is no directory %s%s", directory,
                       *view->root ? " for the process" : "");
    else if (error == ENOSPC)
        doctor_problem("Make room, or name another directory with HEAPTAP_OUTPUT.",
                       "profiles cannot be written: the disk of %s is full", directory);
    else if (error)
        doctor_problem("Give the directory to that user, or name another with HEAPTAP_OUTPUT.",
                       "profiles cannot be written to %s by user %u: %s", directory,
                       (unsigned)view->uid, strerror(error));
}

static bool names_library(const char *entry)
{
    const char *slash = strrchr(entry, '/');
    return strncmp(slash ? slash + 1 : entry, "libheaptap.so", 13) == 0;
}

bool doctor_check_preload(const struct doctor_view *view, const char *list)
{
    bool found = false;
    char *copy = strdup(list), *rest = copy;
    for (char *entry; rest && (entry = strsep(&rest, " :"));) {
        char path[2 * PATH_MAX];
        found |= names_library(entry);
        /* Names without a slash are searched for by the loader, and $LIB is its own affair. */
        if (!strchr(entry, '/') || strchr(entry, '$'))
            continue;
        snprintf(path, sizeof(path), "%s%s", *entry == '/' ? view->root : "", entry);
        const char *obstacle = target_library_obstacle(path);
        if (obstacle)
            doctor_problem("LD_PRELOAD must name the libheaptap.so that was built for 64-bit "
                           "programs, where the program can see it.",
                           "LD_PRELOAD names %s, which %s", entry, obstacle);
    }
    free(copy);
    return found;
}

/* ---- settings ---- */

bool doctor_read_settings(struct ht_config *config, const char *entries, size_t size)
{
    bool any = false;
    ht_config_defaults(config);
    for (const char *entry = entries; entry < entries + size; entry += strlen(entry) + 1) {
        char name[64] = "", error[HT_CONFIG_ERROR_SIZE];
        const char *equals = strchr(entry, '=');
        if (strncmp(entry, "HEAPTAP_", 8) != 0 || !equals)
            continue;
        any = true;
        memcpy(name, entry, ht_min((uint64_t)(equals - entry), sizeof(name) - 1));
        const struct ht_setting *setting = ht_setting_find(name);
        if (!setting)
            doctor_problem("heaptap --help lists the settings.", "%s is not a setting of heaptap",
                           name);
        else if (ht_config_set(config, setting, equals + 1, error, sizeof(error)) < 0)
            doctor_problem("Correct the value.", "%s", error);
    }
    return any;
}

/* ---- what both examinations look at ---- */

void doctor_check_unwinder(void)
{
    void *library = dlopen("libunwind-x86_64.so.8", RTLD_NOW | RTLD_LOCAL);
    if (library)
        dlclose(library);
    else
        doctor_problem("Install libunwind 1.6 or later (libunwind8 on Debian and Ubuntu).",
                       "stacks have one frame only: libunwind-x86_64.so.8 cannot be loaded");
}

void doctor_check_symbols(const char *name, const struct symbols *symbols)
{
    if (symbols->has_heaptap || symbols->needs_heaptap)
        doctor_fact("linked", "with heaptap: no preload is needed");
    else if (symbols->has_malloc)
        doctor_problem("Link it without that allocator, or preload the allocator as a library "
                       "behind libheaptap.so.",
                       "%s has a malloc of its own inside it (a statically linked allocator), so "
                       "heaptap's is not called and the profile is empty",
                       name);
    if (symbols->allocator[0])
        doctor_fact("allocator", "%s, which it is linked with", symbols->allocator);
    if (symbols->has_operator_new && !symbols->has_malloc && !symbols->has_heaptap)
        doctor_fact("C++", "operator new is the program's own: what it takes from malloc is seen");
}

/* ---- the command ---- */

int doctor_command(int argc, char **argv)
{
    bool is_program = false;
    int i = 1, r;
    if (i < argc && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
        return help_print("doctor") ? 0 : EXIT_OURSELVES;
    if (i < argc && strcmp(argv[i], "--") == 0) {
        is_program = true;
        i++;
    } else if (i < argc && argv[i][0] == '-') {
        return say_usage("doctor", "%s is not an option of heaptap doctor", argv[i]);
    }
    if (i >= argc)
        return say_usage("doctor", "neither a process nor a program is named");

    uint64_t pid;
    if (!is_program && ht_parse_number(argv[i], &pid) == 0) {
        if (pid == 0 || pid > INT32_MAX)
            return say_usage("doctor", "%s is not the number of a process", argv[i]);
        if (i + 1 < argc)
            return say_usage("doctor", "one process at a time: %s or %s", argv[i], argv[i + 1]);
        r = doctor_process((pid_t)pid);
    } else {
        r = doctor_program(argv[i]);
    }
    if (r != 0)
        return r;
    print_problems();
    return problem_count > 0;
}
