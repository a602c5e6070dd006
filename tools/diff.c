/* heaptap diff: what changed between two profiles, and what of it is noise. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"
#include "tool.h"

static const struct sums *sums_of(const struct row *row, bool is_cum)
{
    return is_cum ? row->cum : row->flat;
}

struct change diff_change(const struct diff *diff, const struct sums sums[ROWS_PROFILES],
                          enum profile_column column)
{
    enum change_kind kind = CHANGE_INDEPENDENT;
    bool is_alloc = column == PROFILE_ALLOC_OBJECTS || column == PROFILE_ALLOC_SPACE;
    if (diff->is_same_profile || !diff->has_errors)
        kind = CHANGE_OF_NOTHING;
    else if (diff->is_one_process && is_alloc)
        kind = CHANGE_OF_INCREASE;
    struct change_side sides[ROWS_PROFILES];
    for (unsigned i = 0; i < ROWS_PROFILES; i++)
        sides[i] = (struct change_side){
            .value = (double)sums[i].values[column],
            .variance = sums[i].variances[column],
            .objects =
                (double)sums[i].values[is_alloc ? PROFILE_ALLOC_OBJECTS : PROFILE_INUSE_OBJECTS],
        };
    return change_of(kind, &sides[0], &sides[1]);
}

static double sorted_value(const struct diff *diff, const struct row *row, bool is_cum)
{
    const struct sums *sums = sums_of(row, is_cum);
    enum profile_column column = diff->view.sort;
    return fabs((double)sums[1].values[column] - (double)sums[0].values[column]);
}

/* The largest change first; what is equal in one regard, in the other; then by name. */
static int compare(const void *a_, const void *b_, void *diff_)
{
    const struct diff *diff = diff_;
    const struct row *a = a_, *b = b_;
    for (int i = 0; i < 2; i++) {
        bool is_cum = diff->view.sorts_cum != (i == 1);
        double value_a = sorted_value(diff, a, is_cum), value_b = sorted_value(diff, b, is_cum);
        if (value_a != value_b)
            return value_a < value_b ? 1 : -1;
    }
    int order = strcmp(rows_name(&diff->rows, a), rows_name(&diff->rows, b));
    return order != 0 ? order : (a->key > b->key) - (a->key < b->key);
}

/* Judges the rows by the value that they are sorted by, all together. Those that could not have
 * told anything do not count; whether a row could, does not depend on the way it changed. */
static bool judge(struct diff *diff)
{
    size_t count = 0;
    double *chances = calloc(diff->rows.count + 1, sizeof(*chances));
    if (!chances) {
        say("the rows do not fit into memory");
        return false;
    }
    for (size_t i = 0; i < diff->rows.count; i++) {
        struct change change =
            diff_change(diff, sums_of(&diff->rows.all[i], diff->view.sorts_cum), diff->view.sort);
        if (!change.is_few && change.samples > 0 && !isinf(change.samples))
            chances[count++] = change_chance(&change);
    }
    diff->limit = change_limit(chances, count);
    free(chances);
    return true;
}

bool diff_is_noise(const struct diff *diff, const struct row *row)
{
    struct change change = diff_change(diff, sums_of(row, diff->view.sorts_cum), diff->view.sort);
    return diff->has_errors && !isinf(change.z) && change_chance(&change) > diff->limit;
}

bool diff_is_shown(const struct diff *diff, const struct row *row)
{
    if (diff->view.only_significant && diff_is_noise(diff, row))
        return false;
    for (unsigned line = 0; line < view_lines(&diff->view); line++) {
        enum profile_column column = view_column(&diff->view, line);
        if (row->flat[0].values[column] != row->flat[1].values[column] ||
            row->cum[0].values[column] != row->cum[1].values[column])
            return true;
    }
    return false;
}

static int report(struct diff *diff)
{
    const struct profile *old = &diff->profiles[0], *new = &diff->profiles[1];
    diff->is_one_process = old->process != 0 && old->process == new->process;
    diff->is_same_profile = diff->is_one_process && old->time_nanos == new->time_nanos;
    diff->has_errors = old->has_errors && new->has_errors;
    if (diff->is_one_process && old->time_nanos > new->time_nanos)
        say("%s was taken after %s, by the same process: are they in the wrong order?", old->name,
            new->name);
    /* What was allocated only grows, forwards. */
    if (old->time_nanos > new->time_nanos)
        diff->is_one_process = false;
    diff->rows = (struct rows){.by = diff->view.by, .frames = &diff->frames};
    int r = 1;
    if (rows_add(&diff->rows, old, 0) && rows_add(&diff->rows, new, 1) && judge(diff)) {
        qsort_r(diff->rows.all, diff->rows.count, sizeof(struct row), compare, diff);
        r = diff->view.shows_json ? diff_print_json(diff) : diff_print_text(diff);
    }
    rows_free(&diff->rows);
    return r;
}

int diff_command(int argc, char **argv)
{
    struct diff diff = {.frames = frames_empty()};
    bool done = false;
    int r = view_take(&diff.view, "diff", ROWS_PROFILES, argc, argv, &done);
    if (r != 0 || done)
        return r;
    diff.terminal = terminal_look();
    r = 1;
    if (profile_read(diff.view.files[0], &diff.frames, &diff.profiles[0])) {
        if (profile_read(diff.view.files[1], &diff.frames, &diff.profiles[1])) {
            struct profile_lines lines = {0};
            if (profile_note_lines(&lines, &diff.profiles[0]) &&
                profile_note_lines(&lines, &diff.profiles[1]))
                r = report(&diff);
            profile_free(&diff.profiles[1]);
        }
        profile_free(&diff.profiles[0]);
    }
    frames_free(&diff.frames);
    return r;
}
