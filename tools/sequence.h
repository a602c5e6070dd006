/* sequence.h: heap profiles of one process in the order of their time, and what each stack had in
 * use in each of them. */
#ifndef HT_TOOL_SEQUENCE_H
#define HT_TOOL_SEQUENCE_H

#include "groups.h"
#include "trend.h"

struct moment {
    const char *path;
    uint64_t process; /* 0: not known */
    int64_t time_nanos, period;
    double alloc_bytes, alloc_variance; /* of the whole program, since its start */
    struct trend_point inuse;
};

struct sequence {
    struct frames frames;
    struct groups groups;
    struct moment *moments; /* oldest first */
    size_t count;
    struct trend_point **points; /* of each group: `count` of them */
    double *oldest_nanos;        /* of each group in the last profile; 0: not known */
};

/* Reads and orders profiles. Of two that are of the same moment one is left out, with a word. False
 * when one line has said what is wrong with them: they cannot be read, are of no heap or of several
 * processes, or are less than TREND_SNAPSHOTS. sequence_free() is fine then, too. */
bool sequence_read(struct sequence *sequence, enum groups_by by, char **paths, size_t count);
void sequence_free(struct sequence *sequence);

#endif
