#include "sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* Profiles without the errors of their values, as those of Go: what they would be on average for
 * rows of blocks of one size (profiler/sample/README.md). */
static double variance_of(const struct profile *profile, const struct profile_sample *sample,
                          enum profile_column column)
{
    if (profile->has_errors)
        return sample->variances[column];
    enum profile_column objects =
        column == PROFILE_ALLOC_SPACE ? PROFILE_ALLOC_OBJECTS : PROFILE_INUSE_OBJECTS;
    double count = (double)sample->values[objects], bytes = (double)sample->values[column];
    if (!(count > 0) || !(bytes > 0) || profile->period <= 1)
        return 0;
    double p = -expm1(-bytes / count / (double)profile->period);
    return bytes * bytes / count * (1 - p) / p;
}

/* While profiles are read, points and ages stand in the order of the files. */
struct reading {
    struct sequence *sequence;
    struct profile_lines lines;
    size_t files, room; /* groups that there is room for */
    double **oldest;
};

static void make_room(struct reading *reading, size_t group)
{
    struct sequence *sequence = reading->sequence;
    while (group >= reading->room) {
        size_t room = reading->room;
        reading->room = room * 2 + 64;
        sequence->points = need_more(sequence->points, reading->room, sizeof(sequence->points[0]));
        reading->oldest = need_more(reading->oldest, reading->room, sizeof(reading->oldest[0]));
        for (; room < reading->room; room++) {
            sequence->points[room] = need_zeroes(reading->files, sizeof(struct trend_point));
            reading->oldest[room] = need_zeroes(reading->files, sizeof(double));
        }
    }
}

static void add_point(struct trend_point *point, double bytes, double variance, double objects)
{
    point->bytes += bytes;
    point->variance += variance;
    point->objects += objects;
}

static void take(struct reading *reading, size_t file, const struct profile *profile)
{
    struct sequence *sequence = reading->sequence;
    struct moment *moment = &sequence->moments[file];
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct profile_sample *sample = &profile->samples[i];
        double bytes = (double)sample->values[PROFILE_INUSE_SPACE];
        double objects = (double)sample->values[PROFILE_INUSE_OBJECTS];
        double variance = variance_of(profile, sample, PROFILE_INUSE_SPACE);
        size_t group = groups_find(&sequence->groups, &sequence->frames, sample);
        make_room(reading, group);
        add_point(&sequence->points[group][file], bytes, variance, objects);
        add_point(&moment->inuse, bytes, variance, objects);
        moment->alloc_bytes += (double)sample->values[PROFILE_ALLOC_SPACE];
        moment->alloc_variance += variance_of(profile, sample, PROFILE_ALLOC_SPACE);
        double *oldest = &reading->oldest[group][file];
        *oldest = fmax(*oldest, (double)sample->oldest_nanos);
    }
    moment->process = profile->process;
    moment->time_nanos = profile->time_nanos;
    moment->period = profile->period;
}

static bool is_usable(const char *path, const struct profile *profile)
{
    for (size_t i = 0; i < profile->sample_count; i++) {
        if (profile_label(&profile->samples[i], "lifetime")) {
            say("%s is a profile of lifetimes; leaks needs heap profiles, as heaptap snapshot "
                "writes them",
                path);
            return false;
        }
    }
    if (profile->time_nanos <= 0) {
        say("%s does not say when it was taken; leaks needs the time of each profile", path);
        return false;
    }
    return true;
}

static bool read_all(struct reading *reading, char **paths)
{
    struct sequence *sequence = reading->sequence;
    for (size_t i = 0; i < reading->files; i++) {
        struct profile profile;
        if (!profile_read(paths[i], &sequence->frames, &profile))
            return false;
        bool fine = is_usable(paths[i], &profile) && profile_note_lines(&reading->lines, &profile);
        sequence->moments[i].path = paths[i];
        if (fine)
            take(reading, i, &profile);
        profile_free(&profile);
        if (!fine)
            return false;
    }
    return true;
}

