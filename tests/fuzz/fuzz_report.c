/* fuzz_report.c: what a profiled process writes for the command to read: lines about profiles, into
 * tools/report_file.c, and an answer to the doctor, into tools/patient.c. The first byte says in
 * what pieces the rest comes.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -DHT_LIBDIR='""' -Iprofiler -Itools \
 *         -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o fuzz \
 *         tests/fuzz/fuzz_report.c $(ls tools/?*.c | grep -v heaptap.c) \
 *         profiler/control/{config,parse}.c profiler/sys/os.c
 *     ./fuzz -max_len=20000 tests/fuzz/corpus/report */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control/parse.h"
#include "patient.h"
#include "replay.h"
#include "report_file.h"

#define FIELDS 7

/* What is left of the lines; the model takes them one by one. */
struct rest {
    const char *at, *end;
};

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

/* The texts are compared in the form that has no backslash before a tab, newline or backslash. */
static char *without_escapes(const char *from, size_t length)
{
    static char texts[2][REPORT_LINE_MAX];
    static unsigned next;
    char *text = texts[next++ % 2], *to = text;
    for (size_t i = 0; i < length; i++) {
        bool is_escape = from[i] == '\\' && i + 1 < length;
        if (!is_escape)
            *to++ = from[i];
        else if (from[++i] == 't')
            *to++ = '\t';
        else
            *to++ = from[i] == 'n' ? '\n' : from[i];
    }
    *to = 0;
    return text;
}

static bool parse_number(const char *from, size_t length, uint64_t *ret_number)
{
    char text[REPORT_LINE_MAX];
    memcpy(text, from, length);
    text[length] = 0;
    return ht_parse_number(text, ret_number) == 0;
}

/* Seven fields; what follows a tab behind them does not count, nor what follows a NUL. */
static bool parse(const char *line, struct report *ret_report)
{
    const char *fields[FIELDS];
    size_t lengths[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        fields[i] = line;
        lengths[i] = strcspn(line, "\t");
        line += lengths[i];
        if (i < FIELDS - 1 && *line++ == 0)
            return false;
    }
    uint64_t pid;
    if (!parse_number(fields[0], lengths[0], &pid) || pid > INT32_MAX ||
        !parse_number(fields[2], lengths[2], &ret_report->inuse_bytes) ||
        !parse_number(fields[3], lengths[3], &ret_report->inuse_objects) ||
        !parse_number(fields[4], lengths[4], &ret_report->samples) ||
        !parse_number(fields[5], lengths[5], &ret_report->stacks))
        return false;
    ret_report->pid = (pid_t)pid;
    ret_report->path = without_escapes(fields[1], lengths[1]);
    ret_report->error = without_escapes(fields[6], lengths[6]);
    return true;
}

static bool next_report(struct rest *rest, struct report *ret_report)
{
    const char *newline;
    while ((newline = memchr(rest->at, '\n', (size_t)(rest->end - rest->at))) != NULL) {
        static char line[REPORT_LINE_MAX];
        size_t length = (size_t)(newline - rest->at);
        const char *at = rest->at;
        rest->at = newline + 1;
        if (length >= sizeof(line))
            continue;
        memcpy(line, at, length);
        line[length] = 0;
        if (parse(line, ret_report))
            return true;
    }
    return false;
}

static void hear(void *rest, const struct report *report)
{
    struct report wanted;
    check(next_report(rest, &wanted));
    check(report->pid == wanted.pid && report->inuse_bytes == wanted.inuse_bytes);
    check(report->inuse_objects == wanted.inuse_objects);
    check(report->samples == wanted.samples && report->stacks == wanted.stacks);
    check(strcmp(report->path, wanted.path) == 0 && strcmp(report->error, wanted.error) == 0);
    check(strlen(report_numbers(report)) > 0);
}

static void read_reports(const uint8_t *data, size_t size, size_t piece)
{
    static struct report_file file;
    struct report more;
    struct rest rest = {.at = (const char *)data, .end = (const char *)data + size};
    memset(&file, 0, sizeof(file));
    file.fd = memfd_create("report", MFD_CLOEXEC);
    check(file.fd >= 0);
    for (size_t at = 0; at < size; at += piece) {
        size_t length = ht_min(piece, size - at);
        check(pwrite(file.fd, data + at, length, (off_t)at) == (ssize_t)length);
        report_file_read(&file, hear, &rest);
    }
    check(!next_report(&rest, &more));
    close(file.fd);
}

static void read_answer(const uint8_t *data, size_t size)
{
    static struct patient patient;
    size_t length = ht_min(size, sizeof(patient.line) - 1);
    patient.pair_count = 0;
    memcpy(patient.line, data, length);
    patient.line[length] = 0;
    length = strlen(patient.line);
    patient_split_answer(&patient);
    check(patient.pair_count <= PATIENT_PAIRS_MAX);
    for (unsigned i = 0; i < patient.pair_count; i++) {
        const char *key = patient.keys[i], *value = patient.values[i];
        check(key >= patient.line && value > key && value <= patient.line + length);
        check(strchr(key, '=') == NULL && strchr(key, '\t') == NULL);
        check(strlen(key) < (size_t)(value - key));
        check(i == 0 || key > patient.values[i - 1] + strlen(patient.values[i - 1]));
        patient_text(&patient, key);
        patient_number(&patient, key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    read_reports(data + 1, size - 1, 1 + (size_t)data[0] * 16);
    read_answer(data + 1, size - 1);
    return 0;
}
