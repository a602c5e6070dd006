/* tool.h: what the commands of heaptap share.
 *
 * A command gets its own arguments, argv[0] being its name, and returns the exit status of heaptap.
 * Results go to standard output; everything heaptap says about itself goes to standard error, one
 * line each. */
#ifndef HT_TOOL_H
#define HT_TOOL_H

#include "sys/compiler.h"

enum {
    EXIT_USAGE = 2,
    EXIT_OURSELVES = 125, /* these three as env(1) has them: heaptap itself failed, */
    EXIT_CANNOT_EXECUTE = 126,
    EXIT_NOT_FOUND = 127,
};

int run_command(int argc, char **argv);
int snapshot_command(int argc, char **argv);
int interval_command(int argc, char **argv);
int top_command(int argc, char **argv);
int diff_command(int argc, char **argv);
int doctor_command(int argc, char **argv);
int leaks_command(int argc, char **argv);
int churn_command(int argc, char **argv);
int symbolize_command(int argc, char **argv);
int help_command(int argc, char **argv);
int settings_command(int argc, char **argv);

/* `topic` is a command, or NULL for all. False when there is no such command. */
bool help_print(const char *topic);

/* "heaptap: ...", one line in one write, so that lines of several processes do not mix. */
void say(const char *format, ...) HT_PRINTF(1, 2);
/* The same for a wrong command line, with a hint where to read on. Returns EXIT_USAGE. */
int say_usage(const char *command, const char *format, ...) HT_PRINTF(2, 3);

/* "512 KiB", "1.2 MiB", "17 B". The result is overwritten by the fourth next call. */
const char *text_bytes(uint64_t bytes);

/* The directory of profiles that are named by `pattern` (HEAPTAP_OUTPUT), "." for the current one.
 * False when it is not the same for all of them. */
bool output_directory(const char *pattern, char *ret_directory, size_t size);

/* When the argument at *index is `option`, or `option=value`, gives its value and moves *index to
 * the last argument that was used; a missing value is NULL. */
bool option_is(char **argv, int *index, const char *option, const char **ret_value);

#endif
