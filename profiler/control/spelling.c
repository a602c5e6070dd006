#include "control/spelling.h"

#include <string.h>

#include "sys/poison.h"

unsigned ht_spelling_distance(const char *a, const char *b)
{
    unsigned row[HT_SPELLING_MAX + 1];
    size_t length = strnlen(b, HT_SPELLING_MAX);
    for (unsigned j = 0; j <= length; j++)
        row[j] = j;
    for (unsigned i = 0; a[i] && i < HT_SPELLING_MAX; i++) {
        unsigned diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            unsigned changed = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = (unsigned)ht_min(changed, ht_min(row[j], row[j + 1]) + 1);
        }
    }
    return row[length];
}
