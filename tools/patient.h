/* patient.h: a process, as /proc shows it and as the library in it answers. */
#ifndef HT_TOOL_PATIENT_H
#define HT_TOOL_PATIENT_H

#include <limits.h>

#include "control/config.h"

#include "doctor.h"
#include "process.h"

#define PATIENT_STATUS_SIZE ((size_t)64 * 1024)
#define PATIENT_GROUPS_MAX  64
#define PATIENT_PAIRS_MAX   64

struct patient {
    struct process process;
    struct doctor_view view;
    gid_t groups[PATIENT_GROUPS_MAX];
    char state; /* of its main thread, as in /proc/PID/status */
    unsigned seccomp;
    uint64_t anonymous_bytes;
    char program[PATH_MAX], exe[64]; /* its name, and where it can be read */
    char library[PATH_MAX];          /* ours, as it is mapped; "" */
    char allocator[PATH_MAX];        /* a known one, as it is mapped; "" */
    bool has_musl, has_loader, has_maps;
    bool has_environment, has_settings;
    char *environment; /* entries with a NUL each, and one more */
    size_t environment_size;
    struct ht_config config; /* from its environment */
    /* The library's answer: pairs of key and value. */
    bool has_answered;
    int answer; /* what ask_line() gave */
    char line[PATIENT_STATUS_SIZE];
    char *keys[PATIENT_PAIRS_MAX], *values[PATIENT_PAIRS_MAX];
    unsigned pair_count;
};

/* Reads all but the answer; `process` is open. What cannot be read is left out. */
void patient_read(struct patient *patient);
/* Asks the library. */
void patient_ask(struct patient *patient);
/* Cuts `line` into the pairs: key=value, tabs between them. */
void patient_split_answer(struct patient *patient);
void patient_free(struct patient *patient);

/* Of the environment it was started with; NULL. */
const char *patient_variable(const struct patient *patient, const char *name);
/* Of the answer: "" and 0 when the library did not say. */
const char *patient_text(const struct patient *patient, const char *key);
uint64_t patient_number(const struct patient *patient, const char *key);

#endif
