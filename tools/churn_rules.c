#include "churn.h"

#include <math.h>
#include <string.h>

#define MOST       0.9
#define NEARLY_ALL 0.95
#define MANY       1000
#define STACK_MAX  1024 /* bytes of a block */
#define CALLERS    2    /* above the function that allocates, to be close */

static const char *const bounds[CHURN_BUCKETS - 1] = {"10us", "100us", "1ms",  "10ms", "100ms",
                                                      "1s",   "10s",   "100s", "1000s"};

const char *churn_bound(size_t bucket)
{
    return bucket < HT_ARRAY_SIZE(bounds) ? bounds[bucket] : NULL;
}

size_t churn_bucket(const char *label)
{
    if (strcmp(label, ">=1000s") == 0)
        return CHURN_BUCKETS - 1;
    for (size_t i = 0; i < HT_ARRAY_SIZE(bounds); i++) {
        if (label[0] == '<' && strcmp(label + 1, bounds[i]) == 0)
            return i;
    }
    return CHURN_BUCKETS;
}

static void add_parting(struct churn_row *row, uint32_t function_id, double objects)
{
    for (size_t i = 0; i < row->parting_count; i++) {
        if (row->partings[i].function_id == function_id) {
            row->partings[i].objects += objects;
            return;
        }
    }
    row->partings = need_more(row->partings, row->parting_count + 1, sizeof(row->partings[0]));
    row->partings[row->parting_count++] = (struct churn_parting){function_id, objects};
}

/* Where one function has both the allocation and the free below it, that is it; else it is the next
 * frame nearer the root, which is the same in both stacks. */
static void take_parting(struct churn_row *row, const struct profile_sample *sample,
                         const struct frames *frames, double objects)
{
    if (sample->freed_frame == FRAMES_NONE)
        return;
    uint32_t common = sample->freed_index + !sample->is_freed_by_same;
    if (common >= sample->frame_count)
        return;
    if (common == 0)
        row->same_function += objects;
    if (common <= CALLERS)
        row->close_caller += objects;
    add_parting(row, frames->all[sample->frames[common]].function_id, objects);
}

void churn_add(struct churn_row *row, const struct profile_sample *sample,
               const struct frames *frames, size_t within)
{
    double objects = (double)sample->values[PROFILE_ALLOC_OBJECTS];
    double bytes = (double)sample->values[PROFILE_ALLOC_SPACE];
    const char *lifetime = profile_label(sample, "lifetime");
    const char *freed_by = profile_label(sample, "freed_by");
    row->objects += objects;
    row->bytes += bytes;
    row->objects_variance += sample->variances[PROFILE_ALLOC_OBJECTS];
    row->bytes_variance += sample->variances[PROFILE_ALLOC_SPACE];
    if (objects > 0 && bytes >= objects)
        row->classes[(size_t)ilogb(bytes / objects) % CHURN_CLASSES] += objects;
    if (sample->values[PROFILE_INUSE_OBJECTS] > 0)
        return;

    row->freed += objects;
    size_t bucket = lifetime ? churn_bucket(lifetime) : CHURN_BUCKETS;
    if (bucket < CHURN_BUCKETS)
        row->lifetimes[bucket] += objects;
    if (bucket <= within) {
        row->within += objects;
        row->freed_bytes_within += bytes;
    }
    if (freed_by && strcmp(freed_by, "same thread") == 0)
        row->same_thread += objects;
    else if (freed_by)
        row->other_thread += objects;
    take_parting(row, sample, frames, objects);
}

size_t churn_median(const struct churn_row *row)
{
    double sum = 0;
    for (size_t i = 0; i < CHURN_BUCKETS; i++) {
        sum += row->lifetimes[i];
        if (sum >= row->objects / 2)
            return i;
    }
    return CHURN_BUCKETS;
}

const struct churn_parting *churn_common(const struct churn_row *row)
{
    const struct churn_parting *best = NULL;
    for (size_t i = 0; i < row->parting_count; i++) {
        if (!best || row->partings[i].objects > best->objects)
            best = &row->partings[i];
    }
    return best;
}

/* The class that most blocks are of. */
static size_t main_class(const struct churn_row *row)
{
    size_t best = 0;
    for (size_t i = 1; i < CHURN_CLASSES; i++) {
        if (row->classes[i] > row->classes[best])
            best = i;
    }
    return best;
}

const char *churn_candidate(const struct churn_row *row)
{
    double samples = row->objects_variance > 0 ? row->objects * row->objects / row->objects_variance
                                               : row->objects;
    if (samples < CHURN_SAMPLES_MIN)
        return "?";
    double nearly_all = NEARLY_ALL * row->objects, most = MOST * row->objects;
    size_t class = main_class(row);
    bool is_of_one_size = row->classes[class] >= nearly_all;
    bool is_small = row->bytes <= STACK_MAX * row->objects && class < 10;
    if (row->within < most)
        return "";
    if (row->same_thread >= nearly_all && row->same_function >= nearly_all && is_of_one_size &&
        is_small)
        return "stack";
    if (row->objects < MANY)
        return "";
    if (row->same_thread >= nearly_all && row->close_caller >= most)
        return "reuse buffer";
    return is_of_one_size ? "pool" : "";
}
