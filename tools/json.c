#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "utf8.h"

#define WHOLE_MAX 0x1p53 /* all whole numbers up to it are exact */

static void put_text(const char *text)
{
    size_t size;
    putchar('"');
    for (; *text; text += size) {
        int32_t character = utf8_character(text, &size);
        if (character < 0)
            fputs("\xef\xbf\xbd", stdout);
        else if (character == '"' || character == '\\')
            printf("\\%c", (char)character);
        else if (character < ' ' || character == 0x7f)
            printf("\\u%04x", (unsigned)character);
        else
            fwrite(text, 1, size, stdout);
    }
    putchar('"');
}

static void start(struct json *json, const char *key)
{
    if (json->needs_comma)
        putchar(',');
    /* Lines that a person can find his way in. */
    if (json->needs_comma && json->depth <= 2)
        putchar('\n');
    json->needs_comma = true;
    if (key) {
        put_text(key);
        putchar(':');
    }
}

void json_open(struct json *json, const char *key, char bracket)
{
    start(json, key);
    putchar(bracket);
    json->needs_comma = false;
    json->depth++;
}

void json_close(struct json *json, char bracket)
{
    putchar(bracket);
    json->needs_comma = true;
    if (--json->depth == 0)
        putchar('\n');
}

void json_text(struct json *json, const char *key, const char *text)
{
    start(json, key);
    put_text(text);
}

void json_integer(struct json *json, const char *key, int64_t number)
{
    start(json, key);
    printf("%" PRId64, number);
}

void json_number(struct json *json, const char *key, double number)
{
    start(json, key);
    if (!isfinite(number))
        fputs("null", stdout);
    else if (fabs(number) <= WHOLE_MAX && number == trunc(number))
        printf("%" PRId64, (int64_t)number);
    else
        printf("%.9g", number);
}

void json_boolean(struct json *json, const char *key, bool value)
{
    start(json, key);
    fputs(value ? "true" : "false", stdout);
}

void json_null(struct json *json, const char *key)
{
    start(json, key);
    fputs("null", stdout);
}
