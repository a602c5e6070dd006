/* debug_names.h: names for functions that the linker has none for: gcc leaves them out for lambdas
 * and for members of local classes. Without its scope every lambda were "operator()". */
#ifndef HT_TOOL_DEBUG_NAMES_H
#define HT_TOOL_DEBUG_NAMES_H

#include <elfutils/libdw.h>

#include "sys/compiler.h"

/* Starts zeroed. */
struct debug_names {
    void *known; /* of tsearch(3) */
};

/* "(anonymous namespace)::outer::{lambda()}::operator()", as demangled names are; in other languages
 * than C++ the name as it is. "" when there is none. Lasts until debug_names_free(). */
const char *debug_names_scoped(struct debug_names *names, Dwarf_Die *function);
void debug_names_free(struct debug_names *names);

#endif
