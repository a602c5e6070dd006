/* gzip.h: bytes in, a gzip file out, through a descriptor that the caller owns.
 *
 * Level 1: at one million stacks level 6 takes 55 % longer and gives 4 % less; the file is read
 * once or never. The header has no name and no time: the same profile is the same file.
 *
 * An error sticks: what follows it is ignored, and close tells. */
#ifndef HT_REPORT_GZIP_H
#define HT_REPORT_GZIP_H

#include "sys/compiler.h"

struct ht_gzip;

/* 0 or -ENOMEM. Takes HT_GZIP_MEMORY bytes from ht_arena_map(), until close. */
int ht_gzip_open(struct ht_gzip **ret_gzip, int fd);
void ht_gzip_write(struct ht_gzip *gzip, const void *data, size_t size);
/* The first error so far, or 0: whoever has much to write may stop. */
int ht_gzip_error(const struct ht_gzip *gzip);
/* Writes what is left, unless something failed before or `discard` is set, and gives the memory
 * back. 0, or the first error. */
int ht_gzip_close(struct ht_gzip *gzip, bool discard);

#define HT_GZIP_MEMORY ((size_t)448 * 1024)

#endif
