#include "report/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

/* The largest files known have some 10 million symbols; more is a lie or not worth the time. */
#define SYMBOLS_MAX (UINT64_C(16) << 20)
/* Chunk of the symbol table that is read at once. */
#define CHUNK_SYMBOLS 2048u
#define CHUNK_SIZE    (CHUNK_SYMBOLS * sizeof(Elf64_Sym))
/* An address is covered by a few symbols: aliases, and functions around it. A table in which
 * everything covers everything would cost symbols * wants steps; past this many for each want the
 * scan ends. */
#define COVERS_PER_WANT 256

/* A file has at most 65535 headers of each kind; they are looked at in pieces of this many. */
#define HEADERS_AT_ONCE 32u
#define NOTES_MAX       4096u

enum { SYMTAB, DYNSYM };

static int read_exactly(int fd, void *buffer, size_t size, uint64_t offset)
{
    /* pread refuses offsets beyond INT64_MAX, and the sum must not wrap. */
    if (offset > INT64_MAX - size)
        return -ENOEXEC;
    ssize_t got = ht_os_read_at(fd, buffer, size, offset);
    if (got < 0)
        return (int)got;
    return (size_t)got == size ? 0 : -ENOEXEC;
}

bool ht_elf_find_build_id(const void *notes, size_t size, struct ht_build_id *ret_build_id)
{
    const char *at = notes, *end = at + size;
    Elf64_Nhdr note;
    while ((size_t)(end - at) >= sizeof(note)) {
        memcpy(&note, at, sizeof(note));
        at += sizeof(note);
        uint64_t name_size = ht_round_up(note.n_namesz, 4),
                 data_size = ht_round_up(note.n_descsz, 4);
        if (name_size > (size_t)(end - at) || note.n_descsz > (size_t)(end - at) - name_size)
            return false;
        const char *data = at + name_size;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof("GNU") &&
            memcmp(at, "GNU", sizeof("GNU")) == 0 && note.n_descsz > 0) {
            ret_build_id->size = (uint8_t)ht_min(note.n_descsz, HT_BUILD_ID_MAX);
            memcpy(ret_build_id->bytes, data, ret_build_id->size);
            return true;
        }
        /* The padding after the last note may be missing. */
        at = data_size < (size_t)(end - data) ? data + data_size : end;
    }
    return false;
}

static int read_header(int fd, Elf64_Ehdr *ret_header)
{
    int r = read_exactly(fd, ret_header, sizeof(*ret_header), 0);
    if (r < 0)
        return r;
    if (memcmp(ret_header->e_ident, ELFMAG, SELFMAG) != 0 ||
        ret_header->e_ident[EI_CLASS] != ELFCLASS64 || ret_header->e_ident[EI_DATA] != ELFDATA2LSB)
        return -ENOEXEC;
    if (ret_header->e_type != ET_EXEC && ret_header->e_type != ET_DYN)
        return -ENOEXEC;
    return 0;
}

static void read_note(int fd, uint64_t offset, uint64_t size, struct ht_build_id *ret_build_id)
{
    char notes[NOTES_MAX];
    if (ret_build_id->size > 0 || size > sizeof(notes))
        return;
    if (read_exactly(fd, notes, size, offset) == 0)
        ht_elf_find_build_id(notes, size, ret_build_id);
}

/* What the program headers say: the build id, and whether the expected segment is there. */
static int read_segments(int fd, const Elf64_Ehdr *header, const struct ht_elf_identity *expected,
                         struct ht_build_id *ret_build_id, bool *ret_has_segment)
{
    Elf64_Phdr segments[HEADERS_AT_ONCE];
    if (header->e_phnum > 0 && header->e_phentsize != sizeof(segments[0]))
        return -ENOEXEC;
    unsigned count;
    for (unsigned from = 0; from < header->e_phnum; from += count) {
        count = (unsigned)ht_min(header->e_phnum - from, HEADERS_AT_ONCE);
        uint64_t offset = header->e_phoff + from * sizeof(segments[0]);
        int r = read_exactly(fd, segments, count * sizeof(segments[0]), offset);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < count; i++) {
            const Elf64_Phdr *segment = &segments[i];
            if (segment->p_type == PT_NOTE)
                read_note(fd, segment->p_offset, segment->p_filesz, ret_build_id);
            if (segment->p_type == PT_LOAD && segment->p_vaddr == expected->segment_vaddr &&
                segment->p_offset == expected->segment_offset &&
                segment->p_memsz == expected->segment_size)
                *ret_has_segment = true;
        }
    }
    return 0;
}

