/* replace.h: a file that takes the place of another one, whole or not at all. */
#ifndef HT_TOOL_REPLACE_H
#define HT_TOOL_REPLACE_H

#include <limits.h>
#include <sys/stat.h>

#include "sys/compiler.h"

/* One that is being written. While that goes on it has no name, where the file system knows such
 * files: whatever ends us, nothing is left. */
struct replacement {
    int fd;
    bool is_named;
    char path[PATH_MAX], temporary[PATH_MAX];
    struct stat like; /* of what it replaces; st_nlink 0: of nothing */
};

/* Begins one for `path`, a link being followed. `like`, which may be NULL, is the file that is to be
 * replaced, and no other; its owner, mode and time are kept. 0 or -errno. */
int replacement_begin(const char *path, const struct stat *like, struct replacement *ret);

/* Puts it in its place. -ESTALE when there is another file by now, or none. */
int replacement_finish(struct replacement *replacement);
void replacement_abandon(struct replacement *replacement);

#endif
