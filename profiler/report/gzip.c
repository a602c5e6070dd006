#include "report/gzip.h"

#include <errno.h>
#include <zlib.h>
#include <string.h>

#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

#define LEVEL        1
#define WINDOW_BITS  15
#define GZIP_HEADER  16 /* added to the window bits, it asks for a gzip header */
#define MEMORY_LEVEL 8
/* 2^(window bits + 2) + 2^(memory level + 9), and some 6 KiB of state (zlib's zconf.h). */
#define POOL_SIZE   ((size_t)300 * 1024)
#define INPUT_SIZE  ((size_t)64 * 1024)
#define OUTPUT_SIZE ((size_t)64 * 1024)

/* Input is gathered, so that deflate() is called once for 64 KiB and not for each message of some
 * 80 bytes. */
struct ht_gzip {
    z_stream stream;
    int fd, error;
    size_t pool_used, input_used;
    unsigned char input[INPUT_SIZE];
    unsigned char output[OUTPUT_SIZE];
    unsigned char pool[POOL_SIZE];
};

_Static_assert(sizeof(struct ht_gzip) <= HT_GZIP_MEMORY, "what gzip.h promises");

static void *pool_take(void *context, unsigned count, unsigned size)
{
    struct ht_gzip *gzip = context;
    size_t needed = ht_round_up((size_t)count * size, 16);
    if (needed > POOL_SIZE - gzip->pool_used)
        return NULL;
    void *result = gzip->pool + gzip->pool_used;
    gzip->pool_used += needed;
    return result;
}

/* The pool goes as a whole. */
static void pool_give_back(void *context, void *address)
{
    (void)context;
    (void)address;
}

int ht_gzip_open(struct ht_gzip **ret_gzip, int fd)
{
    struct ht_gzip *gzip = ht_arena_map(HT_GZIP_MEMORY);
    if (gzip == NULL)
        return -ENOMEM;
    gzip->fd = fd;
    gzip->stream.zalloc = pool_take;
    gzip->stream.zfree = pool_give_back;
    gzip->stream.opaque = gzip;
    /* Without deflateSetHeader() the header has no name and time 0. */
    int r = deflateInit2(&gzip->stream, LEVEL, Z_DEFLATED, WINDOW_BITS + GZIP_HEADER, MEMORY_LEVEL,
                         Z_DEFAULT_STRATEGY);
    if (r != Z_OK) {
        ht_arena_unmap(gzip, HT_GZIP_MEMORY);
        return -ENOMEM;
    }
    gzip->stream.next_out = gzip->output;
    gzip->stream.avail_out = OUTPUT_SIZE;
    *ret_gzip = gzip;
    return 0;
}

static void flush_output(struct ht_gzip *gzip)
{
    gzip->error = ht_os_write_all(gzip->fd, gzip->output, OUTPUT_SIZE - gzip->stream.avail_out);
    gzip->stream.next_out = gzip->output;
    gzip->stream.avail_out = OUTPUT_SIZE;
}

static void compress_input(struct ht_gzip *gzip, int flush)
{
    gzip->stream.next_in = gzip->input;
    gzip->stream.avail_in = (unsigned)gzip->input_used;
    gzip->input_used = 0;
    int r = Z_OK;
    while (gzip->error == 0 && (gzip->stream.avail_in > 0 || flush == Z_FINISH)) {
        r = deflate(&gzip->stream, flush);
        if (r == Z_STREAM_END)
            break;
        if (r == Z_STREAM_ERROR)
            gzip->error = -EIO;
        else if (gzip->stream.avail_out == 0)
            flush_output(gzip);
    }
}

void ht_gzip_write(struct ht_gzip *gzip, const void *data, size_t size)
{
    const unsigned char *from = data;
    while (size > 0 && gzip->error == 0) {
        size_t count = ht_min(size, INPUT_SIZE - gzip->input_used);
        memcpy(gzip->input + gzip->input_used, from, count);
        gzip->input_used += count;
        from += count;
        size -= count;
        if (gzip->input_used == INPUT_SIZE)
            compress_input(gzip, Z_NO_FLUSH);
    }
}

int ht_gzip_error(const struct ht_gzip *gzip)
{
    return gzip->error;
}

int ht_gzip_close(struct ht_gzip *gzip, bool discard)
{
    if (!discard && gzip->error == 0) {
        compress_input(gzip, Z_FINISH);
        if (gzip->error == 0)
            flush_output(gzip);
    }
    int r = gzip->error;
    deflateEnd(&gzip->stream);
    ht_arena_unmap(gzip, HT_GZIP_MEMORY);
    return r;
}
