#include "tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "debuginfod.h"
#include "symbolizer.h"
#include "symbolizer_words.h"

#define DIRECTORIES_MAX 32u
/* What is over sooner needs no bar. */
#define PROGRESS_AFTER_NANOS INT64_C(1000000000)
#define PROGRESS_EVERY_NANOS INT64_C(100000000)
#define BAR_WIDTH            40

struct symbolize {
    const char *directories[DIRECTORIES_MAX + 1];
    size_t directory_count;
    const char *output;
    const char **files;
    size_t file_count;
    bool quiet;
    struct symbolizer symbolizer;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    interrupted = signal;
}

/* ---- a bar on the terminal ---- */

static int64_t began; /* by the steady clock */
static bool has_bar;

static int64_t steady_nanos(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void show_progress(size_t done, size_t all)
{
    static const char full[] = "########################################";
    static int64_t drawn;
    int64_t now = steady_nanos();
    if (now - began < PROGRESS_AFTER_NANOS || now - drawn < PROGRESS_EVERY_NANOS || all == 0)
        return;
    drawn = now;
    int filled = (int)(done * BAR_WIDTH / all);
    fprintf(stderr, "\r[%.*s%*s] %zu of %zu places", filled, full, BAR_WIDTH - filled, "", done,
            all);
    has_bar = true;
}

static void clear_progress(void)
{
    if (has_bar)
        fputs("\r\033[K", stderr);
    has_bar = false;
}

/* ---- the command line ---- */

static int take_value(struct symbolize *symbolize, const char *option, const char *value)
{
    if (!value || !*value)
        return say_usage("symbolize", "%s needs a value: %s", option,
                         strcmp(option, "-o") == 0 ? "a file" : "a directory");
    if (strcmp(option, "-o") == 0) {
        symbolize->output = value;
        return 0;
    }
    if (symbolize->directory_count == DIRECTORIES_MAX)
        return say_usage("symbolize", "--debug-dir is given more than %u times", DIRECTORIES_MAX);
    if (access(value, R_OK | X_OK) < 0)
        return say_usage("symbolize", "--debug-dir %s: %s", value, strerror(errno));
    symbolize->directories[symbolize->directory_count++] = value;
    return 0;
}

static int check(const struct symbolize *symbolize)
{
    if (symbolize->file_count == 0)
        return say_usage("symbolize", "no profile is named");
    if (symbolize->output && symbolize->file_count > 1)
        return say_usage("symbolize", "-o is for one profile, and %zu are named",
                         symbolize->file_count);
    for (size_t i = 0; i < symbolize->file_count && !symbolize->output; i++)
        if (strcmp(symbolize->files[i], "-") == 0)
            return say_usage("symbolize", "for standard input, -o says where the profile goes");
    const char *obstacle =
        symbolize->symbolizer.search.ask_debuginfod ? debuginfod_obstacle() : NULL;
    return obstacle ? say_usage("symbolize", "--debuginfod: %s", obstacle) : 0;
}

/* 0, or an exit status; *ret_done when there is nothing more to do. */
static int take_options(struct symbolize *symbolize, int argc, char **argv, bool *ret_done)
{
    static const char *const options[] = {"--debug-dir", "--output", "-o"};
    bool only_files = false;
    for (int i = 1; i < argc; i++) {
        const char *value;
        size_t known = 0;
        if (only_files || argv[i][0] != '-' || !argv[i][1]) {
            symbolize->files[symbolize->file_count++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *ret_done = true;
            return help_print("symbolize") ? 0 : EXIT_OURSELVES;
        }
        while (known < HT_ARRAY_SIZE(options) && !option_is(argv, &i, options[known], &value))
            known++;
        if (known < HT_ARRAY_SIZE(options)) {
            int r = take_value(symbolize, known == 0 ? "--debug-dir" : "-o", value);
            if (r != 0)
                return r;
        } else if (strcmp(argv[i], "--debuginfod") == 0) {
            symbolize->symbolizer.search.ask_debuginfod = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            symbolize->quiet = true;
        } else if (strcmp(argv[i], "--") == 0) {
            only_files = true;
        } else {
            return say_usage("symbolize", "%s is not an option of heaptap symbolize", argv[i]);
        }
    }
    return check(symbolize);
}

/* ---- what came of it ---- */

static void print_object(const struct symbolized_object *object)
{
    char text[SYMBOLIZER_WORDS];
    if (object->places == 0)
        return;
    printf("  %6zu of %-6zu %s", object->with_lines, object->places, object->path);
    if (symbolizer_words(object, text))
        printf(": %s", text);
    putchar('\n');
}

static void print_result(const char *path, const struct symbolized *result)
{
    size_t with_lines = 0, with_inlines = 0, done = 0;
    for (size_t i = 0; i < result->object_count; i++) {
        with_lines += result->objects[i].with_lines;
        with_inlines += result->objects[i].with_inlines;
        done += result->objects[i].was_done;
    }
    if (result->places == 0)
        printf("%s: %s\n", path,
               done > 0 ? "nothing to do: all places have lines that can have some"
                        : "nothing to do: it has no places in files");
    else
        printf("%s: lines for %zu of %zu places, inlined calls at %zu\n", path, with_lines,
               result->places, with_inlines);
    for (size_t i = 0; i < result->object_count; i++)
        print_object(&result->objects[i]);
}

static int symbolize_one(struct symbolize *symbolize, const char *from)
{
    const char *to = symbolize->output ? symbolize->output : from;
    struct symbolized result;
    began = steady_nanos();
    int r = symbolizer_file(&symbolize->symbolizer, from, to, &result);
    clear_progress();
    if (r == -ESTALE)
        say("%s: it was replaced or removed meanwhile, and is left as it is now", to);
    if (r < 0)
        return r;
    if (!symbolize->quiet && strcmp(to, "-") != 0)
        print_result(to, &result);
    for (size_t i = 0; i < result.object_count; i++)
        symbolizer_complain(&result.objects[i]);
    symbolized_free(&result);
    return 0;
}

/* An exit status. */
static int symbolize_all(struct symbolize *symbolize)
{
    int status = 0;
    for (size_t i = 0; i < symbolize->file_count; i++) {
        int r = symbolize_one(symbolize, symbolize->files[i]);
        if (r == -EINTR)
            return 128 + (interrupted ? interrupted : SIGINT);
        if (r < 0)
            status = 1;
    }
    return status;
}

int symbolize_command(int argc, char **argv)
{
    struct symbolize symbolize = {.files = calloc((size_t)argc, sizeof(char *))};
    bool done = false;
    if (!symbolize.files)
        return EXIT_OURSELVES;
    symbolize.symbolizer.search.directories = symbolize.directories;
    symbolize.symbolizer.processes = symbolizer_processes();
    symbolize.symbolizer.stop = &interrupted;
    if (isatty(STDERR_FILENO))
        symbolize.symbolizer.progress = show_progress;
    struct sigaction action = {.sa_handler = interrupt};
    for (const int *signal = (const int[]){SIGINT, SIGTERM, SIGHUP, 0}; *signal; signal++)
        sigaction(*signal, &action, NULL);
    int r = take_options(&symbolize, argc, argv, &done);
    if (r == 0 && !done)
        r = symbolize_all(&symbolize);
    symbolizer_free(&symbolize.symbolizer);
    free(symbolize.files);
    return r;
}
