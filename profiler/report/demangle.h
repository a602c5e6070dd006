/* demangle.h: names for people.
 *
 * The short form that pprof itself uses: no parameters, no template arguments, no return type. Then
 * focus, drop_frames and comparisons with other tools work. Rust names keep their generics, which
 * are part of a path there, and lose their hash.
 *
 *     _ZNSt6vectorIiSaIiEE9push_backERKi                   std::vector::push_back
 *     _ZZN3foo3barEiENKUlvE_clEv                           foo::bar::{lambda()#1}::operator()
 *     _ZN4core3fmt5write17h0123456789abcdefE               core::fmt::write
 *     main                                                 main */
#ifndef HT_REPORT_DEMANGLE_H
#define HT_REPORT_DEMANGLE_H

#include "sys/compiler.h"

/* The longest name that is demangled; a longer one stays as it is. */
#define HT_DEMANGLE_MAX 2048

/* Writes the readable form of `mangled`, or `mangled` itself where there is none, cut to size - 1
 * bytes with "..." at its end. Returns whether it was demangled.
 * Needs up to 720 KiB of stack: the demangler recurses (626 KiB measured for the worst of 30 shapes
 * and of what a fuzzer found). No allocation, no state. Names on which it would take much more
 * memory or time than on any real one stay as they are. */
bool ht_demangle(const char *mangled, char *ret_name, size_t size);

/* The short form of a name that is readable already, as compilers write it into debug information:
 * "f<int>" is "f". Cut in the same way. */
void ht_demangle_shorten(const char *full, char *ret_name, size_t size);

#endif
