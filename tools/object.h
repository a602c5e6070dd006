/* object.h: what is known of the code of one object that was loaded: from its debug information and
 * its symbol tables. */
#ifndef HT_TOOL_OBJECT_H
#define HT_TOOL_OBJECT_H

#include "debug_file.h"
#include "profile_edit.h"

/* A place in the file's code; `offset` is counted as that of its segment is. */
struct object_want {
    uint64_t offset;
    uint32_t segment;
};

struct object_request {
    const char *path; /* where it was loaded from */
    struct ht_build_id build_id;
    const struct debug_segment *segments; /* executable ones, as the profile has them */
    size_t segment_count;
    const struct object_want *wants; /* sorted by segment and offset */
    size_t want_count;
    /* Several processes may have a part of the wants each. Debug information that is compressed is
     * unpacked by the first one alone, which answers all. */
    unsigned part, part_count;
    size_t *done; /* counts the places that were looked up, in memory of all processes; or NULL */
};

enum object_state {
    OBJECT_HAS_LINES = 1,
    OBJECT_LACKS_DWO,       /* it has lines, but inlined calls are in .dwo files, not found */
    OBJECT_LACKS_ALTERNATE, /* it has lines, but what dwz moved away was not found */
    OBJECT_HAS_NO_LINES,    /* no debug information was found */
    OBJECT_IS_STALE,        /* nor the object: at its path is another file */
    OBJECT_IS_MISSING,      /* nor the object */
    OBJECT_IS_BROKEN,       /* reading it failed */
};

/* Reads it. The answer is a profile: the id of each location is the number of the want that it
 * answers, from 1; where the name of the last function is "" only the line is known. It has one
 * mapping, whose id is an object_state and whose file the one that had the debug information.
 * False without memory. Damaged files may crash libdw, so this wants a process of its own
 * (object_process.h). */
bool object_read(const struct debug_search *search, const struct object_request *request,
                 struct edit *ret_answer);

#endif
