#include <elf.h>
#include <errno.h>

#include "report/elf_headers.h"

#include "sys/poison.h"

/* No module has more; most have 30. */
#define DYNAMIC_MAX 1024u

/* What PT_DYNAMIC says, as it stands there: the loader puts addresses in memory where the file has
 * its own, but not in the vdso. */
struct dynamic {
    uint64_t symbols, strings, strings_size, hash, gnu_hash;
};

static void take_entry(struct dynamic *dynamic, const Elf64_Dyn *entry)
{
    switch (entry->d_tag) {
    case DT_SYMTAB:
        dynamic->symbols = entry->d_un.d_ptr;
        break;
    case DT_STRTAB:
        dynamic->strings = entry->d_un.d_ptr;
        break;
    case DT_STRSZ:
        dynamic->strings_size = entry->d_un.d_val;
        break;
    case DT_HASH:
        dynamic->hash = entry->d_un.d_ptr;
        break;
    case DT_GNU_HASH:
        dynamic->gnu_hash = entry->d_un.d_ptr;
        break;
    default:
        break;
    }
}

static int read_dynamic(const struct ht_source *source, const struct ht_elf_segments *segments,
                        struct dynamic *ret_dynamic)
{
    Elf64_Dyn entries[HT_ELF_AT_ONCE];
    uint64_t total = ht_min(segments->dynamic_size / sizeof(entries[0]), DYNAMIC_MAX), count;
    *ret_dynamic = (struct dynamic){0};
    for (uint64_t from = 0; from < total; from += count) {
        count = ht_min(total - from, HT_ELF_AT_ONCE);
        int r = ht_source_read(source, entries, count * sizeof(entries[0]),
                               segments->dynamic + from * sizeof(entries[0]));
        if (r < 0)
            return r;
        for (uint64_t i = 0; i < count; i++) {
            if (entries[i].d_tag == DT_NULL)
                return 0;
            take_entry(ret_dynamic, &entries[i]);
        }
    }
    return 0;
}

/* Where something is in the source, whichever of the two addresses is given. Beyond its size when
 * it is nowhere. */
static uint64_t place_of(const struct ht_elf *elf, uint64_t address)
{
    uint64_t offset = address - elf->source.origin;
    return offset < elf->source.size ? offset : address + elf->delta;
}

/* ---- how many symbols there are: only the hash tables know ---- */

static int count_by_hash(const struct ht_source *source, uint64_t table, uint64_t *ret_count)
{
    uint32_t words[2]; /* buckets, chains: one for each symbol */
    int r = ht_source_read(source, words, sizeof(words), table);
    *ret_count = r == 0 ? words[1] : 0;
    return r;
}

enum { BUCKETS, FIRST_SYMBOL, BLOOM_WORDS, BLOOM_SHIFT, GNU_HEADER };

/* A bucket has the first symbol of its chain, and symbols are sorted by bucket: the last chain of
 * all ends with the last symbol, whose hash is odd. */
static int count_by_gnu_hash(const struct ht_source *source, uint64_t table, uint64_t *ret_count)
{
    uint32_t header[GNU_HEADER], words[HT_ELF_AT_ONCE], last = 0;
    int r = ht_source_read(source, header, sizeof(header), table);
    if (r < 0)
        return r;
    if (header[BUCKETS] > HT_ELF_SYMBOLS_MAX)
        return -ENOEXEC;
    uint64_t buckets = table + sizeof(header) + (uint64_t)header[BLOOM_WORDS] * sizeof(uint64_t);
    uint64_t chains = buckets + (uint64_t)header[BUCKETS] * sizeof(words[0]), count;
    for (uint64_t from = 0; from < header[BUCKETS]; from += count) {
        count = ht_min(header[BUCKETS] - from, HT_ELF_AT_ONCE);
        r = ht_source_read(source, words, count * sizeof(words[0]),
                           buckets + from * sizeof(words[0]));
        if (r < 0)
            return r;
        for (uint64_t i = 0; i < count; i++)
            last = (uint32_t)ht_max(last, words[i]);
    }
    *ret_count = header[FIRST_SYMBOL];
    if (last < header[FIRST_SYMBOL])
        return 0;
    for (uint64_t symbol = last; symbol < HT_ELF_SYMBOLS_MAX; symbol++) {
        r = ht_source_read(source, words, sizeof(words[0]),
                           chains + (symbol - header[FIRST_SYMBOL]) * sizeof(words[0]));
        if (r < 0)
            return r;
        *ret_count = symbol + 1;
        if (words[0] & 1)
            return 0;
    }
    return -ENOEXEC;
}

static int find_dynsym(struct ht_elf *elf, const struct ht_elf_segments *segments)
{
    const struct ht_source *source = &elf->source;
    struct dynamic dynamic;
    uint64_t count = 0;
    int r = read_dynamic(source, segments, &dynamic);
    if (r == 0 && dynamic.hash != 0)
        r = count_by_hash(source, place_of(elf, dynamic.hash), &count);
    else if (r == 0 && dynamic.gnu_hash != 0)
        r = count_by_gnu_hash(source, place_of(elf, dynamic.gnu_hash), &count);
    if (r < 0)
        return r;
    struct ht_elf_table table = {.offset = place_of(elf, dynamic.symbols),
                                 .count = count,
                                 .strings_offset = place_of(elf, dynamic.strings),
                                 .strings_size = dynamic.strings_size};
    if (dynamic.symbols == 0 || dynamic.strings == 0 || count > HT_ELF_SYMBOLS_MAX ||
        table.offset >= source->size || table.strings_offset >= source->size)
        return -ENOEXEC;
    table.strings_size = ht_min(table.strings_size, source->size - table.strings_offset);
    elf->tables[HT_ELF_DYNSYM] = table;
    return 0;
}

/* ---- which module it is ---- */

static int read_identity(const struct ht_elf *elf, struct ht_elf_segments *ret_segments)
{
    Elf64_Ehdr header;
    int r = ht_elf_read_header(&elf->source, &header);
    if (r == 0)
        r = ht_elf_read_segments(&elf->source, &header, &elf->delta, &elf->identity, ret_segments);
    if (r == 0 && !ht_elf_is_expected(&elf->identity, ret_segments))
        r = -ESTALE;
    return r;
}

bool ht_elf_is_still_loaded(const struct ht_elf *elf)
{
    struct ht_elf_segments segments;
    return read_identity(elf, &segments) == 0;
}

int ht_elf_open_loaded(const struct ht_elf_image *image, const struct ht_elf_identity *expected,
                       struct ht_elf *ret_elf)
{
    struct ht_elf elf = {
        .is_loaded = true, .delta = image->bias - image->start, .identity = *expected};
    struct ht_elf_segments segments;
    int r = ht_source_open_memory(image->start, image->limit, &elf.source);
    if (r < 0)
        return r;
    r = read_identity(&elf, &segments);
    if (r == 0)
        r = find_dynsym(&elf, &segments);
    if (r < 0) {
        ht_source_close(&elf.source);
        return r;
    }
    *ret_elf = elf;
    return 0;
}
