/* table.h: columns of text, as wide as their widest cell; the last one is cut to the terminal. */
#ifndef HT_TOOL_TABLE_H
#define HT_TOOL_TABLE_H

#include "sys/compiler.h"

#define TABLE_COLUMNS_MAX 16

struct table {
    size_t columns, rows;
    char **cells; /* rows * columns */
};

/* Adds a cell: the first `columns` are the head. All but the last column are aligned to the right. */
void table_add(struct table *table, const char *format, ...) HT_PRINTF(2, 3);
void table_print(const struct table *table);
void table_free(struct table *table);

/* Columns of the terminal that standard output is; 0 when it is none. */
size_t terminal_width(void);

#endif
