/* leaks.h: what heaptap leaks found out of a sequence of profiles. */
#ifndef HT_TOOL_LEAKS_H
#define HT_TOOL_LEAKS_H

#include "sequence.h"

struct leak {
    size_t group;
    struct trend trend;          /* p adjusted for all rows */
    double minutes, alloc_bytes; /* of the time that the trend is of */
};

struct leaks {
    const struct sequence *sequence;
    struct leak *all; /* those that grow, oldest live sample first */
    size_t count;
    size_t rows; /* that were tested */
    size_t shown_max;
    double minutes, alloc_bytes; /* of the whole run */
    /* What a steady leak must have left in the run to be named most likely; INFINITY when no leak
     * could be told from fluctuation. */
    double samples_needed, bytes_needed;
    bool is_exact; /* every allocation was recorded */
};

void leaks_print(const struct leaks *leaks);
void leaks_print_json(const struct leaks *leaks);

/* "850 ms", "12 s", "3.2 min", "1.4 h", "2.1 days"; overwritten by the fourth next call. */
const char *text_time(double nanos);

#endif
