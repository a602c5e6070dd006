/* profile_drop.h: which functions a profile wants hidden (drop_frames and keep_frames). */
#ifndef HT_TOOL_PROFILE_DROP_H
#define HT_TOOL_PROFILE_DROP_H

#include <regex.h>

#include "sys/compiler.h"

struct profile_drop {
    regex_t drop, keep;
    bool has_drop, has_keep;
};

/* Takes both expressions, "" for none. One that cannot be used hides nothing, as in pprof. They are
 * made for RE2; what a POSIX library would take hours or gigabytes for is not used either. */
void profile_drop_start(struct profile_drop *drop, const char *drop_frames,
                        const char *keep_frames);

/* Whether a function is to be hidden. The whole name counts, without its parameters. */
bool profile_drop_matches(const struct profile_drop *drop, const char *function);

void profile_drop_end(struct profile_drop *drop);

#endif
