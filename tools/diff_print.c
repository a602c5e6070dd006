/* What heaptap diff found, as a table and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "diff.h"

#define Z_MAX      99  /* larger ones say no more */
#define WIDE_TABLE 110 /* columns; in fewer, names are worth more than old and new values */

/* Text that a table gets beside a change: "±3.1", and "2.1" or "few". */
static void error_text(const struct diff *diff, const struct change *change, struct sums_unit unit,
                       char text[SUMS_TEXT_SIZE])
{
    sums_error_text(text, unit, change->value - change->range.low,
                    change->range.high - change->value, terminal_plus_minus(&diff->terminal));
}

static void z_text(const struct change *change, char text[SUMS_TEXT_SIZE])
{
    if (change->is_few)
        snprintf(text, SUMS_TEXT_SIZE, "few");
    else if (isinf(change->z))
        snprintf(text, SUMS_TEXT_SIZE, "exact");
    else if (fabs(change->z) > Z_MAX)
        snprintf(text, SUMS_TEXT_SIZE, change->z < 0 ? "<-%d" : ">%d", Z_MAX);
    else
        snprintf(text, SUMS_TEXT_SIZE, "%.1f", change->z == 0 ? 0.0 : change->z);
}

static struct sums_unit unit_of(enum profile_column column, const struct change *change)
{
    double reach = fmax(change->value - change->range.low, change->range.high - change->value);
    return sums_unit(column, fmax(fabs(change->value), reach));
}

/* Old and new values stand beside the change that rows are sorted by, where there is room. */
static bool has_sides(const struct diff *diff, bool is_cum)
{
    bool is_sorted = diff->view.by == ROWS_BY_STACK || is_cum == diff->view.sorts_cum;
    return is_sorted && diff->terminal.width >= WIDE_TABLE;
}

static void add_sides(struct table *table, const struct sums sums[ROWS_PROFILES],
                      enum profile_column column)
{
    char text[SUMS_TEXT_SIZE];
    for (unsigned i = 0; i < ROWS_PROFILES; i++) {
        double value = (double)sums[i].values[column];
        sums_value_text(text, sums_unit(column, value), value, false);
        table_cell(table, text);
    }
}

static void add_change(struct table *table, const struct diff *diff,
                       const struct sums sums[ROWS_PROFILES], enum profile_column column)
{
    char text[SUMS_TEXT_SIZE];
    struct change change = diff_change(diff, sums, column);
    struct sums_unit unit = unit_of(column, &change);
    sums_value_text(text, unit, change.value, true);
    table_cell(table, text);
    if (!diff->has_errors)
        return;
    /* Nothing was seen, in neither profile. */
    bool is_empty = sums[0].values[column] == 0 && sums[1].values[column] == 0;
    error_text(diff, &change, unit, text);
    table_cell(table, is_empty ? "" : text);
    z_text(&change, text);
    table_cell(table, is_empty || (change.value == 0 && isinf(change.samples)) ? "" : text);
}

static void add_cells(struct table *table, const struct diff *diff, const struct row *row,
                      enum profile_column column)
{
    unsigned groups = diff->view.by == ROWS_BY_STACK ? 1 : 2;
    for (unsigned i = 0; i < groups; i++) {
        const struct sums *sums = i == 0 ? row->flat : row->cum;
        add_change(table, diff, sums, column);
        if (has_sides(diff, i == 1))
            add_sides(table, sums, column);
    }
}

/* Columns of numbers: a mark, then for flat and cum the change, its error and its z; in one of them,
 * the old and the new value. */
static unsigned columns_of(const struct diff *diff)
{
    unsigned groups = diff->view.by == ROWS_BY_STACK ? 1 : 2;
    unsigned sides = diff->terminal.width >= WIDE_TABLE ? ROWS_PROFILES : 0;
    return (diff->has_errors ? 3 * groups + 1 : groups) + sides + diff->view.shows_all;
}

