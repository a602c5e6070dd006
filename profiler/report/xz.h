/* xz.h: unpacks .gnu_debugdata, the small symbol table that some distributions leave in stripped
 * files, packed by xz.
 *
 * liblzma does it, which libunwind brings along; where it does not, there are no names from there.
 * Its functions are looked up once, at the start: later it would take the loader's lock, which a
 * fork may have left taken, and the program's malloc. It gets its memory from the arena. */
#ifndef HT_REPORT_XZ_H
#define HT_REPORT_XZ_H

#include "report/source.h"

/* What may be packed, and what may come out: the largest known, of Chromium, are some 3 and 12
 * MiB. The dictionary that an xz file asks for (8 MiB by default) is limited apart. */
#define HT_XZ_PACKED_MAX     ((uint64_t)8 << 20)
#define HT_XZ_UNPACKED_MAX   ((size_t)16 << 20)
#define HT_XZ_DICTIONARY_MAX ((uint64_t)64 << 20)

struct ht_xz {
    char *bytes;
    size_t size, room; /* of them, from the arena */
};

/* Looks for liblzma among what is loaded. Context: once, at start; calls the loader. */
void ht_xz_start(void);

/* Unpacks `size` bytes from `offset`. -ENOSYS without liblzma, -ENOMEM, -ENOEXEC for what is not
 * xz or beyond the limits. Context: dump. */
int ht_xz_unpack(const struct ht_source *source, uint64_t offset, uint64_t size,
                 struct ht_xz *ret_xz);
void ht_xz_free(struct ht_xz *xz);

#endif
