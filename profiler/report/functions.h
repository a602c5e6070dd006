/* functions.h: the functions that a profile's locations are in.
 *
 * One function for each symbol of each module. Where no symbol covers an address, the function is
 * the address in the file, "[libfoo.so.1+0x1234]": the same in every run, whatever address the
 * library has there. Code of no module has the name that a JIT compiler wrote down (jit.h), or is
 * "[anon]".
 *
 * What was found is kept (lexicon.h): only for addresses that are new are files opened. */
#ifndef HT_REPORT_FUNCTIONS_H
#define HT_REPORT_FUNCTIONS_H

#include "report/jit.h"
#include "report/locations.h"
#include "report/mappings.h"
#include "report/messages.h"

/* Writes the functions and sets those of all locations, which have been sorted. Files are opened
 * one at a time; one that cannot be read costs its names, not the profile. 0 or -ENOMEM.
 * Needs HT_PPROF_STACK_SIZE (pprof.h) of stack. */
int ht_functions_write(struct ht_locations *locations, const struct ht_mappings *mappings,
                       const struct ht_jit *jit, struct ht_messages *messages);

#endif
