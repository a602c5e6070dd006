/* table.h: a table of texts, as wide as they need and the terminal has.
 *
 * All columns but the last are numbers, at the right; the last one is names, and is cut.
 *
 *     struct table table = table_start(&terminal, 3);
 *     table_cell(&table, "flat"); table_cell(&table, "flat%"); table_cell(&table, "function");
 *     table_end_row(&table, TABLE_HEAD);
 *     ...
 *     table_print(&table); */
#ifndef HT_TOOL_TABLE_H
#define HT_TOOL_TABLE_H

#include "pool.h"
#include "terminal.h"

#define TABLE_COLUMNS_MAX 12

enum table_look { TABLE_PLAIN, TABLE_HEAD, TABLE_GREY };

struct table {
    const struct terminal *terminal;
    unsigned column_count;
    uint32_t widths[TABLE_COLUMNS_MAX];
    struct table_row *first, *last, *open;
    unsigned cell; /* of the open row */
    struct pool pool;
};

struct table table_start(const struct terminal *terminal, unsigned column_count);

/* The next cell of the row. */
void table_cell(struct table *table, const char *text);
/* Cells that are not filled are empty. */
void table_end_row(struct table *table, enum table_look look);

/* False, with a line said, when there was no memory for all of it. Frees it either way. */
bool table_print(struct table *table);

#endif
