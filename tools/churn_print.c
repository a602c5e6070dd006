#include "churn.h"

#include <stdio.h>

#include "report/confidence.h"

#include "groups_print.h"
#include "tool.h"

static const char *bucket_text(size_t bucket)
{
    static char text[32];
    if (bucket == CHURN_BUCKETS)
        return "in use";
    if (bucket == CHURN_BUCKETS - 1)
        snprintf(text, sizeof(text), ">=%s", churn_bound(bucket - 1));
    else
        snprintf(text, sizeof(text), "<%s", churn_bound(bucket));
    return text;
}

/* "12,345" is wide; "12.3k" is enough. */
static const char *count_text(double count)
{
    static char texts[4][32];
    static unsigned next;
    static const char units[] = " kMGT";
    char *text = texts[next++ % 4];
    size_t unit = 0;
    while (count >= 9999.5 && unit + 2 < sizeof(units)) {
        count /= 1000;
        unit++;
    }
    snprintf(text, sizeof(texts[0]), unit && count < 99.95 ? "%.1f%.1s" : "%.0f%.1s", count,
             unit ? &units[unit] : "");
    return text;
}

static double half_range(double value, double variance)
{
    struct ht_range range = ht_confidence_range(value, variance, 0);
    return (range.high - range.low) / 2;
}

static void add_percent(struct table *table, double part, double whole)
{
    if (whole > 0)
        groups_cell(table, "%.0f %%", 100 * part / whole);
    else
        groups_cell(table, "-");
}

static void add_row(struct table *table, const struct churn *churn, const struct churn_row *row)
{
    const struct churn_parting *common = churn_common(row);
    const char *candidate = churn_candidate(row);
    const char *plus_minus = terminal_plus_minus(table->terminal);
    groups_cell(table, "%s %s%s", text_bytes((uint64_t)row->bytes), plus_minus,
                text_bytes((uint64_t)half_range(row->bytes, row->bytes_variance)));
    groups_cell(table, "%s %s%s", count_text(row->objects), plus_minus,
                count_text(half_range(row->objects, row->objects_variance)));
    add_percent(table, row->within, row->objects);
    groups_cell(table, "%s", bucket_text(churn_median(row)));
    add_percent(table, row->objects - row->freed, row->objects);
    add_percent(table, row->same_thread, row->same_thread + row->other_thread);
    if (common && row->freed > 0)
        groups_cell(table, "%.0f %% %.40s", 100 * common->objects / row->freed,
                    frames_name(&churn->frames, common->function_id));
    else
        groups_cell(table, "-");
    groups_cell(table, "%s", *candidate ? candidate : "-");
    groups_cell(table, "%s", group_text(&churn->groups, &churn->frames, row->group, 0));
    table_end_row(table, TABLE_PLAIN);
}

void churn_print(const struct churn *churn)
{
    static const char *const heads[] = {"allocated",   "objects",     "median",    "in use",
                                        "same thread", "freed below", "candidate", "allocated by"};
    if (churn->row_count == 0) {
        printf("nothing was sampled in %s\n", churn->options.path);
        return;
    }
    struct terminal terminal = terminal_look();
    struct table table = table_start(&terminal, HT_ARRAY_SIZE(heads) + 1);
    size_t shown = ht_min(churn->row_count, churn->options.shown_max);
    bool is_unsure = false;
    for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++) {
        table_cell(&table, heads[i]);
        if (i == 1)
            table_cell(&table, bucket_text(churn->options.within));
    }
    table_end_row(&table, TABLE_HEAD);
    for (size_t i = 0; i < shown; i++) {
        add_row(&table, churn, &churn->rows[i]);
        is_unsure |= churn_candidate(&churn->rows[i])[0] == '?';
    }
    table_print(&table);
    if (shown < churn->row_count)
        printf("... and %zu more\n", churn->row_count - shown);
    if (is_unsure)
        printf("?: fewer than %d samples\n", CHURN_SAMPLES_MIN);
    for (size_t i = 0; churn->options.by == BY_STACK && i < shown; i++)
        groups_put_stack(&terminal, &churn->groups, &churn->frames, churn->rows[i].group, i + 1);
}

static void put_json_row(struct json *json, const struct churn *churn, const struct churn_row *row)
{
    const struct churn_parting *common = churn_common(row);
    json_open(json, NULL, '{');
    groups_json_stack(json, &churn->groups, &churn->frames, row->group);
    json_number(json, "alloc_bytes", row->bytes);
    json_number(json, "alloc_bytes_error", half_range(row->bytes, row->bytes_variance));
    json_number(json, "alloc_objects", row->objects);
    json_number(json, "alloc_objects_error", half_range(row->objects, row->objects_variance));
    json_number(json, "freed_objects", row->freed);
    json_number(json, "freed_within_objects", row->within);
    json_number(json, "same_thread_objects", row->same_thread);
    json_number(json, "other_thread_objects", row->other_thread);
    json_text(json, "median", bucket_text(churn_median(row)));
    if (common) {
        json_text(json, "freed_below", frames_name(&churn->frames, common->function_id));
        json_number(json, "freed_below_objects", common->objects);
    }
    json_text(json, "candidate", churn_candidate(row));
    json_close(json, '}');
}

void churn_print_json(const struct churn *churn)
{
    struct json json = {0};
    json_open(&json, NULL, '{');
    json_text(&json, "within", bucket_text(churn->options.within));
    json_open(&json, "rows", '[');
    for (size_t i = 0; i < churn->row_count && i < churn->options.shown_max; i++)
        put_json_row(&json, churn, &churn->rows[i]);
    json_close(&json, ']');
    json_close(&json, '}');
}
