#include "report/text.h"

#include <string.h>

#include "sys/poison.h"

/* The length of the valid character at `at`, or 0. The limits of the second byte exclude overlong
 * forms, surrogates and what lies beyond U+10FFFF (Unicode, table 3-7). */
static size_t character_length(const unsigned char *at, size_t left)
{
    unsigned char first = at[0], low = 0x80, high = 0xbf;
    size_t length;
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (length > left || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return length;
}

size_t ht_text_clean(const char *from, size_t length, char *ret_text, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        unsigned char byte = (unsigned char)from[at];
        char escaped[] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        size_t valid = character_length((const unsigned char *)from + at, length - at);
        size_t needed = valid > 0 ? valid : sizeof(escaped);
        if (needed > size - 1 - used)
            break;
        memcpy(ret_text + used, valid > 0 ? from + at : escaped, needed);
        used += needed;
        at += valid > 0 ? valid : 1;
    }
    ret_text[used] = 0;
    return used;
}
