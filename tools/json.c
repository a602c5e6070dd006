#include "json.h"

#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 character at `text`, which has `length` bytes; 0 when it is none. */
static size_t character(const unsigned char *text, size_t length)
{
    size_t size = text[0] < 0x80                       ? 1
                  : text[0] >= 0xc2 && text[0] <= 0xdf ? 2
                  : (text[0] & 0xf0) == 0xe0           ? 3
                  : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4
                                                       : 0;
    if (size == 0 || size > length)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    bool is_long = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    bool is_beyond = (text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf4 && text[1] > 0x8f);
    return is_long || is_beyond ? 0 : size;
}

static void print_string(const char *text, size_t length)
{
    putchar('"');
    while (length > 0) {
        size_t size = character((const unsigned char *)text, length);
        if (size == 0)
            fputs("\\ufffd", stdout);
        else if ((unsigned char)*text < ' ' || *text == 127)
            printf("\\u%04x", (unsigned)*text);
        else if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            fwrite(text, size, 1, stdout);
        size += size == 0;
        text += size;
        length -= size;
    }
    putchar('"');
}

void json_string(const char *text)
{
    print_string(text, strlen(text));
}

void json_lines(const char *text)
{
    putchar('[');
    for (const char *separator = ""; *text; separator = ", ") {
        size_t length = strcspn(text, "\n");
        fputs(separator, stdout);
        print_string(text, length);
        text += length + (text[length] != 0);
    }
    putchar(']');
}
