#include "report/letters.h"

#include "sys/poison.h"

#define IN(c, first, last) ((c) >= (first) && (c) <= (last))
#define LOWER(c)           IN(c, 'a', 'z')
#define UPPER(c)           IN(c, 'A', 'Z')
#define DIGIT(c)           IN(c, '0', '9')
#define SPACE(c)           ((c) == ' ' || IN(c, '\t', '\r'))
#define LINE(c)            ((c) == '\n' || (c) == '\r')

#define CLASSES(c)                                                                                 \
    (((c) == ' ' || (c) == '\t' ? HT_LETTER_BLANK : 0) |                                           \
     ((c) < ' ' || (c) == 127 ? HT_LETTER_CONTROL : 0) | (DIGIT(c) ? HT_LETTER_DIGIT : 0) |        \
     (LOWER(c) ? HT_LETTER_LOWER : 0) | (IN(c, ' ', '~') ? HT_LETTER_PRINTABLE : 0) |              \
     (IN(c, '!', '~') && !DIGIT(c) && !LOWER(c) && !UPPER(c) ? HT_LETTER_PUNCTUATION : 0) |        \
     (SPACE(c) ? HT_LETTER_SPACE : 0) | (UPPER(c) ? HT_LETTER_UPPER : 0) |                         \
     (DIGIT(c) || IN(c, 'a', 'f') || IN(c, 'A', 'F') ? HT_LETTER_HEX : 0) |                        \
     (LOWER(c) || UPPER(c) || (c) == '_' ? HT_LETTER_IDENTIFIER : 0) |                             \
     (LINE(c) ? HT_LETTER_LINE : 0) | ((SPACE(c) && !LINE(c)) || (c) == 0 ? HT_LETTER_INLINE : 0))

#define FOUR(c)    CLASSES(c), CLASSES(c + 1), CLASSES(c + 2), CLASSES(c + 3)
#define SIXTEEN(c) FOUR(c), FOUR(c + 4), FOUR(c + 8), FOUR(c + 12)

__attribute__((weak)) const uint16_t _sch_istable[256] = {
    SIXTEEN(0),  SIXTEEN(16), SIXTEEN(32), SIXTEEN(48),
    SIXTEEN(64), SIXTEEN(80), SIXTEEN(96), SIXTEEN(112),
};
