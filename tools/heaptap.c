/* heaptap: the command. */

#include <stdio.h>
#include <string.h>

#include "tool.h"

static int version_command(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("heaptap " HT_VERSION);
    return 0;
}

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", run_command},
    {"snapshot", snapshot_command},
    {"interval", interval_command},
    {"top", top_command},
    {"diff", diff_command},
    {"doctor", doctor_command},
    {"leaks", leaks_command},
    {"churn", churn_command},
    {"symbolize", symbolize_command},
    {"help", help_command},
    {"--help", help_command},
    {"-h", help_command},
    {"version", version_command},
    {"--version", version_command},
    /* The table for scripts; not in the help. */
    {"settings", settings_command},
};

int main(int argc, char **argv)
{
    if (argc < 2)
        return say_usage(NULL, "nothing to do");
    for (size_t i = 0; i < HT_ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return say_usage(NULL, "%s is not %s of heaptap", argv[1],
                     argv[1][0] == '-' ? "an option" : "a command");
}
