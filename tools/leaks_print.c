#include "leaks.h"

#include <math.h>
#include <stdio.h>

#include "groups_print.h"
#include "tool.h"

#define MIB 1048576.0

const char *text_time(double nanos)
{
    static const struct {
        double nanos;
        const char *name;
    } units[] = {{86400e9, "days"}, {3600e9, "h"}, {60e9, "min"}, {1e9, "s"}, {1e6, "ms"}};
    static char results[4][32];
    static unsigned next;
    char *result = results[next++ % 4];
    size_t i = 0;
    while (i + 1 < HT_ARRAY_SIZE(units) && nanos < units[i].nanos * (i < 3 ? 2 : 1))
        i++;
    double value = nanos / units[i].nanos;
    snprintf(result, sizeof(results[0]), "%.*f %s", value < 10 && i < 4 ? 1 : 0, value,
             units[i].name);
    return result;
}

static const char *bytes_of(double bytes)
{
    return text_bytes(bytes > 0 ? (uint64_t)(bytes + 0.5) : 0);
}

/* In words: the odds that a stack which only fluctuates looks like this, in any row. */
static const char *text_chance(double p)
{
    static char result[32];
    if (p < 1e-6)
        return "below 1 in a million";
    snprintf(result, sizeof(result), "1 in %.0f", 1 / p);
    return result;
}

static void print_head(const struct leaks *leaks)
{
    const struct sequence *sequence = leaks->sequence;
    printf("%zu profiles over %s; %s were allocated meanwhile; %s in use at the end\n",
           sequence->count, text_time(leaks->minutes * 60e9), bytes_of(leaks->alloc_bytes),
           bytes_of(sequence->moments[sequence->count - 1].inuse.bytes));
}

static const char *rows_are(const struct leaks *leaks)
{
    static const char *const words[][2] = {[BY_STACK] = {"stack", "stacks"},
                                           [BY_FUNCTION] = {"function", "functions"},
                                           [BY_LINE] = {"line", "lines"}};
    return words[leaks->sequence->groups.by][leaks->rows != 1];
}

/* An interval that would show a leak of a hundredth of what is allocated, in as long a run. */
static double better_interval(const struct leaks *leaks)
{
    double wanted = leaks->alloc_bytes / 100 / leaks->samples_needed;
    return wanted < 1 ? 1 : exp2(floor(log2(wanted)));
}

/* One line: what would have been seen, or why nothing could be. */
static void print_nothing(const struct leaks *leaks)
{
    const struct sequence *sequence = leaks->sequence;
    const char *time = text_time(leaks->minutes * 60e9);
    if (isinf(leaks->samples_needed)) {
        printf("too few profiles to tell growth from fluctuation: %zu over %s; 8 tell of a fast "
               "leak, 20 of a slow one (heaptap snapshot --every 10s --count 20 PID)\n",
               sequence->count, time);
    } else if (leaks->bytes_needed > leaks->alloc_bytes) {
        printf("too few samples to tell: a leak has to leave about %.0f of them in %zu profiles, "
               "%s, and %s were allocated over %s; a longer run or a smaller interval tells\n",
               leaks->samples_needed, sequence->count, bytes_of(leaks->bytes_needed),
               bytes_of(leaks->alloc_bytes), time);
    } else {
        double share = 100 * leaks->bytes_needed / leaks->alloc_bytes;
        printf("nothing grows: %zu profiles over %s, %zu %s; a steady leak of %s, %.2g %% of what "
               "was allocated, would have been named nine times out of ten",
               sequence->count, time, leaks->rows, rows_are(leaks), bytes_of(leaks->bytes_needed),
               share);
        if (share > 1 && !leaks->is_exact)
            printf("; at an interval of %s, one of 1 %%", bytes_of(better_interval(leaks)));
        putchar('\n');
    }
}

