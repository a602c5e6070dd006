/* jit_files.h: the two forms of files that jit.h tells of, one reader each: jit_map.c, jit_dump.c.
 * A file that would take too long gives no names at all: what half of it says may be wrong. */
#ifndef HT_REPORT_JIT_FILES_H
#define HT_REPORT_JIT_FILES_H

#include "report/jit.h"

/* Code that covers a want counts once for each line that says so. Addresses are used again some
 * thousand times in a long life; a file in which everything covers everything ends here. */
#define HT_JIT_COVERS_MAX (UINT64_C(1) << 26)

/* The first want at or above an address. */
uint32_t ht_jit_first(const struct ht_jit_want *wants, uint32_t count, uintptr_t address);

/* Marks the wants that the file has a name for. 0 or -errno. */
int ht_jit_map_scan(const struct ht_source *source, uint8_t file, struct ht_jit_want *wants,
                    uint32_t count);
int ht_jit_dump_scan(const struct ht_source *source, uint8_t file, struct ht_jit_want *wants,
                     uint32_t count);

int ht_jit_map_name(const struct ht_source *source, const struct ht_jit_want *want, char *ret_name,
                    size_t size);
int ht_jit_dump_name(const struct ht_source *source, const struct ht_jit_want *want, char *ret_name,
                     size_t size);

#endif