static int by_time(const void *a, const void *b, void *context)
{
    const struct moment *moments = context;
    const struct moment *x = &moments[*(const size_t *)a], *y = &moments[*(const size_t *)b];
    if (x->time_nanos != y->time_nanos)
        return x->time_nanos < y->time_nanos ? -1 : 1;
    return (*(const size_t *)a > *(const size_t *)b) - (*(const size_t *)a < *(const size_t *)b);
}

/* Brings moments and points into the order of time, and leaves out what is there twice. */
static void put_in_order(struct reading *reading)
{
    struct sequence *sequence = reading->sequence;
    size_t *order = need_zeroes(reading->files, sizeof(order[0])), count = 0;
    for (size_t i = 0; i < reading->files; i++)
        order[i] = i;
    qsort_r(order, reading->files, sizeof(order[0]), by_time, sequence->moments);
    for (size_t i = 0; i < reading->files; i++) {
        const struct moment *moment = &sequence->moments[order[i]];
        const struct moment *before = count ? &sequence->moments[order[count - 1]] : NULL;
        if (before && before->time_nanos == moment->time_nanos &&
            before->process == moment->process)
            say("%s is of the same moment as %s, and left out", moment->path, before->path);
        else
            order[count++] = order[i];
    }
    struct moment *moments = need_zeroes(count, sizeof(moments[0]));
    for (size_t i = 0; i < count; i++)
        moments[i] = sequence->moments[order[i]];
    free(sequence->moments);
    sequence->moments = moments;
    sequence->count = count;
    sequence->oldest_nanos = need_zeroes(sequence->groups.count, sizeof(double));
    for (size_t group = 0; group < sequence->groups.count; group++) {
        struct trend_point *points = need_zeroes(count, sizeof(points[0]));
        for (size_t i = 0; i < count; i++)
            points[i] = sequence->points[group][order[i]];
        free(sequence->points[group]);
        sequence->points[group] = points;
        sequence->oldest_nanos[group] = count ? reading->oldest[group][order[count - 1]] : 0;
    }
    free(order);
}

/* Of one process all profiles have its number. Where they have none, they are taken to be of one as
 * long as the counters of what was allocated only grow. */
static bool are_of_one_process(const struct sequence *sequence)
{
    for (size_t i = 1; i < sequence->count; i++) {
        const struct moment *before = &sequence->moments[i - 1], *moment = &sequence->moments[i];
        if (before->process != moment->process) {
            say("%s and %s are of different processes; leaks compares profiles of one",
                before->path, moment->path);
            return false;
        }
        if (moment->process == 0 && moment->alloc_bytes < before->alloc_bytes) {
            say("%s is later than %s, but less was allocated by then: they are of different "
                "processes; leaks compares profiles of one",
                moment->path, before->path);
            return false;
        }
    }
    return true;
}

bool sequence_read(struct sequence *sequence, enum groups_by by, char **paths, size_t count)
{
    *sequence = (struct sequence){.frames = frames_empty(), .groups = {.by = by}};
    sequence->moments = need_zeroes(count, sizeof(sequence->moments[0]));
    struct reading reading = {.sequence = sequence, .files = count};
    bool fine = read_all(&reading, paths);
    if (fine) {
        put_in_order(&reading);
        fine = are_of_one_process(sequence);
    }
    if (fine && sequence->count < TREND_SNAPSHOTS) {
        say("leaks needs %d profiles or more of one process, taken one after the other; these are "
            "of %zu moments",
            TREND_SNAPSHOTS, sequence->count);
        fine = false;
    }
    for (size_t group = 0; group < reading.room; group++) {
        free(reading.oldest[group]);
        if (group >= sequence->groups.count) {
            free(sequence->points[group]);
            sequence->points[group] = NULL;
        }
    }
    free(reading.oldest);
    return fine;
}

void sequence_free(struct sequence *sequence)
{
    for (size_t group = 0; group < sequence->groups.count; group++)
        free(sequence->points[group]);
    free(sequence->points);
    free(sequence->oldest_nanos);
    free(sequence->moments);
    groups_free(&sequence->groups);
    frames_free(&sequence->frames);
}
