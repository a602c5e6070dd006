#include "profile_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define ROOM_FIRST ((size_t)64 << 10)
#define TOO_LARGE  "larger than 1 GiB"
#define NO_MEMORY  "it does not fit into memory"
#define GZIP_ONLY  (15 + 16) /* for inflateInit2(): the largest window, gzip only */

/* Room for at least one byte more. False when that would be too much. */
static bool grow(struct bytes *bytes, size_t *room)
{
    if (bytes->size < *room)
        return true;
    size_t new_room = *room ? *room * 2 : ROOM_FIRST;
    uint8_t *moved = realloc(bytes->data, new_room);
    if (!moved)
        return false;
    bytes->data = moved;
    *room = new_room;
    return true;
}

static const char *give_up(struct bytes *bytes, const char *problem)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
    return problem;
}

static const char *read_all(int fd, struct bytes *bytes)
{
    size_t room = 0;
    for (;;) {
        if (!grow(bytes, &room))
            return give_up(bytes, NO_MEMORY);
        ssize_t n = read(fd, bytes->data + bytes->size, room - bytes->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return give_up(bytes, strerror(errno));
        if (n == 0)
            return NULL;
        bytes->size += (size_t)n;
        if (bytes->size > PROFILE_FILE_MAX)
            return give_up(bytes, TOO_LARGE);
    }
}

const char *profile_file_read(const char *path, struct bytes *ret_bytes)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct stat status;
    struct bytes bytes = {0};
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return strerror(errno);
    const char *problem = NULL;
    if (S_ISREG(status.st_mode) && status.st_size > (off_t)PROFILE_FILE_MAX)
        problem = TOO_LARGE;
    else
        problem = read_all(fd, &bytes);
    if (!problem && bytes.size == 0)
        problem = give_up(&bytes, "it is empty");
    if (!is_stdin)
        close(fd);
    if (!problem)
        *ret_bytes = bytes;
    return problem;
}

static bool is_gzip(const uint8_t *data, size_t size)
{
    return size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
}

/* All members of the file, as gzip does. */
static const char *unpack(z_stream *stream, struct bytes *bytes)
{
    size_t room = 0;
    for (;;) {
        if (!grow(bytes, &room))
            return NO_MEMORY;
        stream->next_out = bytes->data + bytes->size;
        stream->avail_out = (uInt)(room - bytes->size);
        int r = inflate(stream, Z_NO_FLUSH);
        bytes->size = room - stream->avail_out;
        if (bytes->size > PROFILE_FILE_MAX)
            return TOO_LARGE " when it is unpacked";
        if (r == Z_STREAM_END && stream->avail_in == 0)
            return NULL;
        if (r == Z_STREAM_END && is_gzip(stream->next_in, stream->avail_in))
            r = inflateReset(stream);
        else if (r == Z_STREAM_END)
            return "damaged: something follows the gzipped data";
        else if (r == Z_BUF_ERROR && stream->avail_in == 0)
            return "cut off: the gzipped data have no end";
        if (r == Z_MEM_ERROR)
            return NO_MEMORY;
        if (r != Z_OK && r != Z_BUF_ERROR)
            return "damaged: the gzipped data cannot be unpacked";
    }
}

const char *profile_file_unpack(const uint8_t *data, size_t size, struct bytes *ret_bytes)
{
    struct bytes bytes = {0};
    *ret_bytes = bytes;
    if (!is_gzip(data, size))
        return NULL;
    if (size > PROFILE_FILE_MAX)
        return TOO_LARGE;
    z_stream stream = {.next_in = (z_const Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
    if (inflateInit2(&stream, GZIP_ONLY) != Z_OK)
        return NO_MEMORY;
    const char *problem = unpack(&stream, &bytes);
    inflateEnd(&stream);
    if (problem)
        return give_up(&bytes, problem);
    *ret_bytes = bytes;
    return NULL;
}
