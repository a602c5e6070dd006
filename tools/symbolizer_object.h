/* symbolizer_object.h: the objects that a symbolizer knows, and what it knows of them.
 *
 * For each profile: symbolizer_begin(), then its objects, segments and places; symbolizer_ask() looks
 * up what is not known yet. */
#ifndef HT_TOOL_SYMBOLIZER_OBJECT_H
#define HT_TOOL_SYMBOLIZER_OBJECT_H

#include <sys/stat.h>

#include "symbolizer.h"

/* A place that was asked for. */
struct symbolizer_known {
    uint64_t offset;
    uint32_t answer;                               /* its index */
    const Perftools__Profiles__Location *location; /* NULL: nothing is known of it */
};

struct symbolizer_answer {
    struct edit edit;
    uint64_t *ids; /* what its functions have become in this profile, by id; 0: not yet */
};

struct symbolizer_object {
    char *path;
    struct ht_build_id build_id;
    enum object_state state;
    struct symbolizer_answer *answers;
    size_t answer_count;
    struct symbolizer_known *known; /* sorted by offset */
    size_t known_count;
    size_t known_before; /* while it is asked: those behind are in the order of the wants */

    /* Of this profile, and of those that are asked for now. */
    struct debug_segment *segments;
    struct object_want *wants;
    size_t segment_count, segment_room, want_count, want_room;
    size_t result; /* its index among the results */
};

/* Forgets what the last profile asked for, and not what was found. */
void symbolizer_begin(struct symbolizer *symbolizer);

/* The object of this path and build id, which may be new. NULL without memory. */
struct symbolizer_object *symbolizer_object_get(struct symbolizer *symbolizer, const char *path,
                                                const struct ht_build_id *build_id);
/* False without memory. */
bool symbolizer_object_add_segment(struct symbolizer_object *object,
                                   const struct debug_segment *segment);
bool symbolizer_object_add_want(struct symbolizer_object *object, const struct object_want *want);

/* What is known of a place; NULL when nobody asked yet. */
const struct symbolizer_known *symbolizer_object_find(const struct symbolizer_object *object,
                                                      uint64_t offset);

/* Asks for all wants of a profile. 0, -EINTR when we were told to end, or another -errno. */
int symbolizer_ask(struct symbolizer *symbolizer, const struct stat *profile);

#endif
