/* heaptap top: who holds the heap, or who allocates. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"
#include "view.h"

struct top {
    struct view view;
    struct terminal terminal;
    struct frames frames;
    struct profile profile;
    struct rows rows;
    bool is_exact;   /* all of it */
    bool has_errors; /* that are known, and not all 0 */
};

/* Whether the interval was 1 from the start to the end. `period` is the last one; a comment of
 * heaptap's has the others, if there were any. */
static bool was_all_recorded(const struct profile *profile)
{
    static const char key[] = "# interval: ";
    bool result = profile->has_errors && profile->period <= 1;
    for (size_t i = 0; i < profile->comment_count && result; i++) {
        const char *p = profile->comments[i];
        if (strncmp(p, key, sizeof(key) - 1) != 0)
            continue;
        while (result && *(p += strcspn(p, "0123456789"))) {
            char *end;
            result = strtoull(p, &end, 10) <= 1;
            p = end;
        }
    }
    return result;
}

/* Without variance are also large blocks, which are hardly ever missed, but small ones beside them
 * may have been. */
static bool is_exact(const struct profile *profile, const struct sums *total)
{
    bool result = was_all_recorded(profile);
    for (int i = 0; i < PROFILE_COLUMNS; i++)
        result = result && total->variances[i] == 0;
    return result;
}

static const struct sums *sorted_sums(const struct view *view, const struct row *row)
{
    return view->sorts_cum ? &row->cum[0] : &row->flat[0];
}

/* The largest first; what is equal in one regard, in the other; then by name. */
static int compare(const void *a_, const void *b_, void *top_)
{
    const struct row *a = a_, *b = b_;
    const struct top *top = top_;
    enum profile_column column = top->view.sort;
    int64_t first_a = sorted_sums(&top->view, a)->values[column];
    int64_t first_b = sorted_sums(&top->view, b)->values[column];
    if (first_a != first_b)
        return first_a < first_b ? 1 : -1;
    int64_t second_a = a->cum[0].values[column], second_b = b->cum[0].values[column];
    if (top->view.sorts_cum) {
        second_a = a->flat[0].values[column];
        second_b = b->flat[0].values[column];
    }
    if (second_a != second_b)
        return second_a < second_b ? 1 : -1;
    int order = strcmp(rows_name(&top->rows, a), rows_name(&top->rows, b));
    if (order != 0)
        return order;
    return (a->key > b->key) - (a->key < b->key);
}

static bool is_few(const struct sums *sums, enum profile_column column)
{
    double samples = sums_samples((double)sums->values[column], sums->variances[column]);
    return sums->values[column] != 0 && samples < SUMS_SAMPLES_MIN;
}

/* The value, how sure it is, and its part of the whole. */
static void add_cells(struct table *table, const struct top *top, const struct sums *sums,
                      enum profile_column column)
{
    char text[SUMS_TEXT_SIZE + 8];
    double value = (double)sums->values[column], total = (double)top->rows.total[0].values[column];
    struct sums_unit unit = sums_unit(column, value);
    sums_value_text(text, unit, value, false);
    table_cell(table, text);
    if (top->has_errors) {
        struct ht_range range = sums_range(sums, column, sums_interval(&top->rows.total[0]));
        sums_error_text(text, unit, value - range.low, range.high - value,
                        terminal_plus_minus(&top->terminal));
        if (is_few(sums, column))
            strcat(text, " few");
        table_cell(table, text);
    }
    *text = 0;
    if (total > 0)
        snprintf(text, sizeof(text), "%.1f%%", 100 * value / total);
    table_cell(table, text);
}

static void add_head(struct table *table, const struct top *top)
{
    bool is_stack = top->view.by == ROWS_BY_STACK;
    static const char *const names[] = {"function", "line", "stack"};
    const char *error = top->terminal.is_utf8 ? "\xc2\xb1"
                                                "95%"
                                              : "+-95%";
    for (int i = 0; i < (is_stack ? 1 : 2); i++) {
        table_cell(table, is_stack
                              ? top->view.shows_all ? "value" : profile_column_names[top->view.sort]
                          : i == 0 ? "flat"
                                   : "cum");
        if (top->has_errors)
            table_cell(table, error);
        table_cell(table, is_stack ? "%" : i == 0 ? "flat%" : "cum%");
    }
    if (top->view.shows_all)
        table_cell(table, "of");
    table_cell(table, names[top->view.by]);
    table_end_row(table, TABLE_HEAD);
}

