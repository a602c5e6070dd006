/* debug_names.h: names with their scopes, where the linker's cannot be demangled: gcc has none for
 * lambdas and members of local classes, and every lambda would be "operator()"; Fortran's are of a
 * kind of their own. */
#ifndef HT_TOOL_DEBUG_NAMES_H
#define HT_TOOL_DEBUG_NAMES_H

#include "debug_outline.h"

/* Starts zeroed. */
struct debug_names {
    void *known;                  /* of tsearch(3) */
    struct debug_outline outline; /* of the unit that is looked at */
};

/* "(anonymous namespace)::outer::{lambda()}::operator()", as demangled names are, "module::procedure";
 * in other languages than C++ and Fortran the name as it is. "" when there is none. Lasts until debug_names_free(). */
const char *debug_names_scoped(struct debug_names *names, Dwarf_Die *function);
void debug_names_free(struct debug_names *names);

#endif
