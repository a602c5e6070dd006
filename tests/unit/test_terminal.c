#include "../../tools/terminal.h"

#include <locale.h>

#include "../../tools/json.h"
#include "../../tools/table.h"
#include "test.h"

static const struct terminal pipe_of_c = {.width = TERMINAL_ENDLESS};
static const struct terminal utf8 = {
    .width = 30, .is_terminal = true, .is_utf8 = true, .has_colour = true};
static const struct terminal ascii = {.width = 30, .is_terminal = true};

static FILE *before;
static char *text;
static size_t size;

/* What goes to standard output between the two calls. */
static void begin(void)
{
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        exit(77);
    before = stdout;
    stdout = open_memstream(&text, &size);
}

static const char *end(void)
{
    static char result[1024];
    fclose(stdout);
    stdout = before;
    snprintf(result, sizeof(result), "%s", text);
    free(text);
    return result;
}

static const char *put(const struct terminal *terminal, const char *name, uint32_t width)
{
    begin();
    uint32_t used = terminal_put(terminal, name, width);
    const char *shown = end();
    CHECK(width == TERMINAL_ENDLESS || used <= width);
    CHECK_EQ(used, terminal_width(terminal, shown));
    return shown;
}

#define MIDDLE "\xe4\xb8\xad" /* two columns */
#define UMLAUT "\xc3\xa4"
#define DOTS   "\xe2\x80\xa6"

TEST(names)
{
    CHECK_STR_EQ(put(&utf8, "main", 4), "main");
    CHECK_STR_EQ(put(&utf8, "mains", 4), "mai" DOTS);
    CHECK_STR_EQ(put(&ascii, "mains", 4), "m...");
    CHECK_STR_EQ(put(&utf8, "mains", TERMINAL_ENDLESS), "mains");
    CHECK_STR_EQ(put(&utf8, UMLAUT MIDDLE "x", 4), UMLAUT MIDDLE "x");
    CHECK_STR_EQ(put(&utf8, MIDDLE MIDDLE "x", 4), MIDDLE DOTS);
    CHECK_STR_EQ(put(&utf8, MIDDLE, 1), DOTS);
    CHECK_STR_EQ(put(&ascii, MIDDLE "x", 4), "?x");
    CHECK_STR_EQ(put(&pipe_of_c, MIDDLE "x", TERMINAL_ENDLESS), MIDDLE "x");
}

TEST(what_a_terminal_would_obey)
{
    static const char *const names[] = {"\x1b", "\n",       "\x7f",         "\xc2\x9b",
                                        "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf5"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++) {
        const char *shown = put(&utf8, names[i], TERMINAL_ENDLESS);
        CHECK_EQ(strspn(shown, "?"), strlen(shown));
        CHECK(*shown);
    }
    CHECK_STR_EQ(put(&pipe_of_c, "a\x1b[0m", TERMINAL_ENDLESS), "a?[0m");
}

TEST(tables)
{
    begin();
    struct table table = table_start(&utf8, 3);
    table_cell(&table, "flat");
    table_cell(&table, "");
    table_cell(&table, "function");
    table_end_row(&table, TABLE_HEAD);
    table_cell(&table, "1.5 MiB");
    table_end_row(&table, TABLE_PLAIN);
    table_cell(&table, "1");
    table_cell(&table, "");
    table_cell(&table, "a_name_that_is_longer_than_the_terminal");
    table_end_row(&table, TABLE_GREY);
    CHECK(table_print(&table));
    CHECK_STR_EQ(end(), "\x1b[1m   flat  function\x1b[0m\n"
                        "1.5 MiB\n"
                        "\x1b[2m      1  a_name_that_is_longe" DOTS "\x1b[0m\n");
}

TEST(json)
{
    struct json json = {0};
    begin();
    json_open(&json, NULL, '{');
    json_text(&json, "a\"b", "\\\n\x7f\xff" UMLAUT);
    json_open(&json, "list", '[');
    json_integer(&json, NULL, INT64_MIN);
    json_number(&json, NULL, 0.5);
    json_number(&json, NULL, 1.0 / 0.0);
    json_boolean(&json, NULL, true);
    json_close(&json, ']');
    json_null(&json, "no");
    json_close(&json, '}');
    CHECK_STR_EQ(end(), "{\"a\\\"b\":\"\\\\\\u000a\\u007f\xef\xbf\xbd" UMLAUT "\",\n"
                        "\"list\":[-9223372036854775808,\n0.5,\nnull,\ntrue],\n\"no\":null}\n");
}
