/* debug_lines.h: the line table of a unit. */
#ifndef HT_TOOL_DEBUG_LINES_H
#define HT_TOOL_DEBUG_LINES_H

#include "debug.h"

struct debug_lines {
    Dwarf_Lines *rows; /* sorted by address */
    size_t row_count;
    Dwarf_Files *call_files; /* of calls that were inlined */
    size_t call_file_count;
    const char *directory; /* where the compiler ran; "" when it is not known */
};

/* What is missing or damaged is as if it were empty. */
void debug_lines_load(struct debug_unit *unit, struct debug_lines *ret_lines);
/* Sets file, line and column of a frame at an address, if they are known. */
void debug_lines_find(struct debug_lines *lines, Dwarf_Addr address, struct debug_frame *frame);

/* Sets file, line and column of the call that was inlined. */
void debug_lines_find_call(struct debug_lines *lines, Dwarf_Die *call, struct debug_frame *frame);

#endif
