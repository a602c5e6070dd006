#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "control/parse.h"

#include "utf8.h"

#define WIDTH_FALLBACK 80
#define WIDTH_MIN      40

static uint32_t look_width(void)
{
    struct winsize size;
    uint64_t width = 0;
    const char *columns = getenv("COLUMNS");
    if (!columns || ht_parse_number(columns, &width) < 0 || width == 0)
        width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
    if (width == 0)
        width = WIDTH_FALLBACK;
    return (uint32_t)ht_min(ht_max(width, WIDTH_MIN), TERMINAL_ENDLESS - 1);
}

struct terminal terminal_look(void)
{
    setlocale(LC_CTYPE, "");
    struct terminal terminal = {.width = TERMINAL_ENDLESS};
    terminal.is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    terminal.is_terminal = isatty(STDOUT_FILENO);
    if (!terminal.is_terminal)
        return terminal;
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    terminal.width = look_width();
    terminal.has_colour = !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
    return terminal;
}

/* The columns that a character takes, which is not 0: all that has no width of its own, and would
 * hide something or be obeyed, becomes a question mark. */
static uint32_t columns_of(const struct terminal *terminal, int32_t character, bool *ret_is_shown)
{
    bool is_control = character < ' ' || (character >= 0x7f && character < 0xa0);
    *ret_is_shown = !is_control && (character < 0x80 || terminal->is_utf8);
    if (*ret_is_shown && character >= 0x80) {
        int width = wcwidth((wchar_t)character);
        *ret_is_shown = width > 0;
        return width > 0 ? (uint32_t)width : 1;
    }
    /* Whoever reads a pipe has a locale of his own. */
    if (!is_control && !terminal->is_terminal)
        *ret_is_shown = true;
    return 1;
}

uint32_t terminal_width(const struct terminal *terminal, const char *text)
{
    uint32_t width = 0;
    size_t size;
    for (; *text; text += size) {
        bool is_shown;
        width += columns_of(terminal, utf8_character(text, &size), &is_shown);
    }
    return width;
}

uint32_t terminal_put(const struct terminal *terminal, const char *text, uint32_t width)
{
    const char *ellipsis = terminal->is_utf8 ? "\xe2\x80\xa6" : "...";
    uint32_t ellipsis_width = terminal->is_utf8 ? 1 : 3;
    bool is_cut = width != TERMINAL_ENDLESS && terminal_width(terminal, text) > width;
    uint32_t room = !is_cut                  ? TERMINAL_ENDLESS
                    : width > ellipsis_width ? width - ellipsis_width
                                             : 0;
    uint32_t used = 0;
    size_t size;
    for (; *text; text += size) {
        bool is_shown;
        uint32_t columns = columns_of(terminal, utf8_character(text, &size), &is_shown);
        if (columns > room - used)
            break;
        used += columns;
        if (is_shown)
            fwrite(text, 1, size, stdout);
        else
            fputs("?", stdout);
    }
    if (is_cut && width >= ellipsis_width) {
        fputs(ellipsis, stdout);
        used += ellipsis_width;
    }
    return used;
}

const char *terminal_plus_minus(const struct terminal *terminal)
{
    return terminal->is_utf8 ? "\xc2\xb1" : "+-";
}
