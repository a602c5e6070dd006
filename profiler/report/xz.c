#include "report/xz.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

#define LIBRARY "liblzma.so.5"

/* What we need of <lzma.h>, so that its package is not needed to build us. Its ABI has been this
 * since 5.0. */
enum { LZMA_OK = 0, LZMA_STREAM_END = 1, LZMA_MEM_ERROR = 5, LZMA_RUN = 0, LZMA_FINISH = 3 };

struct lzma_allocator {
    void *(*take)(void *opaque, size_t count, size_t size);
    void (*give)(void *opaque, void *block);
    void *opaque;
};

struct lzma_stream {
    const uint8_t *next_in;
    size_t avail_in;
    uint64_t total_in;
    uint8_t *next_out;
    size_t avail_out;
    uint64_t total_out;
    const struct lzma_allocator *allocator;
    void *internal;
    void *reserved_pointers[4];
    uint64_t reserved_numbers[2];
    size_t reserved_sizes[2];
    int reserved_enums[2];
};

static struct {
    int (*stream_decoder)(struct lzma_stream *, uint64_t memory_limit, uint32_t flags);
    int (*code)(struct lzma_stream *, int action);
    void (*end)(struct lzma_stream *);
} lib;

/* Not loaded for our sake: what libunwind needs is there. The reference keeps it. */
void ht_xz_start(void)
{
    static const char *const names[] = {"lzma_stream_decoder", "lzma_code", "lzma_end"};
    void *symbols[HT_ARRAY_SIZE(names)];
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++) {
        symbols[i] = handle != NULL ? dlsym(handle, names[i]) : NULL;
        if (symbols[i] == NULL)
            return;
    }
    memcpy(&lib, symbols, sizeof(lib));
}

/* ---- its memory: each block has its size before it ---- */

#define BEFORE 64u

static void *take_memory(void *opaque, size_t count, size_t size)
{
    size_t bytes;
    (void)opaque;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, BEFORE, &bytes) || bytes > HT_XZ_DICTIONARY_MAX)
        return NULL;
    size_t *block = ht_arena_map(bytes);
    if (block == NULL)
        return NULL;
    *block = bytes;
    return (char *)block + BEFORE;
}

static void give_memory(void *opaque, void *address)
{
    (void)opaque;
    if (address == NULL)
        return;
    size_t *block = (void *)((char *)address - BEFORE);
    ht_arena_unmap(block, *block);
}

/* ---- unpacking ---- */

#define PIECE 16384u

/* Twice as large, or the first time somewhat larger than what is packed. */
static int grow(struct ht_xz *xz, uint64_t packed)
{
    size_t room = xz->room > 0 ? xz->room * 2 : ht_round_up((size_t)packed * 4, HT_PAGE);
    if (xz->room >= HT_XZ_UNPACKED_MAX)
        return -ENOEXEC;
    room = ht_min(room, HT_XZ_UNPACKED_MAX);
    char *bytes = ht_arena_map(room);
    if (bytes == NULL)
        return -ENOMEM;
    if (xz->size > 0)
        memcpy(bytes, xz->bytes, xz->size);
    ht_xz_free(&(struct ht_xz){.bytes = xz->bytes, .room = xz->room});
    xz->bytes = bytes;
    xz->room = room;
    return 0;
}

/* Until the end of the stream: what follows it is padding at most. */
static int unpack(struct lzma_stream *stream, const struct ht_source *source, uint64_t offset,
                  uint64_t size, struct ht_xz *xz)
{
    uint8_t piece[PIECE];
    uint64_t done = 0;
    for (;;) {
        if (stream->avail_in == 0 && done < size) {
            size_t count = (size_t)ht_min(size - done, sizeof(piece));
            int r = ht_source_read(source, piece, count, offset + done);
            if (r < 0)
                return r;
            stream->next_in = piece;
            stream->avail_in = count;
            done += count;
        }
        int r = xz->size == xz->room ? grow(xz, size) : 0;
        if (r < 0)
            return r;
        stream->next_out = (uint8_t *)xz->bytes + xz->size;
        stream->avail_out = xz->room - xz->size;
        int said = lib.code(stream, done < size ? LZMA_RUN : LZMA_FINISH);
        xz->size = xz->room - stream->avail_out;
        if (said == LZMA_STREAM_END)
            return 0;
        if (said != LZMA_OK) /* also when it is cut: no progress is an error */
            return said == LZMA_MEM_ERROR ? -ENOMEM : -ENOEXEC;
    }
}

int ht_xz_unpack(const struct ht_source *source, uint64_t offset, uint64_t size,
                 struct ht_xz *ret_xz)
{
    static const struct lzma_allocator allocator = {take_memory, give_memory, NULL};
    struct lzma_stream stream = {.allocator = &allocator};
    struct ht_xz xz = {0};
    if (lib.end == NULL)
        return -ENOSYS;
    if (size == 0 || size > HT_XZ_PACKED_MAX || offset > INT64_MAX - size)
        return -ENOEXEC;
    int r = lib.stream_decoder(&stream, HT_XZ_DICTIONARY_MAX, 0) == LZMA_OK ? 0 : -ENOMEM;
    if (r == 0)
        r = unpack(&stream, source, offset, size, &xz);
    lib.end(&stream);
    if (r < 0)
        ht_xz_free(&xz);
    else
        *ret_xz = xz;
    return r;
}

void ht_xz_free(struct ht_xz *xz)
{
    ht_arena_unmap(xz->bytes, xz->room);
    *xz = (struct ht_xz){0};
}
