#include "tool.h"

#include <stdio.h>
#include <string.h>

#include "control/config.h"

/* What help says of an option or a setting starts in this column. */
#define TEXT_COLUMN 26

static void print_row(const char *name, const char *help, const char *fallback)
{
    printf("  %-*s", TEXT_COLUMN - 2, name);
    if (strlen(name) > TEXT_COLUMN - 3)
        printf("\n%*s", TEXT_COLUMN, "");
    fputs(help, stdout);
    if (fallback && *fallback)
        printf(" [%s]", fallback);
    putchar('\n');
}

static void print_run_options(void)
{
    for (size_t i = 0; i < HT_SETTING_COUNT; i++) {
        const struct ht_setting *setting = &ht_settings[i];
        char name[64], help[160];
        if (!setting->option)
            continue;
        snprintf(name, sizeof(name), "%s%s%s", setting->option, setting->argument ? " " : "",
                 setting->argument ? setting->argument : "");
        snprintf(help, sizeof(help), "%s%s", setting->argument || !setting->in_run ? "" : "do not ",
                 setting->help);
        print_row(name, help, setting->argument ? setting->fallback : NULL);
    }
    print_row("--no-symbolize", "leave profiles without source files, lines and inlined calls",
              NULL);
    print_row("--quiet", "say nothing when the program starts and when a profile is written", NULL);
}

static void print_settings(void)
{
    puts("Settings, in the environment of the program; heaptap run has options for most of them:");
    for (size_t i = 0; i < HT_SETTING_COUNT; i++)
        print_row(ht_settings[i].name, ht_settings[i].help, ht_settings[i].fallback);
}

static void print_run(void)
{
    puts("heaptap run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
         "Runs a program with the heap profiler in it. Exit status and signals pass through.\n");
    print_run_options();
}

static void print_snapshot(void)
{
    puts("heaptap snapshot [OPTION]... PID\n"
         "Lets a program that runs with heaptap write a profile, and prints the file's name.\n");
    print_row("--every TIME", "again every so often, until the program ends", NULL);
    print_row("--count NUMBER", "with --every: so many times", NULL);
    print_row("--lifetimes", "a profile of lifetimes as well, for heaptap churn", NULL);
    print_row("--no-symbolize", "leave it without source files, lines and inlined calls", NULL);
    print_row("--timeout TIME", "how long to wait for a profile", "30s");
}

static void print_interval(void)
{
    puts("heaptap interval PID [SIZE | auto | 0]\n"
         "Changes the interval of a program that runs with heaptap, or shows it. Profiles stay\n"
         "unbiased: each sample keeps the weight of the interval that it was taken with.");
}

static void print_doctor(void)
{
    puts(
        "heaptap doctor PID\n"
        "heaptap doctor [--] PROGRAM [ARGUMENT]...\n"
        "Says what is hooked in a process, how it does, and what is wrong; or what would be wrong\n"
        "with a program, which is looked at and not started. Ends with 1 when something is wrong.");
}

static void print_view_options(void)
{
    print_row("--by WHAT", "function, line or stack", "function");
    print_row("--sort COLUMN", "inuse_space, inuse_objects, alloc_space or alloc_objects",
              "inuse_space");
    print_row("--cum", "sort by what a function and all that it calls have", NULL);
    print_row("--count NUMBER", "rows that are shown, 0 for all", "20; all with --json");
    print_row("--all", "all four columns, not only the one that is sorted by", NULL);
    print_row("--stats", "what the profile says of itself, and the totals; no rows", NULL);
    print_row("--json", "for scripts; heaptap(1) has the keys", NULL);
}

static void print_top(void)
{
    puts("heaptap top [OPTION]... FILE\n"
         "Lists who holds the heap, or who allocates, with the 95 % error of each number.\n"
         "Reads any heap profile in pprof's format, - for standard input.\n");
    print_view_options();
}

static void print_diff(void)
{
    puts("heaptap diff [OPTION]... OLD NEW\n"
         "Lists what changed between two heap profiles. z tells how many standard deviations of\n"
         "noise a change is; what noise explains is marked ~ and grey.\n");
    print_view_options();
    print_row("--significant", "only what noise does not explain: of the rows that are left, one",
              NULL);
    print_row("", "in 20 is false on average, however many rows there are", NULL);
}

