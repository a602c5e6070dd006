/* symbols.h: what an ELF file defines and needs, as far as it decides whether our malloc is
 * called. */
#ifndef HT_TOOL_SYMBOLS_H
#define HT_TOOL_SYMBOLS_H

#include "sys/compiler.h"

struct symbols {
    bool has_malloc;       /* a function of its own */
    bool has_operator_new; /* the plain one */
    bool has_heaptap;      /* linked with our archive */
    char allocator[64];    /* an allocator that it names among the libraries it needs; "" none */
    bool needs_heaptap;
};

/* Reads the file, of which nothing is believed. 0 or -errno; -ENOEXEC for what is no 64-bit
 * little-endian ELF file. The file is mapped: whoever truncates it meanwhile ends this command. */
int symbols_read(const char *path, struct symbols *ret_symbols);

/* Whether a library of this name, with or without a directory, is an allocator that takes malloc
 * over. */
bool symbols_is_allocator(const char *library);

#endif
