/* dump.h: one profile, from the tables to a file under its final name, and the line that tells of
 * it.
 *
 * Profiles are written one at a time (rank HT_RANK_DUMP), on a stack of their own, with sampling
 * paused in the writing thread. A profile gets its name when it is complete, so that nothing half
 * is left, whatever ends the process. */
#ifndef HT_CONTROL_DUMP_H
#define HT_CONTROL_DUMP_H

#include "control/config.h"
#include "sys/os.h"

/* Context: start. Keeps a pointer to `config`. */
void ht_dump_start(const struct ht_config *config);

/* The next name of HEAPTAP_OUTPUT. An existing file is never replaced. What happened is told to
 * HEAPTAP_REPORT, to the askers (nonces of `heaptap snapshot`, which made a file for the answer),
 * and, a failure that nobody listens to, on standard error. With `lifetimes`, or
 * HEAPTAP_LIFETIMES, a profile of lifetimes follows and is told of in the same way. 0 or -errno. Context: collector,
 * API. */
int ht_dump_next(const uint32_t *nonces, unsigned nonce_count, bool lifetimes);
/* The same where the program ends, perhaps in a signal handler that interrupted the allocator. */
int ht_dump_last(void);

/* What ht_dump_next() will call its profile, if nobody takes the name. 0 or -errno. */
int ht_dump_next_name(char *ret_path, size_t size);

/* A path of the caller's choice, replaced if it exists; a descriptor of the caller's. The caller is
 * told only by the result. */
int ht_dump_to_path(const char *path);
int ht_dump_to_fd(int fd);

/* Profiles written by this process. */
uint64_t ht_dump_count(void);

/* The collector says whether its descriptors are its own: then a fork need not wait for it. */
void ht_dump_set_private(bool is_private);

/* Around a fork, in rank order (control/fork.c). */
void ht_dump_fork_prepare(void);
void ht_dump_fork_parent(void);
void ht_dump_fork_child(void);

#endif
