#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "groups.h"

/* `columns` is set; rows counts cells until it is printed. */
void table_add(struct table *table, const char *format, ...)
{
    char *cell;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&cell, format, arguments) < 0)
        abort();
    va_end(arguments);
    table->cells = need_more(table->cells, table->rows + 1, sizeof(table->cells[0]));
    table->cells[table->rows++] = cell;
}

/* Characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

size_t terminal_width(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

static void print_cut(const char *text, size_t room)
{
    if (room < 8 || width_of(text) <= room) {
        puts(text);
        return;
    }
    for (size_t width = 0; *text; text++) {
        width += (*text & 0xc0) != 0x80;
        if (width > room - 3)
            break;
        putchar(*text);
    }
    puts("...");
}

void table_print(const struct table *table)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0}, before = 0, last = table->columns - 1;
    for (size_t i = 0; i < table->rows; i++)
        widths[i % table->columns] = ht_max(widths[i % table->columns], width_of(table->cells[i]));
    for (size_t i = 0; i < last; i++)
        before += widths[i] + 2;
    size_t terminal = terminal_width();
    for (size_t i = 0; i < table->rows; i++) {
        const char *cell = table->cells[i];
        if (i % table->columns == last)
            print_cut(cell, terminal > before ? terminal - before : 0);
        else
            printf("%*s%s  ", (int)(widths[i % table->columns] - width_of(cell)), "", cell);
    }
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->rows; i++)
        free(table->cells[i]);
    free(table->cells);
}
