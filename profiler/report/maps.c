#include "report/maps.h"

#include <string.h>

#include "sys/poison.h"

/* -1: none of hexadecimal, as the kernel writes it. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "start-end " in hexadecimal. The end of it, or NULL. */
static const char *parse_range(const char *line, uintptr_t *ret_start, uintptr_t *ret_end)
{
    uintptr_t values[2] = {0, 0};
    for (int i = 0; i < 2; i++, line++) {
        for (; *line != (i == 0 ? '-' : ' '); line++) {
            int digit = digit_of(*line);
            if (digit < 0)
                return NULL;
            values[i] = values[i] << 4 | (unsigned)digit;
        }
    }
    *ret_start = values[0];
    *ret_end = values[1];
    return line;
}

/* What follows rights, offset, device and inode, if it is a file: other names may have slashes. */
static const char *path_of(const char *fields)
{
    for (int i = 0; i < 4; i++) {
        fields += strcspn(fields, " ");
        fields += strspn(fields, " ");
    }
    return fields[0] == '/' ? fields : NULL;
}

static void take_line(const char *text, void (*take)(const struct ht_maps_line *, void *),
                      void *context)
{
    struct ht_maps_line line;
    const char *rights = parse_range(text, &line.start, &line.end);
    if (rights == NULL || strnlen(rights, 4) < 4)
        return;
    line.is_executable = rights[2] == 'x';
    line.path = path_of(rights);
    take(&line, context);
}

int ht_maps_read(int fd, void (*take)(const struct ht_maps_line *line, void *context),
                 void *context)
{
    char buffer[HT_MAPS_LINE_MAX];
    size_t used = 0;
    bool is_rest = false; /* of a line that is left out */
    ssize_t got;
    while ((got = ht_os_read(fd, buffer + used, sizeof(buffer) - used)) > 0) {
        used += (size_t)got;
        char *line = buffer, *end;
        while ((end = memchr(line, '\n', used)) != NULL) {
            *end = 0;
            if (!is_rest)
                take_line(line, take, context);
            is_rest = false;
            used -= (size_t)(end + 1 - line);
            line = end + 1;
        }
        memmove(buffer, line, used);
        if (used == sizeof(buffer)) {
            used = 0;
            is_rest = true;
        }
    }
    return got < 0 ? (int)got : 0;
}

int ht_maps_each(void (*take)(const struct ht_maps_line *line, void *context), void *context)
{
    int fd = ht_os_open_read("/proc/thread-self/maps");
    if (fd < 0)
        return fd;
    int r = ht_maps_read(fd, take, context);
    ht_os_close(fd);
    return r;
}
