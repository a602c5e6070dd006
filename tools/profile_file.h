/* profile_file.h: the bytes of a profile's file. */
#ifndef HT_TOOL_PROFILE_FILE_H
#define HT_TOOL_PROFILE_FILE_H

#include "sys/compiler.h"

/* What is larger, packed or not, is no profile that anybody could look at: a million stacks of 30
 * frames take 0.1 GiB. */
#define PROFILE_FILE_MAX ((size_t)1 << 30)

struct bytes {
    uint8_t *data; /* from malloc */
    size_t size;
};

/* Reads all of a file, "-" being standard input. NULL, or what is wrong with it, for a sentence. */
const char *profile_file_read(const char *path, struct bytes *ret_bytes);

/* Unpacks what is gzipped; `ret_bytes` is {0} when it is not. NULL, or what is wrong. */
const char *profile_file_unpack(const uint8_t *data, size_t size, struct bytes *ret_bytes);

#endif
