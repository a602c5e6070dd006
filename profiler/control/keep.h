/* keep.h: the newest profiles stay, older ones go (HEAPTAP_KEEP).
 *
 * Only what this process wrote is ever removed, and only while it is still that file: the name must
 * lead to the inode that was written, with the size and the time of its last change as they were
 * when it was complete. The child of a fork starts with an empty list. A list of N costs N times
 * the length of a name and 64 to 100 bytes.
 *
 * The caller holds HT_RANK_DUMP (control/dump.c). */
#ifndef HT_CONTROL_KEEP_H
#define HT_CONTROL_KEEP_H

#include "sys/compiler.h"

/* `count` profiles stay, at most twice HT_KEEP_MAX; 0: all. Context: start. */
void ht_keep_start(unsigned count);

/* A profile is complete at `path`; what is too old for the list is removed. Names that do not fit
 * beside the others (the host's name has grown, say), and all when no memory is left, are not
 * remembered: they stay for ever. */
void ht_keep_written(const char *path);

void ht_keep_fork_child(void);

#endif
