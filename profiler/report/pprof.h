/* pprof.h: a snapshot as a profile that `go tool pprof` opens.
 *
 * Everything is written as it is found, one message at a time, so that memory is constant but for
 * the table of distinct pcs: 1 MiB, and 16 to 32 bytes for each of them. Names are looked up here,
 * in the process that has the code, because `go tool pprof` itself finds none for C++ methods or
 * stripped libraries. */
#ifndef HT_REPORT_PPROF_H
#define HT_REPORT_PPROF_H

#include "report/snapshot.h"

/* The stack that ht_pprof_encode() wants below it; names are demangled recursively. */
#define HT_PPROF_STACK_SIZE ((size_t)1024 * 1024)

/* Writes a gzipped profile to `fd`, which the caller opened and closes. 0 or -errno; what has been
 * written by then is of no use. -ENOMEM when the arena's limit leaves no room for it.
 * Opens the loaded files one at a time for their symbols and takes the loader's lock for a moment.
 * Context: dump; not in a hook, and one at a time. */
int ht_pprof_encode(struct ht_snapshot *snapshot, int fd, struct ht_totals *ret_totals);

#endif
