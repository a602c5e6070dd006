#include "table.h"

#include <stdio.h>
#include <string.h>

#include "tool.h"

#define MEMORY_MAX ((size_t)1 << 30)
#define GAP        2
#define NAME_MIN   8 /* a terminal that is narrower breaks the lines by itself */

struct table_row {
    struct table_row *next;
    enum table_look look;
    const char *cells[];
};

struct table table_start(const struct terminal *terminal, unsigned column_count)
{
    HT_ASSERT(column_count >= 1 && column_count <= TABLE_COLUMNS_MAX);
    return (struct table){
        .terminal = terminal, .column_count = column_count, .pool = {.limit = MEMORY_MAX}};
}

static bool open_row(struct table *table)
{
    if (!table->open) {
        struct table_row *row;
        table->open = row = pool_take_array(
            &table->pool, 1, sizeof(*row) + table->column_count * sizeof(row->cells[0]));
        table->cell = 0;
    }
    return table->open != NULL;
}

void table_cell(struct table *table, const char *text)
{
    if (!open_row(table))
        return;
    HT_ASSERT(table->cell < table->column_count);
    table->open->cells[table->cell] = pool_copy_text(&table->pool, text, strlen(text));
    uint32_t width = terminal_width(table->terminal, text);
    if (width > table->widths[table->cell])
        table->widths[table->cell] = width;
    table->cell++;
}

void table_end_row(struct table *table, enum table_look look)
{
    if (!open_row(table))
        return;
    table->open->look = look;
    if (table->last)
        table->last->next = table->open;
    else
        table->first = table->open;
    table->last = table->open;
    table->open = NULL;
}

static const char *text_of(const struct table_row *row, unsigned i)
{
    return row->cells[i] ? row->cells[i] : "";
}

static void print_row(const struct table *table, const struct table_row *row, uint32_t name_width)
{
    static const char *const starts[] = {"", "\x1b[1m", "\x1b[2m"};
    bool is_coloured = table->terminal->has_colour && row->look != TABLE_PLAIN;
    if (is_coloured)
        fputs(starts[row->look], stdout);
    uint32_t blanks = 0; /* before the next text, so that there are none at the end of a line */
    for (unsigned i = 0; i < table->column_count; i++) {
        const char *text = text_of(row, i);
        bool is_name = i + 1 == table->column_count;
        if (!is_name)
            blanks += table->widths[i] - terminal_width(table->terminal, text);
        if (*text) {
            printf("%*s", (int)blanks, "");
            terminal_put(table->terminal, text, is_name ? name_width : TERMINAL_ENDLESS);
            blanks = 0;
        }
        blanks += table->widths[i] > 0 ? GAP : 0;
    }
    fputs(is_coloured ? "\x1b[0m\n" : "\n", stdout);
}

bool table_print(struct table *table)
{
    uint32_t name_width = table->terminal->width;
    if (name_width != TERMINAL_ENDLESS) {
        uint32_t numbers_width = 0;
        for (unsigned i = 0; i + 1 < table->column_count; i++)
            numbers_width += table->widths[i] > 0 ? table->widths[i] + GAP : 0;
        name_width = name_width > numbers_width + NAME_MIN ? name_width - numbers_width : NAME_MIN;
    }
    for (const struct table_row *row = table->first; row; row = row->next)
        print_row(table, row, name_width);
    bool done = !table->pool.is_exhausted;
    if (!done)
        say("the table does not fit into memory");
    pool_free(&table->pool);
    return done;
}
