/* tables.h: a snapshot of the sampler's tables, as they are when it is encoded.
 *
 * Nothing is copied and no lock is taken: each sample is read in one go, what went before what
 * came, so that in use is never negative. Samples taken meanwhile may be in or out. */
#ifndef HT_REPORT_TABLES_H
#define HT_REPORT_TABLES_H

#include "report/snapshot.h"

/* Without comments. Context: dump. */
void ht_snapshot_of_tables(struct ht_snapshot *ret_snapshot);

#endif
