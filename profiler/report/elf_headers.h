/* elf_headers.h: what opening a file (elf.c), finding the tables of what is loaded (elf_loaded.c)
 * and looking into tables (elf_symbols.c) share. */
#ifndef HT_REPORT_ELF_HEADERS_H
#define HT_REPORT_ELF_HEADERS_H

#include <elf.h>

#include "report/elf.h"

/* The largest files known have some 10 million symbols; more is a lie or not worth the time. */
#define HT_ELF_SYMBOLS_MAX (UINT64_C(16) << 20)

/* Files have at most 65535 headers of each kind; they are looked at in pieces of this many. */
#define HT_ELF_AT_ONCE 32u

/* The header, if it is of a file that we read. */
int ht_elf_read_header(const struct ht_source *source, Elf64_Ehdr *ret_header);

/* What the program headers say. */
struct ht_elf_segments {
    struct ht_build_id build_id;
    bool has_expected;              /* the expected segment is there */
    uint64_t dynamic, dynamic_size; /* where PT_DYNAMIC is, in the source; size 0: nowhere */
};

/* `delta` is what an address in the headers needs to be an offset in what is loaded; NULL for a
 * file, where the headers have offsets. */
int ht_elf_read_segments(const struct ht_source *source, const Elf64_Ehdr *header,
                         const uintptr_t *delta, const struct ht_elf_identity *expected,
                         struct ht_elf_segments *ret_segments);

bool ht_elf_is_expected(const struct ht_elf_identity *expected,
                        const struct ht_elf_segments *segments);

/* Whether all that was read so far was of the module that was opened. */
bool ht_elf_is_still_loaded(const struct ht_elf *elf);

#endif
