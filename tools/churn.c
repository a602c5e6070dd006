#include "churn.h"

#include <stdlib.h>
#include <string.h>

#include "control/parse.h"

#include "tool.h"

#define ROWS_SHOWN  20
#define WITHIN      2 /* the bucket up to 1ms */
#define HEAP_ADVICE "run with HEAPTAP_LIFETIMES=1, or: heaptap snapshot --lifetimes PID"

static int take_within(struct churn_options *options, const char *value)
{
    for (size_t i = 0; churn_bound(i); i++) {
        if (strcmp(churn_bound(i), value) == 0) {
            options->within = i;
            return 0;
        }
    }
    return say_usage("churn",
                     "--within %s is refused: 10us, 100us, 1ms, 10ms, 100ms, 1s, 10s, "
                     "100s or 1000s",
                     value);
}

static int take_value(struct churn_options *options, const char *option, const char *value)
{
    if (!value)
        return say_usage("churn", "%s needs a value", option);
    if (strcmp(option, "--within") == 0)
        return take_within(options, value);
    if (strcmp(option, "--by") == 0)
        return groups_parse_by(value, &options->by)
                   ? 0
                   : say_usage("churn", "--by %s is refused: stack, function or line", value);
    if (strcmp(option, "--sort") == 0) {
        options->by_objects = strcmp(value, "objects") == 0;
        return options->by_objects || strcmp(value, "bytes") == 0
                   ? 0
                   : say_usage("churn", "--sort %s is refused: bytes or objects", value);
    }
    if (ht_parse_number(value, &options->shown_max) == 0 && options->shown_max > 0)
        return 0;
    return say_usage("churn", "--count %s is refused: a number from 1", value);
}

/* 0, or an exit status; *ret_done when there is nothing more to do. */
static int take_options(struct churn_options *options, int argc, char **argv, bool *ret_done)
{
    static const char *const names[] = {"--by", "--sort", "--count", "--within"};
    const char *value;
    for (int i = 1; i < argc; i++) {
        size_t known = 0;
        while (known < HT_ARRAY_SIZE(names) && !option_is(argv, &i, names[known], &value))
            known++;
        int r = 0;
        if (known < HT_ARRAY_SIZE(names)) {
            r = take_value(options, names[known], value);
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *ret_done = true;
            return help_print("churn") ? 0 : EXIT_OURSELVES;
        } else if (strcmp(argv[i], "--json") == 0) {
            options->json = true;
        } else if (argv[i][0] == '-' && argv[i][1]) {
            r = say_usage("churn", "%s is not an option of heaptap churn", argv[i]);
        } else if (options->path) {
            r = say_usage("churn", "one profile at a time: %s or %s", options->path, argv[i]);
        } else {
            options->path = argv[i];
        }
        if (r != 0)
            return r;
    }
    return options->path ? 0 : say_usage("churn", "no profile is named");
}

/* False when it is no profile of lifetimes, which has been said. An empty one is. */
static bool is_usable(const char *path, const struct profile *profile)
{
    for (size_t i = 0; i < profile->sample_count; i++) {
        if (!profile_label(&profile->samples[i], "lifetime")) {
            say("%s is a heap profile; churn needs one of lifetimes: " HEAP_ADVICE, path);
            return false;
        }
    }
    return true;
}

static struct churn_row *row_of(struct churn *churn, size_t group)
{
    while (group >= churn->row_count) {
        if (churn->row_count % 64 == 0)
            churn->rows = need_more(churn->rows, churn->row_count + 64, sizeof(churn->rows[0]));
        churn->rows[churn->row_count] = (struct churn_row){.group = churn->row_count};
        churn->row_count++;
    }
    return &churn->rows[group];
}

static bool read_rows(struct churn *churn)
{
    struct profile profile;
    if (!profile_read(churn->options.path, &churn->frames, &profile))
        return false;
    bool fine = is_usable(churn->options.path, &profile);
    for (size_t i = 0; fine && i < profile.sample_count; i++) {
        const struct profile_sample *sample = &profile.samples[i];
        size_t group = groups_find(&churn->groups, &churn->frames, sample);
        churn_add(row_of(churn, group), sample, &churn->frames, churn->options.within);
    }
    profile_free(&profile);
    return fine;
}

/* What was freed soonest comes first: most of it in bytes, or in objects. */
static int by_churn(const void *a, const void *b, void *context)
{
    const struct churn_options *options = context;
    const struct churn_row *x = a, *y = b;
    double p = options->by_objects ? x->within : x->freed_bytes_within;
    double q = options->by_objects ? y->within : y->freed_bytes_within;
    if (p == q) {
        p = x->bytes;
        q = y->bytes;
    }
    return (p < q) - (p > q);
}

static void churn_free(struct churn *churn)
{
    for (size_t i = 0; i < churn->row_count; i++)
        free(churn->rows[i].partings);
    free(churn->rows);
    groups_free(&churn->groups);
    frames_free(&churn->frames);
}

int churn_command(int argc, char **argv)
{
    struct churn churn = {
        .options = {.by = BY_FUNCTION, .shown_max = ROWS_SHOWN, .within = WITHIN},
        .frames = frames_empty(),
    };
    bool done = false;
    int r = take_options(&churn.options, argc, argv, &done);
    if (r != 0 || done)
        return r;
    churn.groups.by = churn.options.by;
    if (read_rows(&churn)) {
        if (churn.row_count > 0)
            qsort_r(churn.rows, churn.row_count, sizeof(churn.rows[0]), by_churn, &churn.options);
        (churn.options.json ? churn_print_json : churn_print)(&churn);
    } else {
        r = 1;
    }
    churn_free(&churn);
    return r;
}
