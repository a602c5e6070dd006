/* api.cc: api.c in C++: the header is C++ as well, and its functions are found. */
#include "api.c"
