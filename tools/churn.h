/* churn.h: which code allocates much and frees it soon, and what might be done about it.
 *
 * The rows come from a profile of lifetimes: of what one function (line, stack) allocated, how much
 * lived how long, who freed it and where. A block in use has no lifetime yet; it counts as one that
 * lives longer than any other.
 *
 * What is a candidate for what, in the order in which it is tried. Of the blocks of a row, most
 * (9 of 10) are freed within the time that was asked for, and
 *   stack         nearly all (19 of 20) are freed by the thread and by the very function that
 *                 allocated them, are of one size class, and at most 1 KiB: an array might do;
 *   reuse buffer  nearly all are freed by the thread that allocated them, most of them below the
 *                 function that allocates or one of its two next callers, and there were 1,000 or
 *                 more: a buffer that this caller keeps might do, of whatever sizes they are;
 *   pool          nearly all are of one size class, and there were 1,000 or more: a free list might
 *                 do, whoever frees them.
 * A size class is a power of two, so that "one size" may be two that are near each other. These are
 * hints where to look: that a block may be needed for longer in a rare case, no profile tells.
 * Below CHURN_SAMPLES_MIN samples nothing is said. */
#ifndef HT_TOOL_CHURN_H
#define HT_TOOL_CHURN_H

#include "groups.h"

enum { CHURN_BUCKETS = 10, CHURN_CLASSES = 64 };

#define CHURN_SAMPLES_MIN 10

/* Where both the allocation and the free were below. */
struct churn_parting {
    uint32_t function_id;
    double objects;
};

struct churn_row {
    size_t group;
    double bytes, bytes_variance, objects, objects_variance; /* allocated */
    double freed;                                            /* objects, as all below */
    double freed_bytes_within, within;
    double same_thread, other_thread;
    double same_function, close_caller; /* freed below what allocates; or up to two callers above */
    double lifetimes[CHURN_BUCKETS];    /* of those freed */
    double classes[CHURN_CLASSES];      /* by the power of two of their size */
    struct churn_parting *partings;
    size_t parting_count;
};

/* "10us" and so on, the bounds of buckets but the last; NULL beyond. */
const char *churn_bound(size_t bucket);
/* The bucket of a label `lifetime`; CHURN_BUCKETS when it is none. */
size_t churn_bucket(const char *label);

/* Adds a sample; what was freed in a bucket up to `within` was freed soon. */
void churn_add(struct churn_row *row, const struct profile_sample *sample,
               const struct frames *frames, size_t within);

/* The bucket in which half of the blocks were freed; CHURN_BUCKETS when half are in use. */
size_t churn_median(const struct churn_row *row);

/* The function that most blocks were both allocated and freed below; NULL when it is not known. */
const struct churn_parting *churn_common(const struct churn_row *row);

/* "stack", "reuse buffer", "pool", "" for none, "?" for too few samples. */
const char *churn_candidate(const struct churn_row *row);

struct churn_options {
    enum groups_by by;
    bool by_objects, json;
    uint64_t shown_max;
    size_t within; /* a bucket */
    const char *path;
};

struct churn {
    struct churn_options options;
    struct frames frames;
    struct groups groups;
    struct churn_row *rows; /* of each group; then sorted */
    size_t row_count;
};

void churn_print(const struct churn *churn);
void churn_print_json(const struct churn *churn);

#endif