static void print_leaks(void)
{
    puts("heaptap leaks [OPTION]... FILE FILE FILE...\n"
         "Names the stacks whose memory in use grows, and goes on growing, over profiles of one\n"
         "process that were taken one after the other; those that only fluctuate, and caches that\n"
         "filled, are not named. 8 profiles tell of a fast leak, 20 of a slow one.\n");
    print_row("--by WORD", "a row for each stack, function or line that allocates", "stack");
    print_row("--count NUMBER", "rows to show", "20");
    print_row("--json", "for scripts", NULL);
    print_row("--exit-code", "end with 3 when something grows", NULL);
}

static void print_churn(void)
{
    puts(
        "heaptap churn [OPTION]... FILE\n"
        "Shows the code that allocates much and frees it soon, from a profile of lifetimes, which\n"
        "programs write that run with HEAPTAP_LIFETIMES=1, and what might be done about it:\n"
        "  stack         small blocks of one size, freed by the function that allocated them\n"
        "  reuse buffer  many blocks, freed by the same thread, close to what allocated them\n"
        "  pool          many blocks of one size\n");
    print_row("--by WORD", "a row for each stack, function or line that allocates", "function");
    print_row("--within TIME", "what is soon: 10us, 100us, 1ms, 10ms ... 1000s", "1ms");
    print_row("--sort WORD", "most bytes or objects freed so soon first", "bytes");
    print_row("--count NUMBER", "rows to show", "20");
    print_row("--json", "for scripts", NULL);
}

static void print_symbolize(void)
{
    puts("heaptap symbolize [OPTION]... FILE...\n"
         "Adds source files, lines and inlined calls to profiles, from the debug information of "
         "what\n"
         "ran, which is found by its build id. The files are replaced. Again is no harm.\n");
    print_row("-o FILE", "write the result there, - for standard output", NULL);
    print_row("--debug-dir DIRECTORY", "look there, too; may be given several times",
              "/usr/lib/debug");
    print_row("--debuginfod", "ask the servers of DEBUGINFOD_URLS for what is missing here", NULL);
    print_row("--quiet", "say only what is wrong", NULL);
}

bool help_print(const char *topic)
{
    if (!topic) {
        puts("heaptap, a sampling heap profiler: which code holds the heap?\n\n"
             "  heaptap run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
             "  heaptap snapshot [OPTION]... PID\n"
             "  heaptap interval PID [SIZE | auto | 0]\n"
             "  heaptap top [OPTION]... FILE\n"
             "  heaptap diff [OPTION]... OLD NEW\n"
             "  heaptap leaks [OPTION]... FILE FILE FILE...\n"
             "  heaptap churn [OPTION]... FILE\n"
             "  heaptap symbolize [OPTION]... FILE...\n"
             "  heaptap doctor PID | PROGRAM\n"
             "  heaptap help [run|snapshot|interval|top|diff|leaks|churn|symbolize|doctor]\n"
             "  heaptap --version\n\n"
             "The profiles are for pprof: go tool pprof -http=: FILE\n");
        print_settings();
    } else if (strcmp(topic, "run") == 0) {
        print_run();
    } else if (strcmp(topic, "snapshot") == 0) {
        print_snapshot();
    } else if (strcmp(topic, "interval") == 0) {
        print_interval();
    } else if (strcmp(topic, "top") == 0) {
        print_top();
    } else if (strcmp(topic, "diff") == 0) {
        print_diff();
    } else if (strcmp(topic, "leaks") == 0) {
        print_leaks();
    } else if (strcmp(topic, "churn") == 0) {
        print_churn();
    } else if (strcmp(topic, "symbolize") == 0) {
        print_symbolize();
    } else if (strcmp(topic, "doctor") == 0) {
        print_doctor();
    } else {
        return false;
    }
    return true;
}

int help_command(int argc, char **argv)
{
    if (!help_print(argc > 1 ? argv[1] : NULL))
        return say_usage(NULL, "there is no help on %s", argv[1]);
    return 0;
}

int settings_command(int argc, char **argv)
{
    (void)argc, (void)argv;
    for (size_t i = 0; i < HT_SETTING_COUNT; i++) {
        const struct ht_setting *setting = &ht_settings[i];
        printf("%s\t%s%s%s\t%s\t%s\t%s\n", setting->name, setting->option ? setting->option : "",
               setting->argument ? " " : "", setting->argument ? setting->argument : "",
               setting->fallback, setting->help, setting->manual ? setting->manual : "");
    }
    return 0;
}
