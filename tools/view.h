/* view.h: what the reports of profiles, top and diff, are asked for. */
#ifndef HT_TOOL_VIEW_H
#define HT_TOOL_VIEW_H

#include "json.h"
#include "rows.h"
#include "table.h"

#define VIEW_FILES_MAX 2

struct view {
    const char *command; /* "top" */
    const char *files[VIEW_FILES_MAX];
    unsigned file_count;
    enum rows_by by;
    enum profile_column sort;
    uint64_t count; /* of rows; UINT64_MAX for all */
    bool sorts_cum, shows_all, shows_stats, shows_json, only_significant;
};

/* Reads the arguments of a command that takes so many files. 0, or an exit status; *ret_done when
 * there is nothing more to do. */
int view_take(struct view *view, const char *command, unsigned file_count, int argc, char **argv,
              bool *ret_done);

/* The value of a column that rows are sorted by. */
enum profile_column view_column(const struct view *view, unsigned line);

/* How many lines a row has: one, or one for each column. */
unsigned view_lines(const struct view *view);

/* "functions". */
const char *view_rows(const struct view *view, uint64_t count);

/* What a row is called in the table, below the head: "main", "main prog.c:12". The result is
 * overwritten by the next call. */
const char *view_name(const struct view *view, const struct rows *rows, const struct row *row);

/* The callers of a stack, a row each without numbers. Nothing by function or line. */
void view_add_callers(const struct view *view, struct table *table, const struct rows *rows,
                      const struct row *row, enum table_look look);

/* What a row is, in an object: function, file, line, stack. */
void view_put_row(const struct view *view, struct json *json, const struct rows *rows,
                  const struct row *row);

/* All that a profile says of itself: its name, time, interval, comments. */
void view_put_profile(struct json *json, const char *key, const struct profile *profile);
void view_print_comments(const struct terminal *terminal, const struct profile *profile);
/* One line: the file, when and how it was sampled. */
void view_print_profile(const struct terminal *terminal, const char *what,
                        const struct profile *profile);

/* Ends the report: an exit status, with a line when not all of it could be written. */
int view_finish(void);

#endif
