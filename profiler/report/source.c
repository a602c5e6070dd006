#include "report/source.h"

#include <errno.h>
#include <string.h>

#include "sys/os.h"

#include "sys/poison.h"

int ht_source_open_file(const char *path, struct ht_source *ret_source)
{
    int fd = ht_os_open_read(path);
    if (fd < 0)
        return fd;
    *ret_source = (struct ht_source){.fd = fd, .size = INT64_MAX};
    return 0;
}

int ht_source_open_memory(uintptr_t start, uintptr_t limit, struct ht_source *ret_source)
{
    if (start >= limit || limit > INT64_MAX)
        return -EFAULT;
    int r = ht_source_open_file("/proc/thread-self/mem", ret_source);
    if (r < 0)
        return r;
    ret_source->origin = start;
    ret_source->size = limit - start;
    return 0;
}

struct ht_source ht_source_of_buffer(const void *buffer, size_t size)
{
    return (struct ht_source){.fd = -1, .buffer = buffer, .size = size};
}

void ht_source_close(struct ht_source *source)
{
    if (source->fd >= 0)
        ht_os_close(source->fd);
    source->fd = -1;
    source->size = 0;
}

ssize_t ht_source_read_some(const struct ht_source *source, void *buffer, size_t size,
                            uint64_t offset)
{
    if (offset >= source->size)
        return 0;
    size = ht_min(size, source->size - offset);
    if (source->fd >= 0)
        return ht_os_read_at(source->fd, buffer, size, source->origin + offset);
    if (size > 0)
        memcpy(buffer, source->buffer + offset, size);
    return (ssize_t)size;
}

int ht_source_read(const struct ht_source *source, void *buffer, size_t size, uint64_t offset)
{
    ssize_t got = ht_source_read_some(source, buffer, size, offset);
    if (got < 0)
        return (int)got;
    return (size_t)got == size ? 0 : -ENOEXEC;
}
