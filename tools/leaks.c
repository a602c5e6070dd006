#include "leaks.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "control/parse.h"

#include "tool.h"

enum { EXIT_GROWS = 3 };

#define ROWS_SHOWN 20
/* A leak of more samples than this is plain without us. */
#define SAMPLES_NEEDED_MAX 10000

struct options {
    enum groups_by by;
    uint64_t shown_max;
    bool json, exit_code;
    char **paths;
    size_t path_count;
};

static int take_value(struct options *options, const char *option, const char *value)
{
    if (!value)
        return say_usage("leaks", "%s needs a value", option);
    if (strcmp(option, "--by") == 0) {
        if (groups_parse_by(value, &options->by))
            return 0;
        return say_usage("leaks", "--by %s is refused: stack, function or line", value);
    }
    if (ht_parse_number(value, &options->shown_max) == 0 && options->shown_max > 0)
        return 0;
    return say_usage("leaks", "--count %s is refused: a number from 1", value);
}

/* 0, or an exit status; *ret_done when there is nothing more to do. */
static int take_options(struct options *options, int argc, char **argv, bool *ret_done)
{
    static const char *const names[] = {"--by", "--count"};
    bool names_follow = false;
    const char *value;
    for (int i = 1; i < argc; i++) {
        if (names_follow || argv[i][0] != '-' || !argv[i][1]) {
            options->paths[options->path_count++] = argv[i];
            continue;
        }
        size_t known = 0;
        while (known < HT_ARRAY_SIZE(names) && !option_is(argv, &i, names[known], &value))
            known++;
        int r = 0;
        if (known < HT_ARRAY_SIZE(names))
            r = take_value(options, names[known], value);
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *ret_done = true;
        else if (strcmp(argv[i], "--json") == 0)
            options->json = true;
        else if (strcmp(argv[i], "--exit-code") == 0)
            options->exit_code = true;
        else if (strcmp(argv[i], "--") == 0)
            names_follow = true;
        else
            r = say_usage("leaks", "%s is not an option of heaptap leaks", argv[i]);
        if (r != 0)
            return r;
        if (*ret_done)
            return help_print("leaks") ? 0 : EXIT_OURSELVES;
    }
    if (options->path_count < TREND_SNAPSHOTS)
        return say_usage("leaks",
                         "leaks needs %d profiles or more of one process, taken one after "
                         "the other",
                         TREND_SNAPSHOTS);
    return 0;
}

/* The oldest live sample first; then what grows most. */
static int by_age(const void *a, const void *b, void *context)
{
    const struct sequence *sequence = context;
    const struct leak *x = a, *y = b;
    double p = sequence->oldest_nanos[x->group], q = sequence->oldest_nanos[y->group];
    if (p != q)
        return p > q ? -1 : 1;
    return (x->trend.growth < y->trend.growth) - (x->trend.growth > y->trend.growth);
}

/* How many bytes one sample stands for in what is in use: near the interval for small blocks. */
static double bytes_of_sample(const struct leaks *leaks)
{
    const struct moment *last = &leaks->sequence->moments[leaks->sequence->count - 1];
    if (leaks->is_exact)
        return last->inuse.objects > 0 ? last->inuse.bytes / last->inuse.objects : 0;
    return fmax((double)last->period, last->inuse.variance / last->inuse.bytes);
}

static void judge(struct leaks *leaks)
{
    const struct sequence *sequence = leaks->sequence;
    size_t groups = sequence->groups.count, named = 0, last = sequence->count - 1;
    struct trend *trends = need_zeroes(groups, sizeof(trends[0]));
    struct trend **order = need_zeroes(groups, sizeof(order[0]));
    leaks->all = need_zeroes(groups, sizeof(leaks->all[0]));
    for (size_t group = 0; group < groups; group++) {
        if (!trend_counts(sequence->points[group], sequence->count))
            continue;
        trend_judge(sequence->points[group], sequence->count, &trends[group]);
        order[leaks->rows++] = &trends[group];
    }
    trend_adjust(order, leaks->rows, leaks->rows);
    while (named < leaks->rows && order[named]->p <= TREND_CHANCE)
        named++;
    for (size_t i = 0; i < named; i++) {
        const struct moment *first = &sequence->moments[order[i]->first];
        const struct moment *end = &sequence->moments[last];
        leaks->all[i] = (struct leak){
            .group = (size_t)(order[i] - trends),
            .trend = *order[i],
            .minutes = (double)(end->time_nanos - first->time_nanos) / 60e9,
            .alloc_bytes = end->alloc_bytes - first->alloc_bytes,
        };
    }
    leaks->count = named;
    qsort_r(leaks->all, named, sizeof(leaks->all[0]), by_age, (void *)sequence);
    free(trends);
    free(order);
}

static void look_at_run(struct leaks *leaks)
{
    const struct sequence *sequence = leaks->sequence;
    const struct moment *first = &sequence->moments[0];
    const struct moment *last = &sequence->moments[sequence->count - 1];
    leaks->minutes = (double)(last->time_nanos - first->time_nanos) / 60e9;
    leaks->alloc_bytes = last->alloc_bytes - first->alloc_bytes;
    leaks->is_exact = last->alloc_variance == 0;
    leaks->samples_needed = trend_samples_needed(sequence->count, leaks->rows);
    if (leaks->samples_needed > SAMPLES_NEEDED_MAX)
        leaks->samples_needed = INFINITY;
    leaks->bytes_needed = leaks->samples_needed * bytes_of_sample(leaks);
}

int leaks_command(int argc, char **argv)
{
    struct options options = {.by = BY_STACK, .shown_max = ROWS_SHOWN};
    options.paths = need_zeroes((size_t)argc, sizeof(options.paths[0]));
    bool done = false;
    struct sequence sequence;
    int r = take_options(&options, argc, argv, &done);
    if (r == 0 && !done) {
        if (sequence_read(&sequence, options.by, options.paths, options.path_count)) {
            struct leaks leaks = {.sequence = &sequence, .shown_max = options.shown_max};
            judge(&leaks);
            look_at_run(&leaks);
            (options.json ? leaks_print_json : leaks_print)(&leaks);
            r = options.exit_code && leaks.count > 0 ? EXIT_GROWS : 0;
            free(leaks.all);
        } else {
            r = 1;
        }
        sequence_free(&sequence);
    }
    free(options.paths);
    return r;
}
