/* doctor.h: why no profile comes out, as `heaptap doctor` says it: facts first, one line each, then
 * what is wrong and what to do about it. */
#ifndef HT_TOOL_DOCTOR_H
#define HT_TOOL_DOCTOR_H

#include <limits.h>
#include <sys/types.h>

#include "control/config.h"

#include "symbols.h"

/* The examinations. Each prints facts and notes problems; 0, or an exit status when it could not
 * begin. */
int doctor_process(pid_t pid);
int doctor_program(const char *name);

/* "  name        text" on standard output. */
void doctor_fact(const char *name, const char *format, ...) HT_PRINTF(2, 3);
/* Something that is wrong, as a sentence without its point; the advice is a sentence of its own.
 * Printed at the end. */
void doctor_problem(const char *advice, const char *format, ...) HT_PRINTF(2, 3);

/* Whose eyes a path is seen with. */
struct doctor_view {
    const char *root; /* "" or "/proc/PID/root" */
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* NULL: our own user */
    size_t group_count;
};

/* Whether profiles can be created in the directory of `path`, which is absolute, or relative to
 * ours. */
void doctor_check_output(const struct doctor_view *view, const char *path);

/* The libraries of an LD_PRELOAD list that the loader cannot load are problems. Whether
 * libheaptap.so is among those that it names. */
bool doctor_check_preload(const struct doctor_view *view, const char *list);

/* Fills the settings from entries NAME=VALUE, each with its NUL; refused ones are problems. Whether
 * there are any. */
bool doctor_read_settings(struct ht_config *config, const char *entries, size_t size);

/* Whether stacks can be had here: libunwind is opened at run time. */
void doctor_check_unwinder(void);

/* What a program has of its own, printed as facts; a malloc of its own is a problem. */
void doctor_check_symbols(const char *name, const struct symbols *symbols);

#endif
