#include "utf8.h"

int32_t utf8_character(const char *text, size_t *ret_size)
{
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    size_t size = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    int32_t character = size == 1 ? p[0] : p[0] & (0x7f >> size);
    *ret_size = 1;
    if (size > 1 && (p[0] < 0xc0 || p[0] > 0xf7))
        return -1;
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return -1;
        character = character << 6 | (p[i] & 0x3f);
    }
    if (character < least[size] || character > 0x10ffff ||
        (character >= 0xd800 && character < 0xe000))
        return -1;
    *ret_size = size;
    return character;
}
