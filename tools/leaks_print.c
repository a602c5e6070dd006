#include "leaks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "table.h"
#include "tool.h"

#define FRAMES_SHOWN 16
#define MIB          1048576.0

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
    if (p < 1e-9)
        return "below 1 in 10^9";
    if (p < 1e-5)
        snprintf(result, sizeof(result), "1 in %.0e", 1 / p);
    else
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
    static const char *const words[] = {
        [BY_STACK] = "stacks", [BY_FUNCTION] = "functions", [BY_LINE] = "lines"};
    return words[leaks->sequence->groups.by];
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

static void print_stack(const struct leaks *leaks, size_t group)
{
    const struct sequence *sequence = leaks->sequence;
    uint32_t length = sequence->groups.all[group].length;
    for (uint32_t i = 0; i < length && i < FRAMES_SHOWN; i++)
        printf("    %s\n", group_text(&sequence->groups, &sequence->frames, group, i));
    if (length > FRAMES_SHOWN)
        printf("    ... and %u more\n", length - FRAMES_SHOWN);
}

static void add_row(struct table *table, const struct leaks *leaks, size_t number)
{
    const struct leak *leak = &leaks->all[number];
    const struct sequence *sequence = leaks->sequence;
    double oldest = sequence->oldest_nanos[leak->group];
    table_add(table, "%s", oldest > 0 ? text_time(oldest) : "?");
    table_add(table, "%s", bytes_of(leak->trend.growth));
    table_add(table, "%s to %s", bytes_of(leak->trend.low), bytes_of(leak->trend.high));
    table_add(table, "%s", bytes_of(leak->trend.growth / leak->minutes));
    table_add(table, "%s",
              leak->alloc_bytes > 0 ? bytes_of(leak->trend.growth / leak->alloc_bytes * MIB) : "?");
    table_add(table, "%s", text_chance(leak->trend.p));
    table_add(table, "%s", bytes_of(sequence->points[leak->group][sequence->count - 1].bytes));
    table_add(table, "%s%s", leak->trend.first > 0 ? "* " : "",
              group_text(&sequence->groups, &sequence->frames, leak->group, 0));
}

void leaks_print(const struct leaks *leaks)
{
    static const char *const heads[] = {"oldest", "growth", "95 % interval", "a minute",
                                        "a MiB",  "chance", "in use",        "allocated by"};
    if (leaks->count == 0) {
        print_nothing(leaks);
        return;
    }
    size_t shown = ht_min(leaks->count, leaks->shown_max);
    bool skips = false;
    print_head(leaks);
    printf("%zu of %zu %s %s:\n\n", leaks->count, leaks->rows, rows_are(leaks),
           leaks->count == 1 ? "grows" : "grow");
    struct table table = {.columns = HT_ARRAY_SIZE(heads)};
    for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++)
        table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < shown; i++) {
        add_row(&table, leaks, i);
        skips |= leaks->all[i].trend.first > 0;
    }
    table_print(&table);
    table_free(&table);
    if (shown < leaks->count)
        printf("... and %zu more\n", leaks->count - shown);

    if (leaks->sequence->groups.by == BY_STACK) {
        for (size_t i = 0; i < shown; i++) {
            printf("\nstack %zu:\n", i + 1);
            print_stack(leaks, leaks->all[i].group);
        }
    }
    puts(
        "\na MiB: growth for each MiB that the whole program allocated; chance: that any of these\n"
        "looks so without a leak");
    if (skips)
        puts("* without the start of the run, in which it grew otherwise");
}

static void print_json_row(const struct leaks *leaks, const struct leak *leak)
{
    const struct sequence *sequence = leaks->sequence;
    const struct trend *trend = &leak->trend;
    double minutes = leak->minutes, mib = leak->alloc_bytes / MIB;
    printf("{\"stack\": [");
    for (uint32_t i = 0; i < sequence->groups.all[leak->group].length; i++) {
        fputs(i ? ", " : "", stdout);
        json_string(group_text(&sequence->groups, &sequence->frames, leak->group, i));
    }
    printf("], \"growth_bytes\": %.0f, \"growth_low\": %.0f, \"growth_high\": %.0f, ",
           trend->growth, trend->low, trend->high);
    printf("\"bytes_per_minute\": %.1f, \"bytes_per_mib_allocated\": %.1f, ",
           minutes > 0 ? trend->growth / minutes : 0, mib > 0 ? trend->growth / mib : 0);
    printf("\"chance\": %.3g, \"samples\": %.0f, \"first_profile\": %zu, ", trend->p,
           trend->samples, trend->first);
    printf("\"inuse_bytes\": %.0f, \"oldest_seconds\": %.3f}",
           sequence->points[leak->group][sequence->count - 1].bytes,
           sequence->oldest_nanos[leak->group] / 1e9);
}

void leaks_print_json(const struct leaks *leaks)
{
    const struct sequence *sequence = leaks->sequence;
    printf("{\"profiles\": %zu, \"seconds\": %.3f, \"allocated_bytes\": %.0f, \"rows\": %zu,\n",
           sequence->count, leaks->minutes * 60, leaks->alloc_bytes, leaks->rows);
    if (isinf(leaks->bytes_needed))
        printf(" \"smallest_leak_bytes\": null,\n");
    else
        printf(" \"smallest_leak_bytes\": %.0f,\n", leaks->bytes_needed);
    printf(" \"leaks\": [");
    for (size_t i = 0; i < leaks->count && i < leaks->shown_max; i++) {
        fputs(i ? ",\n  " : "\n  ", stdout);
        print_json_row(leaks, &leaks->all[i]);
    }
    puts("]}");
}
