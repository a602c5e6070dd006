#include "report/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "report/elf_headers.h"
#include "sys/arena.h"

#include "sys/poison.h"

/* Chunk of the symbol table that is read at once. */
#define CHUNK_SYMBOLS 2048u
#define CHUNK_SIZE    (CHUNK_SYMBOLS * sizeof(Elf64_Sym))
/* An address is covered by a few symbols: aliases, and functions around it. A table in which
 * everything covers everything would cost symbols * wants steps; past this many for each want the
 * scan ends. */
#define COVERS_PER_WANT 256

/* 0: no function that covers anything. */
static uint8_t rank_of(const Elf64_Sym *symbol)
{
    unsigned type = ELF64_ST_TYPE(symbol->st_info);
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
        return 0;
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS ||
        symbol->st_shndx == SHN_COMMON || symbol->st_size == 0 || symbol->st_name == 0)
        return 0;
    switch (ELF64_ST_BIND(symbol->st_info)) {
    case STB_GLOBAL:
    case STB_GNU_UNIQUE:
        return 3;
    case STB_WEAK:
        return 2;
    case STB_LOCAL:
        return 1;
    default:
        return 0;
    }
}

static size_t first_at_or_above(const struct ht_elf_want *wants, size_t count, uint64_t address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (wants[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* One pass over a table. Addresses that an earlier table named are left alone. */
struct scan {
    struct ht_elf_want *wants;
    size_t count;
    uint8_t table;
    uint64_t covers_left;
};

static int offer(struct scan *scan, const Elf64_Sym *symbol)
{
    uint8_t rank = rank_of(symbol);
    uint64_t first = scan->wants[0].address, last = scan->wants[scan->count - 1].address;
    if (rank == 0 || symbol->st_value > last || symbol->st_size > UINT64_MAX - symbol->st_value ||
        symbol->st_value + symbol->st_size <= first)
        return 0;
    uint64_t end = symbol->st_value + symbol->st_size;
    size_t i = first_at_or_above(scan->wants, scan->count, symbol->st_value);
    for (; i < scan->count && scan->wants[i].address < end; i++) {
        struct ht_elf_want *want = &scan->wants[i];
        if (scan->covers_left-- == 0)
            return -E2BIG;
        if (want->rank != 0 && (want->table != scan->table || want->start > symbol->st_value ||
                                (want->start == symbol->st_value && want->rank >= rank)))
            continue;
        want->start = symbol->st_value;
        want->end = end;
        want->name = symbol->st_name;
        want->table = scan->table;
        want->rank = rank;
    }
    return 0;
}

static struct ht_source source_of(const struct ht_elf *elf, unsigned table)
{
    return table == HT_ELF_MINI ? ht_source_of_buffer(elf->mini.bytes, elf->mini.size)
                                : elf->source;
}

static int scan_table(const struct ht_elf *elf, struct scan *scan, Elf64_Sym *chunk)
{
    const struct ht_elf_table *table = &elf->tables[scan->table];
    const struct ht_source source = source_of(elf, scan->table);
    uint64_t count;
    for (uint64_t from = 0; from < table->count; from += count) {
        count = ht_min(table->count - from, CHUNK_SYMBOLS);
        uint64_t offset = table->offset + from * sizeof(*chunk);
        int r = ht_source_read(&source, chunk, count * sizeof(*chunk), offset);
        for (uint64_t i = 0; i < count && r == 0; i++)
            r = offer(scan, &chunk[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

int ht_elf_resolve(const struct ht_elf *elf, struct ht_elf_want *wants, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wants[i].rank = 0;
    if (count == 0)
        return 0;
    Elf64_Sym *chunk = ht_arena_map(CHUNK_SIZE);
    if (chunk == NULL)
        return -ENOMEM;
    int r = 0;
    for (uint8_t table = 0; table < HT_ELF_TABLES && r == 0; table++) {
        struct scan scan = {wants, count, table, count * COVERS_PER_WANT};
        r = scan_table(elf, &scan, chunk);
    }
    ht_arena_unmap(chunk, CHUNK_SIZE);
    /* What half a table says may be wrong: an inner symbol may be missing. */
    for (size_t i = 0; i < count && r < 0; i++)
        wants[i].rank = 0;
    return r;
}

int ht_elf_name(const struct ht_elf *elf, const struct ht_elf_want *want, char *ret_name,
                size_t size)
{
    if (want->rank == 0)
        return -ENOEXEC;
    const struct ht_elf_table *table = &elf->tables[want->table];
    const struct ht_source source = source_of(elf, want->table);
    if (want->name >= table->strings_size)
        return -ENOEXEC;
    uint64_t room = ht_min(table->strings_size - want->name, size - 1);
    uint64_t offset = table->strings_offset + want->name;
    if (offset < table->strings_offset || offset > INT64_MAX - room)
        return -ENOEXEC;
    /* Most names are short: one read of 256 bytes, and seldom a second one. */
    size_t length = 0;
    for (size_t piece = 256; length < room; piece = size) {
        size_t asked = ht_min(piece, room - length);
        ssize_t got = ht_source_read_some(&source, ret_name + length, asked, offset + length);
        if (got < 0)
            return (int)got;
        size_t used = strnlen(ret_name + length, (size_t)got);
        length += used;
        if (used < asked)
            break;
    }
    ret_name[length] = 0;
    /* All that has been read by now was there before this, so it was of the same module. */
    if (elf->is_loaded && !ht_elf_is_still_loaded(elf))
        return -ESTALE;
    return length > 0 ? (int)length : -ENOEXEC;
}
