/* report_file.h: how a profiled program tells us of its profiles.
 *
 * We create an empty private file and tell the library its path. The library appends one line for
 * each profile that it wrote or failed to write, with one write, so that lines of several processes
 * do not mix:
 *   pid TAB path TAB inuse_bytes TAB inuse_objects TAB samples TAB stacks TAB error NEWLINE
 * with backslash, tab and newline in the texts as \\, \t, \n. An empty error says that all went
 * well. */
#ifndef HT_TOOL_REPORT_FILE_H
#define HT_TOOL_REPORT_FILE_H

#include <limits.h>
#include <sys/types.h>

#include "sys/compiler.h"

/* Longer lines are not believed: a path of PATH_MAX bytes, all of them escaped, and what else there
 * is. */
#define REPORT_LINE_MAX (2 * PATH_MAX + 1024)

struct report_file {
    int fd; /* -1: none */
    char path[PATH_MAX];
    size_t pending; /* bytes of an unfinished line at the start of `line` */
    bool too_long;  /* the rest of the line is skipped */
    char line[REPORT_LINE_MAX];
};

struct report {
    pid_t pid;
    const char *path; /* the profile's */
    uint64_t inuse_bytes, inuse_objects, samples, stacks;
    const char *error;
};

/* Makes the file $TMPDIR/heaptap.XXXXXX; 0 or -errno. */
int report_file_create(struct report_file *file);
/* Makes the file at `path`, which must not exist; 0 or -errno. */
int report_file_create_at(struct report_file *file, const char *path);
/* Calls `visit` for each line that has come since the last call. */
void report_file_read(struct report_file *file, void (*visit)(void *, const struct report *),
                      void *context);
void report_file_remove(struct report_file *file);

/* \t, \n and \\ become what they stand for, in place. */
void report_unescape(char *text);

/* "1.2 MiB in use, 345 samples, 210 stacks"; overwritten by the next call. */
const char *report_numbers(const struct report *report);

#endif
