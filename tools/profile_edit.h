/* profile_edit.h: a profile whose locations and functions are changed, and nothing else.
 *
 * Mappings, locations and functions are unpacked; all the rest stays as the bytes that it is, also
 * what this version knows nothing of. Any profile in pprof's format is taken, of a heap or not. */
#ifndef HT_TOOL_PROFILE_EDIT_H
#define HT_TOOL_PROFILE_EDIT_H

#include "pool.h"
#include "profile.pb-c.h"
#include "profile_file.h"

/* A text in the file, which is not ended by a 0. */
struct edit_text {
    const char *bytes;
    size_t size;
};

/* Bytes of the file that are written as they are. */
struct edit_range {
    size_t start, size;
};

struct edit {
    Perftools__Profiles__Mapping **mappings;
    Perftools__Profiles__Location **locations;
    Perftools__Profiles__Function **functions; /* sorted by id */
    size_t mapping_count, location_count, function_count;
    struct pool pool; /* what is put into locations may come from here */
    /* The rest is profile_edit.c's. */
    struct bytes file, packed; /* as it was read, and unpacked; or the other is empty */
    const uint8_t *data;
    size_t size;
    struct edit_range *kept;
    size_t kept_count;
    struct edit_text *strings; /* those of the file first, then new ones */
    size_t string_count, strings_in_file;
    void *string_tree, *function_tree; /* of tsearch(3) */
    size_t mapping_room, location_room, function_room, kept_room, string_room;
    uint64_t function_id_max;
};

/* A profile with nothing in it. False without memory. */
bool edit_begin(struct edit *ret_edit);

/* Reads a profile, "-" being standard input. NULL, or what is wrong with it, for a sentence. */
const char *edit_read(const char *path, struct edit *ret_edit);
/* The same for bytes, which it takes over and frees also when something is wrong. */
const char *edit_decode(struct bytes *file, struct edit *ret_edit);
void edit_free(struct edit *edit);

/* A string of the table, with a 0 behind it; from the pool. NULL without memory. */
const char *edit_string(struct edit *edit, int64_t index);
/* The index of a string, which may be new; -1 without memory. The text must be UTF-8. */
int64_t edit_add_string(struct edit *edit, const char *text);

/* The id of a function with these properties, which may be new; 0 without memory. */
uint64_t edit_add_function(struct edit *edit, const char *name, const char *system_name,
                           const char *file, int64_t start_line);
/* The function with this id, or NULL. */
const Perftools__Profiles__Function *edit_function(const struct edit *edit, uint64_t id);
/* Its index, or that of the first one behind it. */
size_t edit_function_place(const struct edit *edit, uint64_t id);

/* A mapping more of a file; false without memory. */
bool edit_add_mapping(struct edit *edit, uint64_t id, const char *path);
/* A location more, with room for `line_count` lines, which are set to 0. NULL without memory. */
Perftools__Profiles__Location *edit_add_location(struct edit *edit, size_t line_count);
/* New lines for a location, likewise. */
bool edit_set_lines(struct edit *edit, Perftools__Profiles__Location *location, size_t count);

/* Writes it, gzipped at a level of zlib's. Functions that no location refers to are left out, the others are numbered
 * anew from 1: after that it can only be freed. 0 or -errno. */
int edit_write(struct edit *edit, int fd, int level);

#endif
