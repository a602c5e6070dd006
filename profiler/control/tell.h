/* tell.h: who is told of a profile, and how.
 *
 * One line for each profile, fields separated by tabs:
 *     pid  path  in-use bytes  in-use objects  samples  stacks  error
 * Samples are those taken since the program started. `error` is empty, or the reason why there is
 * no such file. Tabs, newlines and backslashes in the path are written \t, \n and \\. The line
 * goes, in one write, to the file HEAPTAP_REPORT (`heaptap run` makes it) and to the files that
 * `heaptap snapshot` made for its answers. */
#ifndef HT_CONTROL_TELL_H
#define HT_CONTROL_TELL_H

#include "control/config.h"
#include "report/snapshot.h"

struct ht_telling {
    const char *path;
    int error; /* errno value; 0: written */
    struct ht_totals totals;
};

/* Appends to the file of that name, if it is a plain one of our user's or of root's. */
bool ht_tell_answer(uint32_t nonce, const char *line, size_t length);
/* Puts `text` at line[length], at most up to line[size - 1], and returns the new length. */
size_t ht_tell_add_escaped(char *line, size_t size, size_t length, const char *text);

/* Of the last profile that was to be told of: an errno value, 0: written. */
int ht_tell_last_error(void);

void ht_tell(const struct ht_config *config, const struct ht_telling *telling,
             const uint32_t *nonces, unsigned nonce_count);

#endif