static void add_head(struct table *table, const struct diff *diff)
{
    bool is_stack = diff->view.by == ROWS_BY_STACK;
    if (diff->has_errors)
        table_cell(table, "");
    for (int i = 0; i < (is_stack ? 1 : 2); i++) {
        table_cell(table, is_stack ? "change" : i == 0 ? "flat" : "cum");
        if (diff->has_errors) {
            table_cell(table, diff->terminal.is_utf8 ? "\xc2\xb1"
                                                       "95%"
                                                     : "+-95%");
            table_cell(table, "z");
        }
        if (has_sides(diff, i == 1)) {
            table_cell(table, "old");
            table_cell(table, "new");
        }
    }
    if (diff->view.shows_all)
        table_cell(table, "of");
    table_cell(table, view_rows(&diff->view, 1));
    table_end_row(table, TABLE_HEAD);
}

static void add_row(struct table *table, const struct diff *diff, const struct row *row)
{
    bool is_noise = diff_is_noise(diff, row);
    enum table_look look = is_noise ? TABLE_GREY : TABLE_PLAIN;
    for (unsigned line = 0; line < view_lines(&diff->view); line++) {
        enum profile_column column = view_column(&diff->view, line);
        if (diff->has_errors)
            table_cell(table, is_noise && line == 0 ? "~" : "");
        add_cells(table, diff, row, column);
        if (diff->view.shows_all)
            table_cell(table, profile_column_names[column]);
        table_cell(table, line == 0 ? view_name(&diff->view, &diff->rows, row) : "");
        table_end_row(table, look);
    }
    view_add_callers(&diff->view, table, &diff->rows, row, look);
}

/* What the signs in the table mean, as far as they are there. */
static void print_legend(const struct diff *diff, uint64_t noisy, bool has_few)
{
    if (noisy > 0)
        puts("~: noise explains this, as far as can be told");
    if (has_few)
        printf("few: of fewer than %d samples, too few to tell\n", CHANGE_SAMPLES_MIN);
    if (diff->has_errors && diff->is_one_process && !diff->is_same_profile &&
        diff->view.sort >= PROFILE_INUSE_OBJECTS)
        puts("both are of one process: what is in use in both has the same error, and changes are "
             "surer than that");
}

static bool print_table(const struct diff *diff)
{
    struct table table = table_start(&diff->terminal, columns_of(diff) + 1);
    uint64_t shown = 0, left = 0, noisy = 0, dropped = 0;
    bool has_few = false;
    add_head(&table, diff);
    for (size_t i = 0; i < diff->rows.count; i++) {
        const struct row *row = &diff->rows.all[i];
        dropped += diff->view.only_significant && diff_is_noise(diff, row);
        if (!diff_is_shown(diff, row))
            continue;
        if (shown == diff->view.count) {
            left++;
            continue;
        }
        shown++;
        noisy += diff_is_noise(diff, row);
        add_row(&table, diff, row);
        for (unsigned line = 0; line < view_lines(&diff->view); line++) {
            enum profile_column column = view_column(&diff->view, line);
            has_few = has_few || diff_change(diff, row->flat, column).is_few ||
                      diff_change(diff, row->cum, column).is_few;
        }
    }
    if (!table_print(&table))
        return false;
    if (shown == 0)
        puts(dropped ? "nothing that noise does not explain" : "nothing changed");
    if (left > 0)
        printf("and %llu more %s: --count 0 shows all\n", (unsigned long long)left,
               view_rows(&diff->view, left));
    print_legend(diff, noisy, has_few);
    return true;
}

/* "inuse_space: 33.3 MiB -> 102.6 MiB, +69.3 MiB ±5.9, z = 25.1" */
static void print_total(const struct diff *diff, enum profile_column column)
{
    const struct sums *total = diff->rows.total;
    struct change change = diff_change(diff, total, column);
    struct sums_unit unit = unit_of(column, &change);
    char old[SUMS_TEXT_SIZE], new[SUMS_TEXT_SIZE], text[SUMS_TEXT_SIZE], error[SUMS_TEXT_SIZE];
    double values[] = {(double)total[0].values[column], (double)total[1].values[column]};
    sums_value_text(old, sums_unit(column, values[0]), values[0], false);
    sums_value_text(new, sums_unit(column, values[1]), values[1], false);
    sums_value_text(text, unit, change.value, true);
    printf("%s: %s -> %s, %s", profile_column_names[column], old, new, text);
    if (diff->has_errors) {
        error_text(diff, &change, unit, error);
        printf("%s%s", *error ? " " : "", error);
        z_text(&change, text);
        if (!isinf(change.samples) && !change.is_few)
            printf(", z = %s", text);
    }
    putchar('\n');
}

