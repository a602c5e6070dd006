#include "report/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "report/elf_headers.h"

#include "sys/poison.h"

#define NOTES_MAX 4096u

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

int ht_elf_read_header(const struct ht_source *source, Elf64_Ehdr *ret_header)
{
    int r = ht_source_read(source, ret_header, sizeof(*ret_header), 0);
    if (r < 0)
        return r;
    if (memcmp(ret_header->e_ident, ELFMAG, SELFMAG) != 0 ||
        ret_header->e_ident[EI_CLASS] != ELFCLASS64 || ret_header->e_ident[EI_DATA] != ELFDATA2LSB)
        return -ENOEXEC;
    if (ret_header->e_type != ET_EXEC && ret_header->e_type != ET_DYN)
        return -ENOEXEC;
    return 0;
}

static void read_note(const struct ht_source *source, uint64_t offset, uint64_t size,
                      struct ht_build_id *ret_build_id)
{
    char notes[NOTES_MAX];
    if (ret_build_id->size > 0 || size > sizeof(notes))
        return;
    if (ht_source_read(source, notes, size, offset) == 0)
        ht_elf_find_build_id(notes, size, ret_build_id);
}

int ht_elf_read_segments(const struct ht_source *source, const Elf64_Ehdr *header,
                         const uintptr_t *delta, const struct ht_elf_identity *expected,
                         struct ht_elf_segments *ret_segments)
{
    Elf64_Phdr segments[HT_ELF_AT_ONCE];
    *ret_segments = (struct ht_elf_segments){0};
    if (header->e_phnum > 0 && header->e_phentsize != sizeof(segments[0]))
        return -ENOEXEC;
    unsigned count;
    for (unsigned from = 0; from < header->e_phnum; from += count) {
        count = (unsigned)ht_min(header->e_phnum - from, HT_ELF_AT_ONCE);
        uint64_t offset = header->e_phoff + from * sizeof(segments[0]);
        int r = ht_source_read(source, segments, count * sizeof(segments[0]), offset);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < count; i++) {
            const Elf64_Phdr *segment = &segments[i];
            uint64_t at = delta != NULL ? segment->p_vaddr + *delta : segment->p_offset;
            uint64_t size = delta != NULL ? segment->p_memsz : segment->p_filesz;
            if (segment->p_type == PT_NOTE)
                read_note(source, at, size, &ret_segments->build_id);
            if (segment->p_type == PT_DYNAMIC) {
                ret_segments->dynamic = at;
                ret_segments->dynamic_size = size;
            }
            if (segment->p_type == PT_LOAD && segment->p_vaddr == expected->segment_vaddr &&
                segment->p_offset == expected->segment_offset &&
                segment->p_memsz == expected->segment_size)
                ret_segments->has_expected = true;
        }
    }
    return 0;
}

/* ---- the sections of a file ---- */

struct sections {
    const struct ht_source *source;
    const Elf64_Ehdr *header;
    struct ht_elf_table symtab, dynsym;
    uint64_t debugdata, debugdata_size; /* size 0: there is none */
    struct ht_build_id build_id;
};

static int read_section(const struct sections *sections, uint32_t index, Elf64_Shdr *ret_section)
{
    if (index >= sections->header->e_shnum)
        return -ENOEXEC;
    return ht_source_read(sections->source, ret_section, sizeof(*ret_section),
                          sections->header->e_shoff + index * sizeof(*ret_section));
}

static int take_table(const struct sections *sections, const Elf64_Shdr *section,
                      struct ht_elf_table *ret_table)
{
    Elf64_Shdr strings;
    if (section->sh_entsize != sizeof(Elf64_Sym) ||
        section->sh_size / sizeof(Elf64_Sym) > HT_ELF_SYMBOLS_MAX)
        return -ENOEXEC;
    int r = read_section(sections, section->sh_link, &strings);
    if (r < 0)
        return r;
    if (strings.sh_type != SHT_STRTAB)
        return -ENOEXEC;
    *ret_table = (struct ht_elf_table){.offset = section->sh_offset,
                                       .count = section->sh_size / sizeof(Elf64_Sym),
                                       .strings_offset = strings.sh_offset,
                                       .strings_size = strings.sh_size};
    return 0;
}

/* By its name alone: it has no type of its own. */
static bool is_debugdata(const struct sections *sections, const Elf64_Shdr *section)
{
    static const char wanted[] = ".gnu_debugdata";
    char name[sizeof(wanted)];
    Elf64_Shdr strings;
    return (section->sh_flags & SHF_ALLOC) == 0 &&
           read_section(sections, sections->header->e_shstrndx, &strings) == 0 &&
           strings.sh_offset <= INT64_MAX &&
           ht_source_read(sections->source, name, sizeof(name),
                          strings.sh_offset + section->sh_name) == 0 &&
           memcmp(name, wanted, sizeof(name)) == 0;
}

