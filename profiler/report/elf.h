/* elf.h: the names of functions, from the symbol tables of a file, or of what is loaded.
 *
 * Bytes are read in bounded pieces (source.h), and nothing in them is believed: a header that lies
 * costs names, not safety. Tables in the order in which they are asked: .symtab; that of
 * .gnu_debugdata (xz.h) where there is no .symtab; .dynsym.
 *
 * Only the addresses that are wanted are looked up. They come sorted, the symbol table is scanned
 * once for all of them, and no copy of it is kept; names are read when they are asked for. A symbol
 * covers [value, value + size); one without a size covers nothing, and there is no nearest symbol.
 *
 * Used in the process being profiled and by the command `heaptap`. No allocation but a 48 KiB
 * buffer of ht_arena_map() during ht_elf_resolve(), and what .gnu_debugdata holds until the file is
 * closed. Not thread-safe for one file. */
#ifndef HT_REPORT_ELF_H
#define HT_REPORT_ELF_H

#include "report/source.h"
#include "report/xz.h"

/* GNU ld and lld write 20, 16 or 8 bytes. A longer id is cut, wherever it is read. */
#define HT_BUILD_ID_MAX 64

struct ht_build_id {
    uint8_t size; /* 0: there is none */
    uint8_t bytes[HT_BUILD_ID_MAX];
};

/* What is known of the file that was loaded. The segment counts only when there is no build id. */
struct ht_elf_identity {
    struct ht_build_id build_id;
    uint64_t segment_vaddr, segment_offset, segment_size; /* p_vaddr, p_offset, p_memsz */
};

/* Where a module is loaded: from the page of its ELF header to the end of its last segment. */
struct ht_elf_image {
    uintptr_t start, limit; /* both 0: it is not */
    uintptr_t bias;         /* address in memory - address in the file's headers and symbols */
};

enum { HT_ELF_SYMTAB, HT_ELF_MINI, HT_ELF_DYNSYM, HT_ELF_TABLES };

struct ht_elf_table {
    uint64_t offset, count; /* of the symbols; count 0: there is no such table */
    uint64_t strings_offset, strings_size;
};

struct ht_elf {
    struct ht_source source;
    struct ht_xz mini; /* what .gnu_debugdata holds: an ELF file with a .symtab */
    struct ht_elf_table tables[HT_ELF_TABLES];
    bool is_short_of_memory; /* for .gnu_debugdata, which is not there for that reason */
    /* Of what is loaded, which may go at any time: */
    bool is_loaded;
    uintptr_t delta; /* bias - start */
    struct ht_elf_identity identity;
};

/* An address as the file's headers have it, and what was found for it. */
struct ht_elf_want {
    uint64_t address;
    uint64_t start, end; /* of the symbol */
    uint32_t name;       /* its place in the string table */
    uint8_t table;       /* HT_ELF_SYMTAB and so on */
    uint8_t rank;        /* 0: no symbol covers the address */
};

/* Opens a file. With `expected` it must be the very file that is loaded, by build id, or by its
 * executable segment when neither has one; -ESTALE when it is not. -ENOEXEC for what is no 64-bit
 * little-endian ELF file. */
int ht_elf_open(const char *path, const struct ht_elf_identity *expected, struct ht_elf *ret_elf);
/* The same for a module that is loaded now, by what it has in memory: .dynsym, which the loader
 * uses. -ESTALE when it is not the expected one. It may be unloaded at any time; then names end. */
int ht_elf_open_loaded(const struct ht_elf_image *image, const struct ht_elf_identity *expected,
                       struct ht_elf *ret_elf);
void ht_elf_close(struct ht_elf *elf);

/* Finds the symbols for `count` wants, which are sorted by address. Among several that cover an
 * address, the one that starts last is taken, then global before weak before local, then the first
 * of the table. */
int ht_elf_resolve(const struct ht_elf *elf, struct ht_elf_want *wants, size_t count);

/* The name of the symbol that was found, cut to size - 1 bytes. Its length, or -errno: -ESTALE when
 * what was loaded there has gone, or something else has come. */
int ht_elf_name(const struct ht_elf *elf, const struct ht_elf_want *want, char *ret_name,
                size_t size);

/* Reads a build id out of ELF notes; false when there is none. */
bool ht_elf_find_build_id(const void *notes, size_t size, struct ht_build_id *ret_build_id);

#endif
