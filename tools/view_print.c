/* How rows and profiles are called, in tables and in JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tool.h"
#include "view.h"

#define NAME_SIZE  4096
#define TIME_SIZE  40
#define KEY_COLUMN 24 /* where the text of a comment starts */

/* "work /src/work.c:42", as far as it is known: "work", "work :42". */
static const char *frame_text(const struct frame *frame)
{
    static char text[NAME_SIZE];
    int room = (int)sizeof(text) / 2 - 32;
    char line[32] = "";
    if (frame->line != 0)
        snprintf(line, sizeof(line), ":%" PRId64, frame->line);
    snprintf(text, sizeof(text), "%.*s%s%.*s%s", room, frame->function,
             *frame->file || *line ? " " : "", room, frame->file, line);
    return text;
}

const char *view_name(const struct view *view, const struct rows *rows, const struct row *row)
{
    if (view->by == ROWS_BY_FUNCTION)
        return rows_name(rows, row);
    return frame_text(rows_frame(rows, row));
}

void view_add_callers(const struct view *view, struct table *table, const struct rows *rows,
                      const struct row *row, enum table_look look)
{
    if (view->by != ROWS_BY_STACK)
        return;
    for (uint32_t i = 1; i < row->stack_count; i++) {
        for (unsigned column = 0; column + 1 < table->column_count; column++)
            table_cell(table, "");
        char text[NAME_SIZE + 2];
        snprintf(text, sizeof(text), "  %s", frame_text(&rows->frames->all[row->stack[i]]));
        table_cell(table, text);
        table_end_row(table, look);
    }
}

static void put_frame(struct json *json, const struct frame *frame)
{
    json_text(json, "function", frame->function);
    if (*frame->file)
        json_text(json, "file", frame->file);
    if (frame->line != 0)
        json_integer(json, "line", frame->line);
}

void view_put_row(const struct view *view, struct json *json, const struct rows *rows,
                  const struct row *row)
{
    if (view->by == ROWS_BY_FUNCTION) {
        json_text(json, "function", rows_name(rows, row));
        return;
    }
    if (view->by == ROWS_BY_LINE) {
        put_frame(json, rows_frame(rows, row));
        return;
    }
    json_open(json, "stack", '[');
    for (uint32_t i = 0; i < row->stack_count; i++) {
        json_open(json, NULL, '{');
        put_frame(json, &rows->frames->all[row->stack[i]]);
        json_close(json, '}');
    }
    json_close(json, ']');
}

void view_put_profile(struct json *json, const char *key, const struct profile *profile)
{
    json_open(json, key, '{');
    json_text(json, "file", profile->name);
    json_integer(json, "time_nanos", profile->time_nanos);
    json_integer(json, "period", profile->period);
    json_open(json, "comments", '[');
    for (size_t i = 0; i < profile->comment_count; i++)
        json_text(json, NULL, profile->comments[i]);
    json_close(json, ']');
    json_close(json, '}');
}

static void put_line(const struct terminal *terminal, const char *text)
{
    terminal_put(terminal, text, TERMINAL_ENDLESS);
    putchar('\n');
}

void view_print_comments(const struct terminal *terminal, const struct profile *profile)
{
    for (size_t i = 0; i < profile->comment_count; i++) {
        const char *comment = profile->comments[i];
        comment += comment[0] == '#' ? strspn(comment, "# ") : 0;
        const char *colon = strstr(comment, ": ");
        if (!colon || colon - comment > KEY_COLUMN * 2) {
            put_line(terminal, comment);
            continue;
        }
        char key[KEY_COLUMN * 2 + 1];
        snprintf(key, sizeof(key), "%.*s", (int)(colon - comment), comment);
        uint32_t used = terminal_put(terminal, key, TERMINAL_ENDLESS);
        printf("%*s", used + 2 < KEY_COLUMN ? (int)(KEY_COLUMN - used) : 2, "");
        put_line(terminal, colon + 2);
    }
}

void view_print_profile(const struct terminal *terminal, const char *what,
                        const struct profile *profile)
{
    char when[TIME_SIZE] = "";
    time_t seconds = (time_t)(profile->time_nanos / 1000000000);
    struct tm local;
    printf("%s", what);
    terminal_put(terminal, profile->name, TERMINAL_ENDLESS);
    if (profile->time_nanos > 0 && localtime_r(&seconds, &local) &&
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local) > 0)
        printf(", %s", when);
    if (profile->period == 1)
        printf(", every allocation");
    else if (profile->period > 0)
        printf(", one sample per %s", text_bytes((uint64_t)profile->period));
    putchar('\n');
}
