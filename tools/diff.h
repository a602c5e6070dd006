/* diff.h: two profiles beside each other: what changed (diff.c), and how it is shown
 * (diff_print.c). */
#ifndef HT_TOOL_DIFF_H
#define HT_TOOL_DIFF_H

#include "change.h"
#include "view.h"

struct diff {
    struct view view;
    struct terminal terminal;
    struct frames frames;
    struct profile profiles[ROWS_PROFILES]; /* old, new */
    struct rows rows;
    bool is_one_process; /* and in this order */
    bool is_same_profile;
    bool has_errors; /* are known */
    double limit;    /* of the chance that noise explains a row; change.h */
};

/* The change of a value, old and new. */
struct change diff_change(const struct diff *diff, const struct sums sums[ROWS_PROFILES],
                          enum profile_column column);

/* Whether noise explains the change of the value that rows are sorted by. */
bool diff_is_noise(const struct diff *diff, const struct row *row);

/* Rows in which nothing changed are not shown. */
bool diff_is_shown(const struct diff *diff, const struct row *row);

/* The report: an exit status. */
int diff_print_text(const struct diff *diff);
int diff_print_json(const struct diff *diff);

#endif
