/* frames_shared.c: in the shared library alone, where all code is ours (frames.h). */
#include "sample/frames.h"

#include "sys/poison.h"

extern HT_HIDDEN const char etext[]; /* the linker's */

const char *const ht_frames_end = etext;
