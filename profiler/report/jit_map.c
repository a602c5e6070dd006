#include <errno.h>
#include <string.h>

#include "report/jit_files.h"

#include "sys/poison.h"

#define BUFFER_SIZE 8192u
/* "0x" and 16 digits, a space, the same again, a space: more is no such line. */
#define NUMBERS_MAX 64u

struct line {
    uintptr_t start, size;
    size_t name; /* where it begins */
};

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A hexadecimal number, with or without "0x", and the space after it. Where that ends, or 0. */
static size_t parse_number(const char *text, size_t at, size_t length, uintptr_t *ret_number)
{
    uintptr_t number = 0;
    unsigned digits = 0;
    if (at + 1 < length && text[at] == '0' && (text[at + 1] | 0x20) == 'x')
        at += 2;
    for (; at < length && digit_of(text[at]) >= 0; at++, digits++)
        number = number << 4 | (unsigned)digit_of(text[at]);
    *ret_number = number;
    return digits >= 1 && digits <= 16 && at < length && text[at] == ' ' ? at + 1 : 0;
}

/* False for what is no line of a map, or covers nothing. */
static bool parse(const char *text, size_t length, struct line *ret_line)
{
    size_t at = parse_number(text, 0, length, &ret_line->start);
    if (at != 0)
        at = parse_number(text, at, length, &ret_line->size);
    ret_line->name = at;
    return at != 0 && at < length && ret_line->start != 0 && ret_line->size != 0 &&
           ret_line->size <= UINTPTR_MAX - ret_line->start;
}

struct scan {
    struct ht_jit_want *wants;
    uint32_t count;
    uint8_t file;
    uint64_t covers_left;
};

static int offer(struct scan *scan, const char *text, size_t length, uint64_t offset)
{
    struct line line;
    if (!parse(text, length, &line))
        return 0;
    uint32_t i = ht_jit_first(scan->wants, scan->count, line.start);
    for (; i < scan->count && scan->wants[i].pc - line.start < line.size; i++) {
        struct ht_jit_want *want = &scan->wants[i];
        if (scan->covers_left-- == 0)
            return -E2BIG;
        want->start = line.start;
        want->offset = offset;
        want->file = scan->file;
        want->is_moved = false;
    }
    return 0;
}

/* Line by line. One that has no end yet is being written: its name may be half. Of one that is too
 * long for the buffer the beginning counts. */
int ht_jit_map_scan(const struct ht_source *source, uint8_t file, struct ht_jit_want *wants,
                    uint32_t count)
{
    struct scan scan = {wants, count, file, HT_JIT_COVERS_MAX};
    char buffer[BUFFER_SIZE];
    uint64_t base = 0; /* where the buffer begins */
    size_t used = 0;
    bool is_rest = false;
    ssize_t got;
    while ((got = ht_source_read_some(source, buffer + used, sizeof(buffer) - used, base + used)) >
           0) {
        const char *line = buffer, *end;
        used += (size_t)got;
        while ((end = memchr(line, '\n', used)) != NULL ||
               (line == buffer && used == BUFFER_SIZE)) {
            size_t length = end != NULL ? (size_t)(end - line) : used;
            int r = is_rest ? 0 : offer(&scan, line, length, base + (uint64_t)(line - buffer));
            if (r < 0)
                return r;
            is_rest = end == NULL;
            length += end != NULL;
            line += length;
            used -= length;
        }
        base += (uint64_t)(line - buffer);
        memmove(buffer, line, used);
    }
    return (int)got;
}

int ht_jit_map_name(const struct ht_source *source, const struct ht_jit_want *want, char *ret_name,
                    size_t size)
{
    char numbers[NUMBERS_MAX];
    struct line line;
    ssize_t got = ht_source_read_some(source, numbers, sizeof(numbers), want->offset);
    if (got < 0)
        return (int)got;
    const char *end = memchr(numbers, '\n', (size_t)got);
    if (!parse(numbers, end != NULL ? (size_t)(end - numbers) : (size_t)got, &line) ||
        line.start != want->start || want->pc - line.start >= line.size)
        return -ESTALE; /* written anew */
    got = ht_source_read_some(source, ret_name, size - 1, want->offset + line.name);
    if (got < 0)
        return (int)got;
    end = memchr(ret_name, '\n', (size_t)got);
    ret_name[end != NULL ? end - ret_name : got] = 0;
    return ret_name[0] != 0 ? (int)strlen(ret_name) : -ENOEXEC;
}
