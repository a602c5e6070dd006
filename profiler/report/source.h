/* source.h: bytes that somebody else wrote, and that may change or go while they are read: a file,
 * the memory of this process, or a buffer of ours.
 *
 * Memory of the program is read through /proc/thread-self/mem: a library may be unloaded by another
 * thread at any instant, and there a read of what is gone is an error, not a fault. It needs no
 * rights that the process does not have over itself, and no system call that files do not need. */
#ifndef HT_REPORT_SOURCE_H
#define HT_REPORT_SOURCE_H

#include <sys/types.h>

#include "sys/compiler.h"

/* Offsets count from `origin`, and nothing at or beyond `size` is read. */
struct ht_source {
    int fd; /* -1: `buffer` */
    const char *buffer;
    uint64_t origin, size;
};

/* 0 or -errno. A file is read by pread, never mapped: whoever truncates a mapped file kills the
 * program that reads it. */
int ht_source_open_file(const char *path, struct ht_source *ret_source);
int ht_source_open_memory(uintptr_t start, uintptr_t limit, struct ht_source *ret_source);
struct ht_source ht_source_of_buffer(const void *buffer, size_t size);
/* Not of a buffer, which is its owner's. */
void ht_source_close(struct ht_source *source);

/* All of so many bytes: 0 or -errno, -ENOEXEC when there are fewer. */
int ht_source_read(const struct ht_source *source, void *buffer, size_t size, uint64_t offset);
/* As many as there are; their number or -errno. */
ssize_t ht_source_read_some(const struct ht_source *source, void *buffer, size_t size,
                            uint64_t offset);

#endif
