/* target.h: what the program is that `heaptap run` is to run, and whether a preloaded library works
 * in it. */
#ifndef HT_TOOL_TARGET_H
#define HT_TOOL_TARGET_H

#include <limits.h>

#include "sys/compiler.h"

/* Finds the program as execvp() does. 0, or -ENOENT, or -EACCES when something of that name is
 * there but cannot be executed. */
int target_find(const char *name, char ret_path[PATH_MAX]);

/* Why the program at `path` cannot be profiled: `ret_culprit`, which is the program or the
 * interpreter of the script that it is, and then the result make a sentence. NULL when nothing is
 * known against it. */
const char *target_obstacle(const char *path, char ret_culprit[PATH_MAX]);

/* Why the loader would not preload the library at `path`; it completes a sentence that begins with
 * its name. NULL when nothing is known against it. */
const char *target_library_obstacle(const char *path);

/* Our library: in the tree that this command was built in, or where it is installed. 0 or
 * -ENOENT. */
int target_find_library(char ret_path[PATH_MAX]);

#endif
