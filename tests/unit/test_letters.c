#include "report/letters.h"

#include <ctype.h>

#include "test.h"

static bool has(int c, unsigned class)
{
    return (_sch_istable[c] & class) != 0;
}

TEST(letters_are_those_of_the_c_locale)
{
    for (int c = 0; c < 128; c++) {
        CHECK_EQ(has(c, HT_LETTER_BLANK), isblank(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_CONTROL), iscntrl(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_DIGIT), isdigit(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_LOWER), islower(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_PRINTABLE), isprint(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_PUNCTUATION), ispunct(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_SPACE), isspace(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_UPPER), isupper(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_HEX), isxdigit(c) != 0);
        CHECK_EQ(has(c, HT_LETTER_IDENTIFIER), isalpha(c) != 0 || c == '_');
        CHECK_EQ(has(c, HT_LETTER_LINE), c == '\n' || c == '\r');
        CHECK_EQ(has(c, HT_LETTER_INLINE), c == 0 || (isspace(c) != 0 && c != '\n' && c != '\r'));
    }
    for (int c = 128; c < 256; c++)
        CHECK_EQ(_sch_istable[c], 0);
}
