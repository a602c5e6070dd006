#include "profile_edit.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

/* The numbers of the profile's fields, and the wire type of all of them. */
enum { MAPPING = 3, LOCATION = 4, FUNCTION = 5, STRING = 6, WIRE_LENGTH = 2 };

#define GZIP_ONLY (15 + 16) /* for deflateInit2(): the largest window, gzip */

struct writer {
    z_stream stream;
    int fd, error;
    uint8_t out[1 << 16];
    uint8_t *message; /* a packed one */
    size_t room;
};

static int write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static void put(struct writer *writer, const void *data, size_t size, int flush)
{
    z_stream *stream = &writer->stream;
    stream->next_in = (z_const Bytef *)(uintptr_t)data;
    stream->avail_in = (uInt)size; /* a profile is at most PROFILE_FILE_MAX */
    do {
        stream->next_out = writer->out;
        stream->avail_out = sizeof(writer->out);
        deflate(stream, flush);
        size_t used = sizeof(writer->out) - stream->avail_out;
        if (writer->error == 0 && used > 0)
            writer->error = write_all(writer->fd, writer->out, used);
    } while (stream->avail_out == 0);
}

static void put_header(struct writer *writer, unsigned field, size_t size)
{
    uint8_t header[12] = {(uint8_t)(field << 3 | WIRE_LENGTH)};
    size_t used = 1;
    for (; size >= 0x80; size >>= 7)
        header[used++] = (uint8_t)(size | 0x80);
    header[used++] = (uint8_t)size;
    put(writer, header, used, Z_NO_FLUSH);
}

static void put_message(struct writer *writer, unsigned field, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > writer->room) {
        uint8_t *moved = realloc(writer->message, size * 2);
        if (!moved) {
            writer->error = -ENOMEM;
            return;
        }
        writer->message = moved;
        writer->room = size * 2;
    }
    protobuf_c_message_pack(message, writer->message);
    put_header(writer, field, size);
    put(writer, writer->message, size, Z_NO_FLUSH);
}

/* Numbers the functions that are used from 1, and tells their old places of it. */
static bool renumber(struct edit *edit, bool **ret_is_used)
{
    bool *is_used = calloc(edit->function_count + 1, sizeof(*is_used));
    uint64_t *ids = calloc(edit->function_count + 1, sizeof(*ids));
    if (!is_used || !ids) {
        free(is_used);
        free(ids);
        return false;
    }
    for (size_t i = 0; i < edit->location_count; i++)
        for (size_t j = 0; j < edit->locations[i]->n_line; j++)
            is_used[edit_function_place(edit, edit->locations[i]->line[j]->function_id)] = true;
    uint64_t id = 0;
    for (size_t i = 0; i < edit->function_count; i++)
        ids[i] = is_used[i] ? ++id : 0;
    for (size_t i = 0; i < edit->location_count; i++)
        for (size_t j = 0; j < edit->locations[i]->n_line; j++) {
            Perftools__Profiles__Line *line = edit->locations[i]->line[j];
            line->function_id = ids[edit_function_place(edit, line->function_id)];
        }
    for (size_t i = 0; i < edit->function_count; i++)
        edit->functions[i]->id = ids[i];
    free(ids);
    *ret_is_used = is_used;
    return true;
}

static void put_all(struct writer *writer, const struct edit *edit, const bool *is_used)
{
    for (size_t i = 0; i < edit->kept_count; i++)
        put(writer, edit->data + edit->kept[i].start, edit->kept[i].size, Z_NO_FLUSH);
    for (size_t i = edit->strings_in_file; i < edit->string_count; i++) {
        put_header(writer, STRING, edit->strings[i].size);
        put(writer, edit->strings[i].bytes, edit->strings[i].size, Z_NO_FLUSH);
    }
    for (size_t i = 0; i < edit->mapping_count; i++)
        put_message(writer, MAPPING, &edit->mappings[i]->base);
    for (size_t i = 0; i < edit->function_count; i++)
        if (is_used[i])
            put_message(writer, FUNCTION, &edit->functions[i]->base);
    for (size_t i = 0; i < edit->location_count; i++)
        put_message(writer, LOCATION, &edit->locations[i]->base);
    put(writer, NULL, 0, Z_FINISH);
}

int edit_write(struct edit *edit, int fd, int level)
{
    struct writer *writer = calloc(1, sizeof(*writer));
    bool *is_used = NULL;
    int r = -ENOMEM;
    if (writer && renumber(edit, &is_used) &&
        deflateInit2(&writer->stream, level, Z_DEFLATED, GZIP_ONLY, 8, Z_DEFAULT_STRATEGY) ==
            Z_OK) {
        writer->fd = fd;
        put_all(writer, edit, is_used);
        deflateEnd(&writer->stream);
        r = writer->error;
    }
    if (writer)
        free(writer->message);
    free(is_used);
    free(writer);
    return r;
}
