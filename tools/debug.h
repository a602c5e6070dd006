/* debug.h: from the addresses of an object to functions, files, lines and inlined calls, by its
 * debug information (DWARF 2 to 5, split or not), with libdw.
 *
 * All of it is read in one go, for addresses that are sorted: see debug_scopes.h. Nothing in the
 * file is believed by us; libdw is not so careful, so this runs in a process of its own
 * (symbolize_object.h). */
#ifndef HT_TOOL_DEBUG_H
#define HT_TOOL_DEBUG_H

#include "debug_file.h"
#include "debug_units.h"

/* A function at an address, or one that was inlined there. Texts last until debug_close(). */
struct debug_frame {
    const char *name;         /* as in the source, without its scope; "" when it is not known */
    const char *linkage_name; /* the linker's; "" when it has none */
    const char
        *scoped_name;      /* debug_names.h, if the linker's cannot be demangled; else as `name` */
    const char *directory; /* where the compiler ran; "" when it is not known */
    const char *file;      /* in that directory, unless it is absolute; "" when not known */
    int line, column;      /* 0: not known, or of no line */
    int start_line;        /* where the function begins; 0 when not known, or in another file */
};

struct debug_place {
    Dwarf_Addr address;
    const struct debug_frame *frames; /* innermost first; one may have a line alone */
    size_t count;                     /* 0: nothing is known */
};

/* Several processes may look up a part of the addresses each: those in every part_count-th unit, so
 * that no unit is read twice. */
struct debug_part {
    unsigned part, part_count;
};

struct debug {
    Dwarf *dwarf;
    Dwarf *alternate; /* of dwz, if libdw did not find it by itself */
    int alternate_fd;
    bool lacks_alternate; /* there should be one: names are missing */
    struct debug_units units;
    bool lacks_dwo; /* after debug_find(): .dwo files are missing, so inlined calls may be */
};

/* Reads what a file has, with what dwz moved out of it. -ENODATA when it has no debug information,
 * -ENOMEM. The file stays open as long as the result is. */
int debug_open(const struct debug_search *search, const struct debug_file *file,
               struct debug *ret_debug);
void debug_close(struct debug *debug);

/* Calls `visit` for each of the addresses that belong to the part, in any order; they are as the
 * file's headers have them. 0 or -ENOMEM. */
int debug_find(struct debug *debug, struct debug_part part, const uint64_t *addresses, size_t count,
               void (*visit)(void *context, const struct debug_place *place), void *context);

#endif
