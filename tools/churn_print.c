#include "churn.h"

#include <stdio.h>

#include "report/confidence.h"

#include "json.h"
#include "table.h"
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
        table_add(table, "%.0f %%", 100 * part / whole);
    else
        table_add(table, "-");
}

static void add_row(struct table *table, const struct churn *churn, const struct churn_row *row)
{
    const struct churn_parting *common = churn_common(row);
    const char *candidate = churn_candidate(row);
    table_add(table, "%s ±%s", text_bytes((uint64_t)row->bytes),
              text_bytes((uint64_t)half_range(row->bytes, row->bytes_variance)));
    table_add(table, "%s ±%s", count_text(row->objects),
              count_text(half_range(row->objects, row->objects_variance)));
    add_percent(table, row->within, row->objects);
    table_add(table, "%s", bucket_text(churn_median(row)));
    add_percent(table, row->objects - row->freed, row->objects);
    add_percent(table, row->same_thread, row->same_thread + row->other_thread);
    if (common && row->freed > 0)
        table_add(table, "%.0f %% %.40s", 100 * common->objects / row->freed,
                  frames_name(&churn->frames, common->function_id));
    else
        table_add(table, "-");
    table_add(table, "%s", *candidate ? candidate : "-");
    table_add(table, "%s", group_text(&churn->groups, &churn->frames, row->group, 0));
}

void churn_print(const struct churn *churn)
{
    static const char *const heads[] = {"allocated",   "objects",     "median",    "in use",
                                        "same thread", "freed below", "candidate", "allocated by"};
    if (churn->row_count == 0) {
        printf("nothing was sampled in %s\n", churn->options.path);
        return;
    }
    size_t shown = ht_min(churn->row_count, churn->options.shown_max);
    bool is_unsure = false;
    struct table table = {.columns = HT_ARRAY_SIZE(heads) + 1};
    for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++) {
        table_add(&table, "%s", heads[i]);
        if (i == 1)
            table_add(&table, "%s", bucket_text(churn->options.within));
    }
    for (size_t i = 0; i < shown; i++) {
        add_row(&table, churn, &churn->rows[i]);
        is_unsure |= churn_candidate(&churn->rows[i])[0] == '?';
    }
    table_print(&table);
    table_free(&table);
    if (shown < churn->row_count)
        printf("... and %zu more\n", churn->row_count - shown);
    if (is_unsure)
        printf("?: fewer than %d samples\n", CHURN_SAMPLES_MIN);
    for (size_t i = 0; churn->options.by == BY_STACK && i < shown; i++) {
        printf("\nstack %zu:\n", i + 1);
        for (uint32_t k = 0; k < churn->groups.all[churn->rows[i].group].length; k++)
            printf("    %s\n", group_text(&churn->groups, &churn->frames, churn->rows[i].group, k));
    }
}

static void print_json_row(const struct churn *churn, const struct churn_row *row)
{
    const struct churn_parting *common = churn_common(row);
    printf("{\"stack\": [");
    for (uint32_t i = 0; i < churn->groups.all[row->group].length; i++) {
        fputs(i ? ", " : "", stdout);
        json_string(group_text(&churn->groups, &churn->frames, row->group, i));
    }
    printf("], \"alloc_bytes\": %.0f, \"alloc_bytes_error\": %.0f, \"alloc_objects\": %.0f, "
           "\"alloc_objects_error\": %.0f, ",
           row->bytes, half_range(row->bytes, row->bytes_variance), row->objects,
           half_range(row->objects, row->objects_variance));
    printf(
        "\"freed_objects\": %.0f, \"freed_within_objects\": %.0f, \"same_thread_objects\": %.0f, "
        "\"other_thread_objects\": %.0f, \"median\": \"%s\", ",
        row->freed, row->within, row->same_thread, row->other_thread,
        bucket_text(churn_median(row)));
    if (common) {
        printf("\"freed_below\": ");
        json_string(frames_name(&churn->frames, common->function_id));
        printf(", \"freed_below_objects\": %.0f, ", common->objects);
    }
    printf("\"candidate\": \"%s\"}", churn_candidate(row));
}

void churn_print_json(const struct churn *churn)
{
    printf("{\"within\": \"%s\", \"rows\": [", bucket_text(churn->options.within));
    for (size_t i = 0; i < churn->row_count && i < churn->options.shown_max; i++) {
        fputs(i ? ",\n  " : "\n  ", stdout);
        print_json_row(churn, &churn->rows[i]);
    }
    puts("]}");
}
