#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

/* What is said may hold names of files and programs, and those may hold anything; a line stays a
 * line. */
static void write_line(char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = '?';
    }
    line[length++] = '\n';
    while (write(STDERR_FILENO, line, length) < 0 && errno == EINTR)
        continue;
}

HT_PRINTF(3, 0)
static size_t add(char *line, size_t length, const char *format, va_list arguments)
{
    size_t room = LINE_MAX_BYTES - 1 - length;
    int n = vsnprintf(line + length, room, format, arguments);
    return length + (n < 0 ? 0 : ht_min((uint64_t)n, room - 1));
}

void say(const char *format, ...)
{
    char line[LINE_MAX_BYTES] = "heaptap: ";
    va_list arguments;
    va_start(arguments, format);
    size_t length = add(line, strlen(line), format, arguments);
    va_end(arguments);
    write_line(line, length);
}

int say_usage(const char *command, const char *format, ...)
{
    char line[LINE_MAX_BYTES] = "heaptap: ";
    va_list arguments;
    va_start(arguments, format);
    size_t length = add(line, strlen(line), format, arguments);
    va_end(arguments);
    int n = snprintf(line + length, LINE_MAX_BYTES - 1 - length, "; see: heaptap %s%s",
                     command ? "help " : "--help", command ? command : "");
    length += ht_min((uint64_t)n, LINE_MAX_BYTES - 2 - length);
    write_line(line, length);
    return EXIT_USAGE;
}

const char *text_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    static char results[4][32];
    static unsigned next;
    char *result = results[next++ % 4];

    unsigned unit = 0;
    double value = (double)bytes;
    while (value >= 1023.95 && unit + 1 < HT_ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    bool is_whole = value == (double)(uint64_t)value;
    snprintf(result, sizeof(results[0]), "%.*f %s", is_whole ? 0 : 1, value, units[unit]);
    return result;
}

bool output_directory(const char *pattern, char *ret_directory, size_t size)
{
    snprintf(ret_directory, size, "%s", pattern);
    char *slash = strrchr(ret_directory, '/');
    if (slash)
        slash[slash == ret_directory] = 0;
    else
        snprintf(ret_directory, size, ".");
    return strchr(ret_directory, '%') == NULL;
}

bool option_is(char **argv, int *index, const char *option, const char **ret_value)
{
    const char *argument = argv[*index];
    size_t length = strlen(option);
    if (strncmp(argument, option, length) != 0)
        return false;
    if (argument[length] == '=') {
        *ret_value = argument + length + 1;
        return true;
    }
    if (argument[length])
        return false;
    *ret_value = argv[*index + 1];
    if (*ret_value)
        ++*index;
    return true;
}