static void add_row(struct table *table, const struct leaks *leaks, size_t number)
{
    const struct leak *leak = &leaks->all[number];
    const struct sequence *sequence = leaks->sequence;
    double oldest = sequence->oldest_nanos[leak->group];
    groups_cell(table, "%s", oldest > 0 ? text_time(oldest) : "?");
    groups_cell(table, "%s", bytes_of(leak->trend.growth));
    groups_cell(table, "%s to %s", bytes_of(leak->trend.low), bytes_of(leak->trend.high));
    groups_cell(table, "%s", bytes_of(leak->trend.growth / leak->minutes));
    groups_cell(table, "%s",
                leak->alloc_bytes > 0 ? bytes_of(leak->trend.growth / leak->alloc_bytes * MIB)
                                      : "?");
    groups_cell(table, "%s", text_chance(leak->trend.p));
    groups_cell(table, "%s", bytes_of(sequence->points[leak->group][sequence->count - 1].bytes));
    groups_cell(table, "%s%s", leak->trend.first > 0 ? "* " : "",
                group_text(&sequence->groups, &sequence->frames, leak->group, 0));
    table_end_row(table, TABLE_PLAIN);
}

void leaks_print(const struct leaks *leaks)
{
    static const char *const heads[] = {"oldest", "growth", "95 % interval", "a minute",
                                        "a MiB",  "chance", "in use",        "allocated by"};
    if (leaks->count == 0) {
        print_nothing(leaks);
        return;
    }
    const struct sequence *sequence = leaks->sequence;
    struct terminal terminal = terminal_look();
    struct table table = table_start(&terminal, HT_ARRAY_SIZE(heads));
    size_t shown = ht_min(leaks->count, leaks->shown_max);
    bool skips = false;
    print_head(leaks);
    printf("%zu of %zu %s %s:\n\n", leaks->count, leaks->rows, rows_are(leaks),
           leaks->count == 1 ? "grows" : "grow");
    for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++)
        table_cell(&table, heads[i]);
    table_end_row(&table, TABLE_HEAD);
    for (size_t i = 0; i < shown; i++) {
        add_row(&table, leaks, i);
        skips |= leaks->all[i].trend.first > 0;
    }
    table_print(&table);
    if (shown < leaks->count)
        printf("... and %zu more\n", leaks->count - shown);
    for (size_t i = 0; sequence->groups.by == BY_STACK && i < shown; i++)
        groups_put_stack(&terminal, &sequence->groups, &sequence->frames, leaks->all[i].group,
                         i + 1);
    puts(
        "\na MiB: growth for each MiB that the whole program allocated; chance: that any of these\n"
        "looks so without a leak");
    if (skips)
        puts("* without the start of the run, in which it grew otherwise");
}

static void put_json_row(struct json *json, const struct leaks *leaks, const struct leak *leak)
{
    const struct sequence *sequence = leaks->sequence;
    const struct trend *trend = &leak->trend;
    json_open(json, NULL, '{');
    groups_json_stack(json, &sequence->groups, &sequence->frames, leak->group);
    json_number(json, "growth_bytes", trend->growth);
    json_number(json, "growth_low", trend->low);
    json_number(json, "growth_high", trend->high);
    json_number(json, "bytes_per_minute", trend->growth / leak->minutes);
    json_number(json, "bytes_per_mib_allocated", trend->growth / leak->alloc_bytes * MIB);
    json_number(json, "chance", trend->p);
    json_number(json, "samples", trend->samples);
    json_integer(json, "first_profile", (int64_t)trend->first);
    json_number(json, "inuse_bytes", sequence->points[leak->group][sequence->count - 1].bytes);
    json_number(json, "oldest_seconds", sequence->oldest_nanos[leak->group] / 1e9);
    json_close(json, '}');
}

void leaks_print_json(const struct leaks *leaks)
{
    struct json json = {0};
    json_open(&json, NULL, '{');
    json_integer(&json, "profiles", (int64_t)leaks->sequence->count);
    json_number(&json, "seconds", leaks->minutes * 60);
    json_number(&json, "allocated_bytes", leaks->alloc_bytes);
    json_integer(&json, "rows", (int64_t)leaks->rows);
    json_number(&json, "smallest_leak_bytes", leaks->bytes_needed);
    json_open(&json, "leaks", '[');
    for (size_t i = 0; i < leaks->count && i < leaks->shown_max; i++)
        put_json_row(&json, leaks, &leaks->all[i]);
    json_close(&json, ']');
    json_close(&json, '}');
}
