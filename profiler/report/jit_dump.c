#include <errno.h>
#include <string.h>

#include "report/jit_files.h"

#include "sys/poison.h"

/* Linux, tools/perf/Documentation/jitdump-specification.txt. */
#define MAGIC       0x4A695444u
#define RECORDS_MAX (UINT64_C(4) << 20)

enum { CODE_LOAD, CODE_MOVE };

struct file_header {
    uint32_t magic, version, total_size, machine, padding, process;
    uint64_t timestamp, flags;
};

struct record {
    uint32_t id, total_size;
    uint64_t timestamp;
    uint32_t process, thread;
    uint64_t vma;
    union {
        struct {
            uint64_t address, size, code; /* then the name, NUL, and the code itself */
        } load;
        struct {
            uint64_t old_address, new_address, size, code;
        } move;
    };
};

#define LOAD_SIZE  (offsetof(struct record, load) + sizeof(((struct record *)0)->load))
#define MOVE_SIZE  (offsetof(struct record, move) + sizeof(((struct record *)0)->move))
#define START_SIZE offsetof(struct record, process)

/* The next record; false at the end, of what is whole or makes sense. */
static bool read_record(const struct ht_source *source, uint64_t offset, struct record *ret_record)
{
    memset(ret_record, 0, sizeof(*ret_record));
    ssize_t got = ht_source_read_some(source, ret_record, sizeof(*ret_record), offset);
    if (got < (ssize_t)START_SIZE || ret_record->total_size < START_SIZE)
        return false;
    size_t needed = ret_record->id == CODE_LOAD   ? LOAD_SIZE + sizeof("a")
                    : ret_record->id == CODE_MOVE ? MOVE_SIZE
                                                  : START_SIZE;
    return ret_record->total_size >= needed && (size_t)got >= ht_min(needed, sizeof(*ret_record));
}

struct scan {
    const struct ht_source *source;
    struct ht_jit_want *wants;
    uint32_t count, moved;
    uint8_t file;
    uint64_t covers_left;
};

/* Calls `take` for each record. */
static int each_record(struct scan *scan,
                       int (*take)(struct scan *scan, const struct record *record, uint64_t offset))
{
    struct file_header header;
    struct record record;
    int r = ht_source_read(scan->source, &header, sizeof(header), 0);
    if (r == 0 && (header.magic != MAGIC || header.total_size < sizeof(header)))
        r = -ENOEXEC; /* also one of the other byte order */
    if (r < 0)
        return r;
    uint64_t offset = header.total_size;
    for (uint64_t n = 0; n < RECORDS_MAX && read_record(scan->source, offset, &record); n++) {
        r = take(scan, &record, offset);
        if (r < 0)
            return r;
        offset += record.total_size;
    }
    return 0;
}

static int take_code(struct scan *scan, const struct record *record, uint64_t offset)
{
    bool is_move = record->id == CODE_MOVE;
    uint64_t start = is_move ? record->move.new_address : record->load.address;
    uint64_t size = is_move ? record->move.size : record->load.size;
    if ((!is_move && record->id != CODE_LOAD) || start == 0 || size > UINTPTR_MAX - start)
        return 0;
    uint32_t i = ht_jit_first(scan->wants, scan->count, start);
    for (; i < scan->count && scan->wants[i].pc - start < size; i++) {
        struct ht_jit_want *want = &scan->wants[i];
        if (scan->covers_left-- == 0)
            return -E2BIG;
        want->start = start;
        want->offset = offset;
        want->file = scan->file;
        want->code = is_move ? record->move.code : 0;
        want->is_moved = is_move;
        scan->moved += is_move;
    }
    return 0;
}

/* What was moved has its name in the record of its number, further up. */
static int name_moved(struct scan *scan, const struct record *record, uint64_t offset)
{
    if (record->id != CODE_LOAD)
        return 0;
    for (uint32_t i = 0; i < scan->count; i++) {
        struct ht_jit_want *want = &scan->wants[i];
        if (scan->covers_left-- == 0)
            return -E2BIG;
        if (want->is_moved && want->file == scan->file && want->code == record->load.code)
            want->offset = offset;
    }
    return 0;
}

int ht_jit_dump_scan(const struct ht_source *source, uint8_t file, struct ht_jit_want *wants,
                     uint32_t count)
{
    struct scan scan = {source, wants, count, 0, file, HT_JIT_COVERS_MAX};
    int r = each_record(&scan, take_code);
    if (r == 0 && scan.moved > 0)
        r = each_record(&scan, name_moved);
    return r;
}

int ht_jit_dump_name(const struct ht_source *source, const struct ht_jit_want *want, char *ret_name,
                     size_t size)
{
    struct record record;
    if (!read_record(source, want->offset, &record) || record.id != CODE_LOAD)
        return -ESTALE;
    if (want->is_moved
            ? record.load.code != want->code
            : record.load.address != want->start || want->pc - want->start >= record.load.size)
        return -ESTALE;
    size_t room = (size_t)ht_min(size - 1, record.total_size - LOAD_SIZE);
    ssize_t got = ht_source_read_some(source, ret_name, room, want->offset + LOAD_SIZE);
    if (got < 0)
        return (int)got;
    ret_name[got] = 0;
    return ret_name[0] != 0 ? (int)strlen(ret_name) : -ENOEXEC;
}
