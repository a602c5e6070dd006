#include "report_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/config.h"

#include "tool.h"

int report_file_create(struct report_file *file)
{
    const char *directory = getenv("TMPDIR");
    if (!directory || *directory != '/')
        directory = "/tmp";
    file->fd = -1;
    int n = snprintf(file->path, sizeof(file->path), "%s/heaptap.XXXXXX", directory);
    if (n >= (int)sizeof(file->path))
        return -ENAMETOOLONG;
    int fd = mkostemp(file->path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    file->fd = fd;
    return 0;
}

int report_file_create_at(struct report_file *file, const char *path)
{
    file->fd = -1;
    file->pending = 0;
    file->too_long = false;
    if (snprintf(file->path, sizeof(file->path), "%s", path) >= (int)sizeof(file->path))
        return -ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    file->fd = fd;
    return 0;
}

void report_file_remove(struct report_file *file)
{
    if (file->fd < 0)
        return;
    unlink(file->path);
    close(file->fd);
    file->fd = -1;
}

void report_unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (from[0] == '\\' && from[1]) {
            from++;
            *to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

enum { PID, PATH, INUSE_BYTES, INUSE_OBJECTS, SAMPLES, STACKS, ERROR, FIELDS };

/* False when the line is none of the library's. */
static bool parse_line(char *line, struct report *ret_report)
{
    char *fields[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        fields[i] = strsep(&line, "\t");
        if (!fields[i])
            return false;
    }
    uint64_t numbers[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        if (i != PATH && i != ERROR && ht_parse_number(fields[i], &numbers[i]) < 0)
            return false;
    }
    if (numbers[PID] > INT32_MAX)
        return false;
    report_unescape(fields[PATH]);
    report_unescape(fields[ERROR]);
    *ret_report = (struct report){
        .pid = (pid_t)numbers[PID],
        .path = fields[PATH],
        .inuse_bytes = numbers[INUSE_BYTES],
        .inuse_objects = numbers[INUSE_OBJECTS],
        .samples = numbers[SAMPLES],
        .stacks = numbers[STACKS],
        .error = fields[ERROR],
    };
    return true;
}

void report_file_read(struct report_file *file, void (*visit)(void *, const struct report *),
                      void *context)
{
    char piece[4096];
    ssize_t size;
    while (file->fd >= 0 && (size = read(file->fd, piece, sizeof(piece))) > 0) {
        for (ssize_t i = 0; i < size; i++) {
            if (piece[i] != '\n') {
                if (file->pending < sizeof(file->line) - 1)
                    file->line[file->pending++] = piece[i];
                else
                    file->too_long = true;
                continue;
            }
            struct report report;
            file->line[file->pending] = 0;
            if (!file->too_long && parse_line(file->line, &report))
                visit(context, &report);
            file->pending = 0;
            file->too_long = false;
        }
    }
}

const char *report_numbers(const struct report *report)
{
    static char text[128];
    snprintf(text, sizeof(text), "%s in use, %" PRIu64 " sample%s, %" PRIu64 " stack%s",
             text_bytes(report->inuse_bytes), report->samples, report->samples == 1 ? "" : "s",
             report->stacks, report->stacks == 1 ? "" : "s");
    return text;
}
