/* text.h: text that any reader of a profile accepts.
 *
 * Protobuf wants UTF-8 and readers refuse a whole profile for one odd byte in a path; paths,
 * symbols and comments may hold any. */
#ifndef HT_REPORT_TEXT_H
#define HT_REPORT_TEXT_H

#include "sys/compiler.h"

/* Copies `length` bytes of `from` as UTF-8, cut to size - 1 bytes between two characters: a byte
 * that is no part of a valid character, and a control character, becomes "\xNN". Returns the length
 * of the result. */
size_t ht_text_clean(const char *from, size_t length, char *ret_text, size_t size);

#endif
