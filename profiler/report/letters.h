/* letters.h: the classes of characters that libiberty's Rust demangler asks for.
 *
 * libiberty has such a table itself, but under the LGPL without the exception that its demanglers
 * come with. Ours has the same name and the same bits, and is found first. */
#ifndef HT_REPORT_LETTERS_H
#define HT_REPORT_LETTERS_H

#include "sys/compiler.h"

/* As <ctype.h> has them in the C locale; characters from 128 on are of no class. */
enum {
    HT_LETTER_BLANK = 0x001,
    HT_LETTER_CONTROL = 0x002,
    HT_LETTER_DIGIT = 0x004,
    HT_LETTER_LOWER = 0x008,
    HT_LETTER_PRINTABLE = 0x010,
    HT_LETTER_PUNCTUATION = 0x020,
    HT_LETTER_SPACE = 0x040,
    HT_LETTER_UPPER = 0x080,
    HT_LETTER_HEX = 0x100,
    HT_LETTER_IDENTIFIER = 0x200, /* what an identifier of C may start with */
    HT_LETTER_LINE = 0x400,       /* ends a line */
    HT_LETTER_INLINE = 0x800,     /* space or NUL, but ends no line */
};

/* Weak, so that a program may have libiberty's, too. */
extern HT_HIDDEN const uint16_t _sch_istable[256];

#endif
