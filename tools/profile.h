/* profile.h: a heap profile in pprof's format, read and checked.
 *
 * Any profile with the four columns of a heap is taken, in whatever order and whoever wrote it:
 * heaptap, Go, or pprof itself. Nothing in the file is believed: what refers to something that is
 * not there, or would need absurd amounts of memory, is refused, in one sentence.
 *
 *     struct frames frames = frames_empty();
 *     struct profile profile;
 *     if (!profile_read(path, &frames, &profile))
 *         return 1;                                (it has been said why)
 *     for (size_t i = 0; i < profile.sample_count; i++)
 *         look_at(&profile.samples[i]);
 *     profile_free(&profile);
 *     frames_free(&frames);                        (last)
 *
 * Several profiles that share the frames can be compared: the same frame has the same number. */
#ifndef HT_TOOL_PROFILE_H
#define HT_TOOL_PROFILE_H

#include "frames.h"
#include "pool.h"

enum profile_column {
    PROFILE_ALLOC_OBJECTS,
    PROFILE_ALLOC_SPACE,
    PROFILE_INUSE_OBJECTS,
    PROFILE_INUSE_SPACE,
    PROFILE_COLUMNS,
};

/* "alloc_objects" and so on. */
extern const char *const profile_column_names[PROFILE_COLUMNS];

#define PROFILE_PROBLEM_SIZE 512

/* A text, or a number with or without a unit. */
struct profile_label {
    const char *key;
    const char *text; /* NULL: a number */
    int64_t number;
    const char *unit; /* "" when there is none */
};

struct profile_sample {
    /* Numbers of frames, leaf first. Calls that were inlined are frames like others; what the
     * profile says should be dropped (drop_frames: the allocator's own) is not here. May be empty. */
    const uint32_t *frames;
    uint32_t frame_count;

    uint32_t label_count;
    const struct profile_label *labels;

    /* Negative only in differences that other tools made. */
    int64_t values[PROFILE_COLUMNS];
    /* How far the values may be from the truth, squared, on average; >= 0, and 0 for exact ones.
     * Means nothing unless the profile has_errors. Variances of sums add. */
    double variances[PROFILE_COLUMNS];

    /* The age of the oldest sampled block still in use; 0 when there is none or it is not known. */
    int64_t oldest_nanos;

    /* In a profile of lifetimes, for blocks that were freed. From frame `freed_index` + 1 on to the
     * root, the stack of the free was that of the allocation; instead of frame `freed_index`, which
     * may be one that was dropped (then it is 0), it had `freed_frame`. FRAMES_NONE: not known. */
    uint32_t freed_index;
    uint32_t freed_frame;
    /* Both are in one function, which thus allocated and freed the block, by itself or by what it
     * called. */
    bool is_freed_by_same;
};

struct profile {
    const char *name; /* for people: the path, or "standard input" */
    struct profile_sample *samples;
    size_t sample_count;

    /* Whether the variances are known. Those of Go, and what pprof wrote anew, have none. */
    bool has_errors;
    bool has_lines;   /* of some place the source file is known */
    uint64_t process; /* the same in all profiles of one process; 0 when it is not known */

    int64_t time_nanos; /* since 1970; 0 when it is not known */
    int64_t duration_nanos;
    int64_t period; /* bytes between two samples */
    const char **comments;
    size_t comment_count;

    struct pool pool;
};

/* Reads a file, "-" being standard input. False when it cannot be read, or is no heap profile: one
 * line on standard error has said so, and nothing is to be freed. */
bool profile_read(const char *path, struct frames *frames, struct profile *ret_profile);

/* The same for bytes, gzipped or not. Says nothing: the problem is a part of a sentence. */
bool profile_decode(const uint8_t *data, size_t size, struct frames *frames,
                    struct profile *ret_profile, char ret_problem[PROFILE_PROBLEM_SIZE]);

/* The paths of a profile with lines and of one without. */
struct profile_lines {
    const char *with, *without;
};

/* Notes which it is; false, and it has been said, when there are both kinds by now: what was inlined
 * is a frame in one and none in the other, so their stacks cannot be compared. */
bool profile_note_lines(struct profile_lines *lines, const struct profile *profile);

/* The text of a label, or NULL. */
const char *profile_label(const struct profile_sample *sample, const char *key);

void profile_free(struct profile *profile);

#endif
