#include "debug_lines.h"

#include <dwarf.h>

void debug_lines_load(struct debug_unit *unit, struct debug_lines *ret_lines)
{
    struct debug_lines lines = {.directory = ""};
    Dwarf_Attribute attribute;
    if (dwarf_getsrclines(&unit->lines, &lines.rows, &lines.row_count) != 0)
        lines.row_count = 0;
    if (dwarf_getsrcfiles(&unit->scopes, &lines.call_files, &lines.call_file_count) != 0)
        lines.call_file_count = 0;
    const char *directory = dwarf_formstring(dwarf_attr(&unit->lines, DW_AT_comp_dir, &attribute));
    if (directory)
        lines.directory = directory;
    *ret_lines = lines;
}

static Dwarf_Addr address_of(const struct debug_lines *lines, size_t row)
{
    Dwarf_Addr address = 0;
    dwarf_lineaddr(dwarf_onesrcline(lines->rows, row), &address);
    return address;
}

/* The last row at or below the address, unless code ends there. */
static Dwarf_Line *find_row(const struct debug_lines *lines, Dwarf_Addr address)
{
    size_t low = 0, high = lines->row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (address_of(lines, middle) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_end = true;
    Dwarf_Line *row = low > 0 ? dwarf_onesrcline(lines->rows, low - 1) : NULL;
    return row && dwarf_lineendsequence(row, &is_end) == 0 && !is_end ? row : NULL;
}

void debug_lines_find(struct debug_lines *lines, Dwarf_Addr address, struct debug_frame *frame)
{
    Dwarf_Line *row = find_row(lines, address);
    const char *file = row ? dwarf_linesrc(row, NULL, NULL) : NULL;
    if (!file)
        return;
    frame->file = file;
    frame->directory = lines->directory;
    if (dwarf_lineno(row, &frame->line) != 0 || frame->line < 0)
        frame->line = 0;
    if (frame->line == 0 || dwarf_linecol(row, &frame->column) != 0 || frame->column < 0)
        frame->column = 0;
}

static int number_of(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    if (dwarf_formudata(dwarf_attr(die, name, &attribute), &value) != 0 || value > INT32_MAX)
        return 0;
    return (int)value;
}

void debug_lines_find_call(struct debug_lines *lines, Dwarf_Die *call, struct debug_frame *frame)
{
    size_t index = (size_t)number_of(call, DW_AT_call_file);
    const char *file =
        index < lines->call_file_count ? dwarf_filesrc(lines->call_files, index, NULL, NULL) : NULL;
    if (!file)
        return;
    frame->file = file;
    frame->directory = lines->directory;
    frame->line = number_of(call, DW_AT_call_line);
    frame->column = number_of(call, DW_AT_call_column);
}
