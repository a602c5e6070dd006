#include "patient.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/request.h"

#include "ask.h"

/* A healthy collector answers in milliseconds, but it may be writing a profile. */
#define ANSWER_MS       2000
#define ENVIRONMENT_MAX ((size_t)4 << 20)

/* ---- /proc ---- */

static void read_status(struct patient *patient)
{
    char status[8192];
    if (process_read(&patient->process, "status", status, sizeof(status)) < 0)
        return;
    patient->state = *process_field(status, "State");
    patient->seccomp = (unsigned)strtoul(process_field(status, "Seccomp"), NULL, 10);
    patient->anonymous_bytes = strtoull(process_field(status, "RssAnon"), NULL, 10) * 1024;
    const char *list = process_field(status, "Groups");
    size_t count = 0;
    for (char *end; count < PATIENT_GROUPS_MAX && *list && *list != '\n'; list = end) {
        unsigned long group = strtoul(list, &end, 10);
        if (end == list)
            break;
        patient->groups[count++] = (gid_t)group;
    }
    patient->view = (struct doctor_view){.root = patient->process.root,
                                         .uid = patient->process.uid,
                                         .gid = patient->process.gid,
                                         .groups = patient->groups,
                                         .group_count = count};
}

static void take_mapping(struct patient *patient, char *path)
{
    path[strcspn(path, "\n")] = 0;
    const char *base = strrchr(path, '/') + 1;
    if (!patient->library[0] && strncmp(base, "libheaptap.so", 13) == 0)
        snprintf(patient->library, sizeof(patient->library), "%s", path);
    if (!patient->allocator[0] && symbols_is_allocator(base))
        snprintf(patient->allocator, sizeof(patient->allocator), "%s", path);
    patient->has_musl |= strncmp(base, "ld-musl", 7) == 0;
    patient->has_loader |= strncmp(base, "ld-linux", 8) == 0;
}

static void read_maps(struct patient *patient)
{
    char path[64], *line = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "/proc/%d/maps", patient->process.pid);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return;
    patient->has_maps = true;
    while (getline(&line, &size, maps) > 0) {
        char *slash = strchr(line, '/');
        if (slash)
            take_mapping(patient, slash);
    }
    free(line);
    fclose(maps);
}

static void read_environment(struct patient *patient)
{
    ht_config_defaults(&patient->config);
    patient->environment = calloc(1, ENVIRONMENT_MAX + 2);
    if (!patient->environment)
        return;
    ssize_t size =
        process_read(&patient->process, "environ", patient->environment, ENVIRONMENT_MAX);
    patient->has_environment = size >= 0;
    if (size > 0) {
        patient->environment_size = (size_t)size;
        patient->has_settings =
            doctor_read_settings(&patient->config, patient->environment, patient->environment_size);
    }
}

const char *patient_variable(const struct patient *patient, const char *name)
{
    size_t length = strlen(name);
    const char *end = patient->environment + patient->environment_size;
    for (const char *entry = patient->environment; entry && entry < end;
         entry += strlen(entry) + 1) {
        if (strncmp(entry, name, length) == 0 && entry[length] == '=')
            return entry + length + 1;
    }
    return NULL;
}

static void read_program(struct patient *patient)
{
    snprintf(patient->exe, sizeof(patient->exe), "/proc/%d/exe", patient->process.pid);
    ssize_t length = readlink(patient->exe, patient->program, sizeof(patient->program) - 1);
    patient->program[length < 0 ? 0 : length] = 0;
}

void patient_read(struct patient *patient)
{
    read_status(patient);
    read_maps(patient);
    read_environment(patient);
    read_program(patient);
}

void patient_free(struct patient *patient)
{
    free(patient->environment);
    close(patient->process.fd);
}

/* ---- the answer ---- */

void patient_split_answer(struct patient *patient)
{
    char *rest = patient->line;
    for (char *pair; patient->pair_count < PATIENT_PAIRS_MAX && (pair = strsep(&rest, "\t"));) {
        char *value = strchr(pair, '=');
        if (!value)
            continue;
        *value++ = 0;
        report_unescape(value);
        patient->keys[patient->pair_count] = pair;
        patient->values[patient->pair_count++] = value;
    }
}

const char *patient_text(const struct patient *patient, const char *key)
{
    for (unsigned i = 0; i < patient->pair_count; i++) {
        if (strcmp(patient->keys[i], key) == 0)
            return patient->values[i];
    }
    return "";
}

uint64_t patient_number(const struct patient *patient, const char *key)
{
    return strtoull(patient_text(patient, key), NULL, 10);
}

void patient_ask(struct patient *patient)
{
    struct process *process = &patient->process;
    patient->answer = -ENOSYS;
    if (patient->state == 'T' || patient->state == 't' || !process->collector)
        return;
    patient->answer =
        ask_line(process, HT_REQUEST_STATUS, NULL, ANSWER_MS, patient->line, sizeof(patient->line));
    patient->has_answered = patient->answer == 0;
    if (patient->answer == -ETIMEDOUT)
        read_status(patient); /* it may have been stopped just now */
    if (patient->has_answered)
        patient_split_answer(patient);
}
