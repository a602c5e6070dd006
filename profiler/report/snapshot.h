/* snapshot.h: what one profile is made of, as a reader sees it.
 *
 * The encoder (pprof.h) knows only this contract; snapshot.c fulfils it from the sampler's tables,
 * a unit test from an array. */
#ifndef HT_REPORT_SNAPSHOT_H
#define HT_REPORT_SNAPSHOT_H

#include "sys/compiler.h"

/* In a profile of lifetimes. */
struct ht_sample_life {
    unsigned age; /* when they were freed, or now: one of ht_lives_age_names */
    enum { HT_LIFE_GOES_ON, HT_LIFE_SAME_THREAD, HT_LIFE_OTHER_THREAD } end; /* who freed them */
    /* Where: instead of pcs[freed_frame], and the same from there to the root; 0: not known. */
    uintptr_t freed_pc;
    unsigned freed_frame;
};

/* The estimates for one stack and one size bucket. `pcs` is as frames.h describes, leaf first. */
struct ht_sample {
    const uintptr_t *pcs;
    unsigned depth;
    int64_t alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
    int64_t block_bytes;  /* mean size of one block, the label "bytes" */
    double variances[4];  /* of the four, in their order; 0: exact */
    int64_t oldest_nanos; /* the age of the oldest block in use that is followed; 0: not known */
    const struct ht_sample_life *life; /* NULL in a heap profile */
};

/* Called for each sample in turn; a result other than 0 ends the walk and is returned by it. */
typedef int ht_sample_visit(void *context, const struct ht_sample *sample);

/* What the encoder found on its way, for the line that reports a profile. */
struct ht_totals {
    int64_t alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
    double inuse_bytes_variance;
    uint64_t samples; /* rows of the profile */
};

#define HT_COMMENTS_MAX 32
#define HT_COMMENT_SIZE 160

struct ht_snapshot {
    int64_t time_nanos;      /* wall clock, of the moment the snapshot was taken */
    uint64_t interval_bytes; /* the profile's period; at least 1 */
    uint64_t process;        /* a number that no other process has */
    int (*each_sample)(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context);
    const void *source; /* each_sample's own */
    /* Adds comments when the sums are known; may be NULL. */
    void (*conclude)(struct ht_snapshot *snapshot, const struct ht_totals *totals);
    bool asks_allocator; /* conclude's own */
    bool has_lives;      /* a profile of lifetimes */
    unsigned comment_count;
    char comments[HT_COMMENTS_MAX][HT_COMMENT_SIZE];
};

#endif
