#include "report/text.h"

#include "test.h"

static const char *clean(const char *from, size_t length, size_t size)
{
    static char text[256];
    size_t used = ht_text_clean(from, length, text, size);
    CHECK_EQ(strlen(text), used);
    CHECK(used < size);
    return text;
}

#define CLEAN(literal) clean(literal, sizeof(literal) - 1, 256)

TEST(text_keeps_what_is_valid)
{
    CHECK_STR_EQ(CLEAN(""), "");
    CHECK_STR_EQ(CLEAN("/usr/bin/true"), "/usr/bin/true");
    CHECK_STR_EQ(CLEAN("Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
                 "Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
}

TEST(text_escapes_the_rest)
{
    CHECK_STR_EQ(CLEAN("a\xff"
                       "b"),
                 "a\\xffb");
    CHECK_STR_EQ(CLEAN("tab\there"), "tab\\x09here");
    CHECK_STR_EQ(CLEAN("\xc0\xaf"), "\\xc0\\xaf");          /* overlong */
    CHECK_STR_EQ(CLEAN("\xed\xa0\x80"), "\\xed\\xa0\\x80"); /* a surrogate */
    CHECK_STR_EQ(CLEAN("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    CHECK_STR_EQ(CLEAN("cut \xe2\x82"), "cut \\xe2\\x82");
}

TEST(text_is_cut_between_characters)
{
    CHECK_STR_EQ(clean("abc", 3, 3), "ab");
    CHECK_STR_EQ(clean("a\xc3\xbc", 3, 3), "a");
    CHECK_STR_EQ(clean("a\xff", 2, 5), "a");
    CHECK_STR_EQ(clean("abc", 3, 1), "");
}