static void add_row(struct table *table, const struct top *top, const struct row *row)
{
    for (unsigned line = 0; line < view_lines(&top->view); line++) {
        enum profile_column column = view_column(&top->view, line);
        add_cells(table, top, &row->flat[0], column);
        if (top->view.by != ROWS_BY_STACK)
            add_cells(table, top, &row->cum[0], column);
        if (top->view.shows_all)
            table_cell(table, profile_column_names[column]);
        table_cell(table, line == 0 ? view_name(&top->view, &top->rows, row) : "");
        table_end_row(table, TABLE_PLAIN);
    }
    view_add_callers(&top->view, table, &top->rows, row, TABLE_PLAIN);
}

/* Rows that have nothing of the value are not shown. */
static bool is_shown(const struct top *top, const struct row *row)
{
    return top->view.shows_all || row->cum[0].values[top->view.sort] != 0 ||
           row->flat[0].values[top->view.sort] != 0;
}

static bool print_table(const struct top *top)
{
    unsigned numbers = (top->view.by == ROWS_BY_STACK ? 1 : 2) * (top->has_errors ? 3 : 2);
    struct table table = table_start(&top->terminal, numbers + top->view.shows_all + 1);
    uint64_t shown = 0, left = 0;
    bool has_few = false;
    add_head(&table, top);
    for (size_t i = 0; i < top->rows.count; i++) {
        const struct row *row = &top->rows.all[i];
        if (!is_shown(top, row))
            continue;
        if (shown == top->view.count) {
            left++;
            continue;
        }
        shown++;
        add_row(&table, top, row);
        for (unsigned line = 0; line < view_lines(&top->view); line++)
            has_few = has_few || is_few(&row->flat[0], view_column(&top->view, line)) ||
                      is_few(&row->cum[0], view_column(&top->view, line));
    }
    if (!table_print(&table))
        return false;
    if (shown == 0)
        printf("there is no %s\n", profile_column_names[top->view.sort]);
    if (left > 0)
        printf("and %llu more %s: --count 0 shows all\n", (unsigned long long)left,
               view_rows(&top->view, left));
    if (has_few)
        printf("few: of fewer than %d samples, too few to tell\n", SUMS_SAMPLES_MIN);
    return true;
}

/* "inuse_space: 102.6 MiB ±4.9 in all" */
static void print_total(const struct top *top, enum profile_column column)
{
    const struct sums *total = &top->rows.total[0];
    double value = (double)total->values[column];
    struct ht_range range = sums_range(total, column, sums_interval(total));
    struct sums_unit unit = sums_unit(column, value);
    char text[SUMS_TEXT_SIZE], error[SUMS_TEXT_SIZE] = "";
    sums_value_text(text, unit, value, false);
    if (top->has_errors)
        sums_error_text(error, unit, value - range.low, range.high - value,
                        terminal_plus_minus(&top->terminal));
    printf("%s: %s%s%s in all", profile_column_names[column], text, *error ? " " : "", error);
    /* Not the number that was taken: large blocks, of which few are missed, are worth more. */
    double samples = sums_samples(value, total->variances[column]);
    if (*error)
        printf(", worth about %.0f sample%s", samples, samples < 1.5 ? "" : "s");
    putchar('\n');
}

static void print_errors(const struct top *top)
{
    const struct sums *total = &top->rows.total[0];
    enum profile_column column = top->view.sort;
    if (!top->profile.has_errors)
        puts("no error is known: the profile does not say how sure its numbers are");
    else if (top->is_exact)
        puts("all numbers are exact");
    else if (total->values[column] == 0 || is_few(total, column))
        printf("too few samples to tell: about %.0f; a smaller interval has more (heaptap run "
               "--interval)\n",
               sums_samples((double)total->values[column], total->variances[column]));
}

