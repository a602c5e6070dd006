/* symbolizer.h: gives the places of profiles their files, lines and inlined calls.
 *
 *     struct symbolizer symbolizer = {.search = {...}};
 *     struct symbolized result;
 *     if (symbolizer_file(&symbolizer, path, path, &result) < 0)
 *         ...
 *     symbolizer_free(&symbolizer);
 *
 * What is found for a place is remembered, so that of the next profile only new places are looked
 * up. */
#ifndef HT_TOOL_SYMBOLIZER_H
#define HT_TOOL_SYMBOLIZER_H

#include <signal.h>

#include "object.h"

struct symbolizer_object; /* an object that was loaded, and what is known of it */

struct symbolizer {
    struct debug_search search;
    unsigned processes; /* at most so many at once; 0: one */
    /* Called now and then, with how much of all places has been looked up; may be NULL. */
    void (*progress)(size_t done, size_t all);
    const volatile sig_atomic_t *stop; /* that we are told to end, if it may be; or NULL */
    struct symbolizer_object **objects;
    size_t object_count, object_room;
};

/* What came of one object in one profile. */
struct symbolized_object {
    const char *path;
    const struct ht_build_id *build_id;
    enum object_state state;
    bool was_done; /* it had lines already, and was not looked at */
    size_t places, with_lines, with_inlines;
};

/* What came of a profile. Lasts until symbolizer_free(). */
struct symbolized {
    struct symbolized_object *objects;
    size_t object_count;
    size_t places; /* of all objects */
    bool is_changed;
};

/* Reads a profile, and writes what it has become to `to`, which may be the same: then it is replaced
 * at once, keeping owner, mode and time, and only if something has changed. "-" are standard input
 * and output. 0; -EINTR when we were told to end; -ESTALE when the file was replaced or removed
 * meanwhile; else it has been said on standard error what is wrong. Then nothing was changed. */
int symbolizer_file(struct symbolizer *symbolizer, const char *from, const char *to,
                    struct symbolized *ret_result);
/* The path of an object, the same text as in the results. */
const char *symbolizer_path(const struct symbolizer *symbolizer, size_t object);
void symbolized_free(struct symbolized *result);
void symbolizer_free(struct symbolizer *symbolizer);

#endif