static void print_errors(const struct diff *diff)
{
    const struct profile *old = &diff->profiles[0], *new = &diff->profiles[1];
    struct change change = diff_change(diff, diff->rows.total, diff->view.sort);
    if (diff->is_same_profile)
        puts("both are the same profile");
    else if (!diff->has_errors)
        printf("no error is known: %s does not say how sure its numbers are\n",
               old->has_errors   ? "the new profile"
               : new->has_errors ? "the old profile"
                                 : "neither profile");
    else if (change.is_few)
        printf("too few samples to tell: about %.0f in both; a smaller interval has more (heaptap "
               "run --interval)\n",
               change.samples);
}

int diff_print_text(const struct diff *diff)
{
    static const char *const which[] = {"old: ", "new: "};
    for (unsigned i = 0; i < ROWS_PROFILES; i++)
        view_print_profile(&diff->terminal, which[i], &diff->profiles[i]);
    for (unsigned i = 0; i < (diff->view.shows_stats ? PROFILE_COLUMNS : view_lines(&diff->view));
         i++)
        print_total(diff, view_column(&diff->view, i));
    print_errors(diff);
    putchar('\n');
    if (diff->view.shows_stats) {
        for (unsigned i = 0; i < ROWS_PROFILES; i++) {
            printf("%s%s\n", i == 0 ? "" : "\n", which[i]);
            view_print_comments(&diff->terminal, &diff->profiles[i]);
        }
        return view_finish();
    }
    return print_table(diff) ? view_finish() : 1;
}

static void put_changes(struct json *json, const struct diff *diff, const char *key,
                        const struct sums sums[ROWS_PROFILES])
{
    json_open(json, key, '{');
    for (enum profile_column i = 0; i < PROFILE_COLUMNS; i++) {
        struct change change = diff_change(diff, sums, i);
        json_open(json, profile_column_names[i], '{');
        json_integer(json, "old", sums[0].values[i]);
        json_integer(json, "new", sums[1].values[i]);
        json_number(json, "change", change.value);
        if (diff->has_errors) {
            json_number(json, "low", change.range.low);
            json_number(json, "high", change.range.high);
            json_number(json, "variance", change.variance);
            json_number(json, "z", change.z);
            json_boolean(json, "few", change.is_few);
        } else {
            static const char *const unknown[] = {"low", "high", "variance", "z", "few"};
            for (size_t k = 0; k < HT_ARRAY_SIZE(unknown); k++)
                json_null(json, unknown[k]);
        }
        json_close(json, '}');
    }
    json_close(json, '}');
}

int diff_print_json(const struct diff *diff)
{
    struct json json = {0};
    uint64_t shown = 0;
    json_open(&json, NULL, '{');
    json_text(&json, "report", "diff");
    view_put_profile(&json, "old", &diff->profiles[0]);
    view_put_profile(&json, "new", &diff->profiles[1]);
    json_text(&json, "by", view_rows(&diff->view, 1));
    json_text(&json, "sort", profile_column_names[diff->view.sort]);
    json_text(&json, "errors", diff->has_errors ? "known" : "unknown");
    json_boolean(&json, "same_process", diff->is_one_process);
    put_changes(&json, diff, "total", diff->rows.total);
    json_open(&json, "rows", '[');
    for (size_t i = 0; i < diff->rows.count && shown < diff->view.count; i++) {
        const struct row *row = &diff->rows.all[i];
        if (diff->view.shows_stats)
            break;
        if (diff->view.only_significant && diff_is_noise(diff, row))
            continue;
        shown++;
        json_open(&json, NULL, '{');
        view_put_row(&diff->view, &json, &diff->rows, row);
        if (diff->has_errors)
            json_boolean(&json, "noise", diff_is_noise(diff, row));
        else
            json_null(&json, "noise");
        put_changes(&json, diff, "flat", row->flat);
        put_changes(&json, diff, "cum", row->cum);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    return view_finish();
}
