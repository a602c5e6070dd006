/* shadow.h: the live blocks of an interval of 1, found without a search.
 *
 * Where every allocation is recorded, looking blocks up is most of the work: 60 ns a pair in the
 * table of live.c, and 10 here. Every 16 bytes of the heap have an entry of 8 at a place of their
 * own: no hash, no lock, no probing, since between its allocation and its free a block is nobody's
 * but the program's. The price is memory, up to half of what the heap has touched; so only small
 * blocks are here, and only in a quarter of the tables' memory. All others are in live.c's table, as
 * in sampling. */
#ifndef HT_SAMPLE_SHADOW_H
#define HT_SAMPLE_SHADOW_H

#include "sample/stacks.h"

/* Blocks of this size and more are few: each would cost a page. */
#define HT_SHADOW_SIZE_MAX 1024u

enum ht_shadow_result {
    HT_SHADOW_REFUSED, /* not a small block, or no memory: live.c's */
    HT_SHADOW_INSERTED,
    HT_SHADOW_REPLACED, /* and there was one, whose free was not seen: *ret_was */
};

struct ht_shadow_block {
    ht_site site;
    uint32_t size;
};

/* Remembers a block, before the program gets it. Its page's byte in hot.h says "look" from then on,
 * for ever. Context: sample, signal handlers too. */
enum ht_shadow_result ht_shadow_insert(uintptr_t address, size_t size, ht_site site,
                                       struct ht_shadow_block *ret_was);

/* Forgets it, before it is given back. False when it is not here. Context: sample, signal handlers
 * too. */
bool ht_shadow_remove(uintptr_t address, struct ht_shadow_block *ret_block);

/* Blocks that are here. Looks at all entries: a millisecond for 8 MiB of them. */
uint64_t ht_shadow_count(void);

#endif
