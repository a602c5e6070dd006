#include "report/maps.h"

#include <string.h>

#include "sys/os.h"

#include "sys/poison.h"

/* "start-end " in hexadecimal. The end of it, or NULL. */
static const char *parse_range(const char *line, uintptr_t *ret_start, uintptr_t *ret_end)
{
    uintptr_t values[2] = {0, 0};
    for (int i = 0; i < 2; i++, line++) {
        for (; *line != (i == 0 ? '-' : ' '); line++) {
            unsigned digit = (unsigned char)*line - '0';
            if (digit > 9)
                digit = (unsigned char)*line - 'a' + 10u;
            if (digit > 15)
                return NULL;
            values[i] = values[i] << 4 | digit;
        }
    }
    *ret_start = values[0];
    *ret_end = values[1];
    return line;
}

static void take_line(const char *text, void (*take)(const struct ht_maps_line *, void *),
                      void *context)
{
    struct ht_maps_line line;
    const char *rights = parse_range(text, &line.start, &line.end);
    if (rights == NULL || strnlen(rights, 4) < 4)
        return;
    line.is_executable = rights[2] == 'x';
    line.path = strchr(rights, '/');
    take(&line, context);
}

int ht_maps_each(void (*take)(const struct ht_maps_line *line, void *context), void *context)
{
    char buffer[HT_PATH_MAX + 256];
    int fd = ht_os_open_read("/proc/thread-self/maps");
    if (fd < 0)
        return fd;
    size_t used = 0;
    ssize_t got;
    while ((got = ht_os_read(fd, buffer + used, sizeof(buffer) - used)) > 0) {
        used += (size_t)got;
        char *line = buffer, *end;
        while ((end = memchr(line, '\n', used)) != NULL) {
            *end = 0;
            take_line(line, take, context);
            used -= (size_t)(end + 1 - line);
            line = end + 1;
        }
        memmove(buffer, line, used);
        if (used == sizeof(buffer))
            used = 0;
    }
    ht_os_close(fd);
    return got < 0 ? (int)got : 0;
}