static int take_section(struct sections *sections, const Elf64_Shdr *section)
{
    switch (section->sh_type) {
    case SHT_SYMTAB:
        return take_table(sections, section, &sections->symtab);
    case SHT_DYNSYM:
        return take_table(sections, section, &sections->dynsym);
    case SHT_NOTE:
        read_note(sections->source, section->sh_offset, section->sh_size, &sections->build_id);
        return 0;
    case SHT_PROGBITS:
        if (is_debugdata(sections, section)) {
            sections->debugdata = section->sh_offset;
            sections->debugdata_size = section->sh_size;
        }
        return 0;
    default:
        return 0;
    }
}

/* The symbol tables, and the build id if no segment had it (files that hold only debug information
 * keep the section). */
static int read_sections(struct sections *sections)
{
    const Elf64_Ehdr *header = sections->header;
    Elf64_Shdr pieces[HT_ELF_AT_ONCE];
    if (header->e_shnum > 0 && header->e_shentsize != sizeof(pieces[0]))
        return -ENOEXEC;
    unsigned count;
    for (unsigned from = 0; from < header->e_shnum; from += count) {
        count = (unsigned)ht_min(header->e_shnum - from, HT_ELF_AT_ONCE);
        uint64_t offset = header->e_shoff + from * sizeof(pieces[0]);
        int r = ht_source_read(sections->source, pieces, count * sizeof(pieces[0]), offset);
        for (unsigned i = 0; i < count && r == 0; i++)
            r = take_section(sections, &pieces[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Unpacks the symbol table that a stripped file brings along; what is wrong with it costs its
 * names alone. */
static void take_mini(struct ht_elf *elf, const struct sections *outer)
{
    if (outer->symtab.count > 0 || outer->debugdata_size == 0)
        return;
    int r = ht_xz_unpack(&elf->source, outer->debugdata, outer->debugdata_size, &elf->mini);
    elf->is_short_of_memory = r == -ENOMEM;
    if (r < 0)
        return;
    struct ht_source source = ht_source_of_buffer(elf->mini.bytes, elf->mini.size);
    Elf64_Ehdr header;
    struct sections inner = {.source = &source, .header = &header};
    if (ht_elf_read_header(&source, &header) == 0 && read_sections(&inner) == 0)
        elf->tables[HT_ELF_MINI] = inner.symtab;
    if (elf->tables[HT_ELF_MINI].count == 0)
        ht_xz_free(&elf->mini);
}

/* ---- opening ---- */

bool ht_elf_is_expected(const struct ht_elf_identity *expected,
                        const struct ht_elf_segments *segments)
{
    const struct ht_build_id *build_id = &segments->build_id;
    if (expected->build_id.size != build_id->size)
        return false;
    if (build_id->size == 0)
        return segments->has_expected;
    return memcmp(expected->build_id.bytes, build_id->bytes, build_id->size) == 0;
}

int ht_elf_open(const char *path, const struct ht_elf_identity *expected, struct ht_elf *ret_elf)
{
    static const struct ht_elf_identity anything;
    struct ht_elf elf = {0};
    int r = ht_source_open_file(path, &elf.source);
    if (r < 0)
        return r;
    Elf64_Ehdr header;
    struct ht_elf_segments segments;
    struct sections sections = {.source = &elf.source, .header = &header};
    r = ht_elf_read_header(&elf.source, &header);
    if (r == 0)
        r = ht_elf_read_segments(&elf.source, &header, NULL,
                                 expected != NULL ? expected : &anything, &segments);
    if (r == 0) {
        sections.build_id = segments.build_id;
        r = read_sections(&sections);
    }
    if (r == 0 && expected != NULL) {
        segments.build_id = sections.build_id;
        r = ht_elf_is_expected(expected, &segments) ? 0 : -ESTALE;
    }
    if (r < 0) {
        ht_source_close(&elf.source);
        return r;
    }
    elf.tables[HT_ELF_SYMTAB] = sections.symtab;
    elf.tables[HT_ELF_DYNSYM] = sections.dynsym;
    take_mini(&elf, &sections);
    *ret_elf = elf;
    return 0;
}

void ht_elf_close(struct ht_elf *elf)
{
    ht_xz_free(&elf->mini);
    ht_source_close(&elf->source);
}
