#include "groups_print.h"

#include <stdarg.h>
#include <stdio.h>

#define INDENT       4
#define FRAMES_SHOWN 24

void groups_cell(struct table *table, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    table_cell(table, text);
}

void groups_put_stack(const struct terminal *terminal, const struct groups *groups,
                      const struct frames *frames, size_t group, size_t number)
{
    uint32_t length = groups->all[group].length;
    uint32_t width = terminal->width == TERMINAL_ENDLESS ? TERMINAL_ENDLESS
                     : terminal->width > 2 * INDENT      ? terminal->width - INDENT
                                                         : INDENT;
    printf("\nstack %zu:\n", number);
    for (uint32_t i = 0; i < length && i < FRAMES_SHOWN; i++) {
        printf("%*s", INDENT, "");
        terminal_put(terminal, group_text(groups, frames, group, i), width);
        putchar('\n');
    }
    if (length > FRAMES_SHOWN)
        printf("%*s... and %u more\n", INDENT, "", length - FRAMES_SHOWN);
}

void groups_json_stack(struct json *json, const struct groups *groups, const struct frames *frames,
                       size_t group)
{
    json_open(json, "stack", '[');
    for (uint32_t i = 0; i < groups->all[group].length; i++)
        json_text(json, NULL, group_text(groups, frames, group, i));
    json_close(json, ']');
}