static int read_section(int fd, const Elf64_Ehdr *header, uint32_t index, Elf64_Shdr *ret_section)
{
    if (index >= header->e_shnum)
        return -ENOEXEC;
    return read_exactly(fd, ret_section, sizeof(*ret_section),
                        header->e_shoff + index * sizeof(*ret_section));
}

static int take_table(struct ht_elf *elf, const Elf64_Ehdr *header, const Elf64_Shdr *section)
{
    struct ht_elf_table *table = &elf->tables[section->sh_type == SHT_SYMTAB ? SYMTAB : DYNSYM];
    Elf64_Shdr strings;
    if (section->sh_entsize != sizeof(Elf64_Sym) ||
        section->sh_size / sizeof(Elf64_Sym) > SYMBOLS_MAX)
        return -ENOEXEC;
    int r = read_section(elf->fd, header, section->sh_link, &strings);
    if (r < 0)
        return r;
    if (strings.sh_type != SHT_STRTAB)
        return -ENOEXEC;
    *table = (struct ht_elf_table){.offset = section->sh_offset,
                                   .count = section->sh_size / sizeof(Elf64_Sym),
                                   .strings_offset = strings.sh_offset,
                                   .strings_size = strings.sh_size};
    return 0;
}

/* What the section headers say: the symbol tables, and the build id if no segment had it (files
 * that hold only debug information keep the section). */
static int read_sections(struct ht_elf *elf, const Elf64_Ehdr *header,
                         struct ht_build_id *ret_build_id)
{
    Elf64_Shdr sections[HEADERS_AT_ONCE];
    if (header->e_shnum > 0 && header->e_shentsize != sizeof(sections[0]))
        return -ENOEXEC;
    unsigned count;
    for (unsigned from = 0; from < header->e_shnum; from += count) {
        count = (unsigned)ht_min(header->e_shnum - from, HEADERS_AT_ONCE);
        uint64_t offset = header->e_shoff + from * sizeof(sections[0]);
        int r = read_exactly(elf->fd, sections, count * sizeof(sections[0]), offset);
        for (unsigned i = 0; i < count && r == 0; i++) {
            if (sections[i].sh_type == SHT_SYMTAB || sections[i].sh_type == SHT_DYNSYM)
                r = take_table(elf, header, &sections[i]);
            else if (sections[i].sh_type == SHT_NOTE)
                read_note(elf->fd, sections[i].sh_offset, sections[i].sh_size, ret_build_id);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_expected(const struct ht_elf_identity *expected, const struct ht_build_id *build_id,
                        bool has_segment)
{
    if (expected->build_id.size != build_id->size)
        return false;
    if (build_id->size == 0)
        return has_segment;
    return memcmp(expected->build_id.bytes, build_id->bytes, build_id->size) == 0;
}

int ht_elf_open(const char *path, const struct ht_elf_identity *expected, struct ht_elf *ret_elf)
{
    static const struct ht_elf_identity anything;
    struct ht_elf elf = {.fd = ht_os_open_read(path)};
    if (elf.fd < 0)
        return elf.fd;
    Elf64_Ehdr header;
    struct ht_build_id build_id = {0};
    bool has_segment = false;
    int r = read_header(elf.fd, &header);
    if (r == 0)
        r = read_segments(elf.fd, &header, expected != NULL ? expected : &anything, &build_id,
                          &has_segment);
    if (r == 0)
        r = read_sections(&elf, &header, &build_id);
    if (r == 0 && expected != NULL && !is_expected(expected, &build_id, has_segment))
        r = -ESTALE;
    if (r < 0) {
        ht_os_close(elf.fd);
        return r;
    }
    *ret_elf = elf;
    return 0;
}

void ht_elf_close(struct ht_elf *elf)
{
    ht_os_close(elf->fd);
    elf->fd = -1;
}

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

static int scan_table(const struct ht_elf *elf, struct scan *scan, Elf64_Sym *chunk)
{
    const struct ht_elf_table *table = &elf->tables[scan->table];
    uint64_t count;
    for (uint64_t from = 0; from < table->count; from += count) {
        count = ht_min(table->count - from, CHUNK_SYMBOLS);
        uint64_t offset = table->offset + from * sizeof(*chunk);
        int r = read_exactly(elf->fd, chunk, count * sizeof(*chunk), offset);
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
    for (uint8_t table = SYMTAB; table <= DYNSYM && r == 0; table++) {
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
        ssize_t got = ht_os_read_at(elf->fd, ret_name + length, asked, offset + length);
        if (got < 0)
            return (int)got;
        size_t used = strnlen(ret_name + length, (size_t)got);
        length += used;
        if (used < asked)
            break;
    }
    ret_name[length] = 0;
    return length > 0 ? (int)length : -ENOEXEC;
}
