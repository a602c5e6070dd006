/* fuzz_maps.c: lists of mappings as /proc/PID/maps has them, into report/maps.c.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -fsanitize=fuzzer,address,undefined \
 *         -fno-sanitize-recover=all -o fuzz tests/fuzz/fuzz_maps.c \
 *         profiler/report/maps.c profiler/sys/os.c
 *     ./fuzz -max_len=20000 tests/fuzz/corpus/maps */
#include "report/maps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replay.h"

#define HEX "0123456789abcdef"

/* What is left of the list; the model takes its lines one by one. */
struct rest {
    const char *at, *end;
};

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

/* The value of the last 16 of so many digits. */
static uintptr_t value_of(const char *digits, size_t count)
{
    char last[17] = "0";
    size_t kept = ht_min(count, 16);
    memcpy(last, digits + count - kept, kept);
    return strtoull(last, NULL, 16);
}

/* Cuts the line into fields, where report/maps.c goes from one letter to the next. */
static bool parse(char *line, struct ht_maps_line *ret_line)
{
    size_t first = strspn(line, HEX);
    char *second = line + first + 1;
    if (line[first] != '-' || second[strspn(second, HEX)] != ' ')
        return false;
    char *rest = second + strspn(second, HEX) + 1;
    if (strlen(rest) < 4)
        return false;
    ret_line->start = value_of(line, first);
    ret_line->end = value_of(second, strspn(second, HEX));
    ret_line->is_executable = rest[2] == 'x';
    for (int field = 0; field < 4 && rest != NULL; field++) {
        rest = strchr(rest, ' ');
        while (rest != NULL && *rest == ' ')
            rest++;
    }
    ret_line->path = rest != NULL && *rest == '/' ? rest : NULL;
    return true;
}

/* The next line that counts; false at the end of the list. */
static bool next_line(struct rest *rest, char *buffer, struct ht_maps_line *ret_line)
{
    const char *newline;
    while ((newline = memchr(rest->at, '\n', (size_t)(rest->end - rest->at))) != NULL) {
        size_t length = (size_t)(newline - rest->at);
        const char *line = rest->at;
        rest->at = newline + 1;
        if (length >= HT_MAPS_LINE_MAX)
            continue;
        memcpy(buffer, line, length);
        buffer[length] = 0;
        if (parse(buffer, ret_line))
            return true;
    }
    return false;
}

static void take(const struct ht_maps_line *line, void *rest)
{
    char buffer[HT_MAPS_LINE_MAX];
    struct ht_maps_line wanted;
    check(next_line(rest, buffer, &wanted));
    check(line->start == wanted.start && line->end == wanted.end);
    check(line->is_executable == wanted.is_executable);
    check((line->path == NULL) == (wanted.path == NULL));
    check(line->path == NULL || strcmp(line->path, wanted.path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char buffer[HT_MAPS_LINE_MAX];
    struct ht_maps_line more;
    struct rest rest = {.at = (const char *)data, .end = (const char *)data + size};
    int fd = memfd_create("maps", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    check(ht_maps_read(fd, take, &rest) == 0);
    check(!next_line(&rest, buffer, &more));
    close(fd);
    return 0;
}