/* "81 functions in 44 rows of the profile" */
static void print_counts(const struct top *top)
{
    size_t count = top->profile.sample_count;
    printf("%zu %s in %zu row%s of the profile\n", top->rows.count,
           view_rows(&top->view, top->rows.count), count, count == 1 ? "" : "s");
}

static int print_text(const struct top *top)
{
    view_print_profile(&top->terminal, "", &top->profile);
    if (top->view.shows_stats) {
        for (unsigned i = 0; i < PROFILE_COLUMNS; i++)
            print_total(top, view_column(&top->view, i));
        print_counts(top);
        print_errors(top);
        putchar('\n');
        view_print_comments(&top->terminal, &top->profile);
        return view_finish();
    }
    for (unsigned i = 0; i < view_lines(&top->view); i++)
        print_total(top, view_column(&top->view, i));
    print_errors(top);
    putchar('\n');
    return print_table(top) ? view_finish() : 1;
}

static void put_sums(struct json *json, const struct top *top, const char *key,
                     const struct sums *sums)
{
    json_open(json, key, '{');
    for (enum profile_column i = 0; i < PROFILE_COLUMNS; i++) {
        json_open(json, profile_column_names[i], '{');
        json_integer(json, "value", sums->values[i]);
        if (top->profile.has_errors) {
            struct ht_range range = sums_range(sums, i, sums_interval(&top->rows.total[0]));
            json_number(json, "low", range.low);
            json_number(json, "high", range.high);
            json_number(json, "variance", sums->variances[i]);
        } else {
            json_null(json, "low");
            json_null(json, "high");
            json_null(json, "variance");
        }
        json_close(json, '}');
    }
    json_close(json, '}');
}

static int print_json(const struct top *top)
{
    struct json json = {0};
    json_open(&json, NULL, '{');
    json_text(&json, "report", "top");
    view_put_profile(&json, "profile", &top->profile);
    json_text(&json, "by", view_rows(&top->view, 1));
    json_text(&json, "sort", profile_column_names[top->view.sort]);
    json_text(&json, "errors",
              !top->profile.has_errors ? "unknown"
              : top->is_exact          ? "exact"
                                       : "known");
    put_sums(&json, top, "total", &top->rows.total[0]);
    json_integer(&json, "row_count", (int64_t)top->rows.count);
    json_open(&json, "rows", '[');
    uint64_t shown = 0;
    for (size_t i = 0; i < top->rows.count && shown < top->view.count; i++) {
        const struct row *row = &top->rows.all[i];
        if (top->view.shows_stats)
            break;
        shown++;
        json_open(&json, NULL, '{');
        view_put_row(&top->view, &json, &top->rows, row);
        put_sums(&json, top, "flat", &row->flat[0]);
        put_sums(&json, top, "cum", &row->cum[0]);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    return view_finish();
}

static int report(struct top *top)
{
    top->rows = (struct rows){.by = top->view.by, .frames = &top->frames};
    int r = 1;
    if (rows_add(&top->rows, &top->profile, 0)) {
        top->is_exact = is_exact(&top->profile, &top->rows.total[0]);
        top->has_errors = top->profile.has_errors && !top->is_exact;
        qsort_r(top->rows.all, top->rows.count, sizeof(struct row), compare, top);
        r = top->view.shows_json ? print_json(top) : print_text(top);
    }
    rows_free(&top->rows);
    return r;
}

int top_command(int argc, char **argv)
{
    struct top top = {.frames = frames_empty()};
    bool done = false;
    int r = view_take(&top.view, "top", 1, argc, argv, &done);
    if (r != 0 || done)
        return r;
    top.terminal = terminal_look();
    r = 1;
    if (profile_read(top.view.files[0], &top.frames, &top.profile)) {
        r = report(&top);
        profile_free(&top.profile);
    }
    frames_free(&top.frames);
    return r;
}
