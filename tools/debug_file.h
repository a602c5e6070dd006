/* debug_file.h: the files that tell about an object that was loaded: itself, and the one that its
 * debug information was moved to.
 *
 * Build ids decide. A file with another one is never used; where there is none, the executable
 * segments must be the same, and a debug file must have the checksum that the object names. */
#ifndef HT_TOOL_DEBUG_FILE_H
#define HT_TOOL_DEBUG_FILE_H

#include <libelf.h>

#include "report/elf.h"

/* An executable segment, as a mapping of a profile has it. */
struct debug_segment {
    uint64_t offset, size;
};

struct debug_search {
    const char *const *directories; /* to look in, besides /usr/lib/debug; ended by NULL */
    bool ask_debuginfod;
};

struct debug_file {
    int fd; /* -1: none */
    Elf *elf;
    char *path;
    bool has_code, has_lines; /* or they were taken out of it */
    bool is_compressed;       /* the lines */
};

struct debug_files {
    struct debug_file object; /* with its code */
    struct debug_file debug;  /* with debug information; none when the object has its own */
    bool is_stale;            /* at the object's path is another file */
};

/* Looks for the files of the object that was loaded from `path`. */
void debug_files_find(const struct debug_search *search, const char *path,
                      const struct ht_build_id *build_id, const struct debug_segment *segments,
                      size_t segment_count, struct debug_files *ret_files);
void debug_files_close(struct debug_files *files);

/* The address that a place in the file has in its headers: `offset` is in the segment, counted as in
 * the profile. False when the file has no such segment. */
bool debug_file_address(const struct debug_file *file, const struct debug_segment *segment,
                        uint64_t offset, uint64_t *ret_address);

/* Opens DIRECTORY/.build-id/xx/yyyy.debug in the directories and in /usr/lib/debug, or -1. */
int debug_file_open_by_id(const struct debug_search *search, const uint8_t *id, size_t size);

#endif
