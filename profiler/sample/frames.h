/* frames.h: how a stack is written down.
 *
 * A stack is an array of lookup addresses, leaf first: the return address - 1 of a frame that
 * called the next one, or the pc itself of a frame that a signal interrupted. Addresses below
 * HT_PC_SPECIAL_END are no code; they stand for a frame with a name of ours. */
#ifndef HT_SAMPLE_FRAMES_H
#define HT_SAMPLE_FRAMES_H

#include "sys/compiler.h"

enum {
    HT_PC_TRUNCATED =
        1, /* "[truncated]": the walk ended here; the frames nearer the root are missing */
    HT_PC_OVERFLOW = 2, /* "[heaptap: overflow]": the only frame of samples that found no memory */
    HT_PC_SPECIAL_END = 16,
};

/* Our own frames are left out of all stacks. Some of our code is on the stack while the program's
 * runs (HT_IN_STACKS); the linker makes the bounds, and unit tests, without hooks, have none. The
 * rest is there only when a signal handler of the program interrupted it and allocates: in the
 * shared library, all from __ehdr_start to ht_frames_end. What has the archive in it shows such
 * frames; there ht_frames_end is NULL. */
extern HT_HIDDEN const char __start_heaptap_frames[] __attribute__((weak));
extern HT_HIDDEN const char __stop_heaptap_frames[] __attribute__((weak));
extern HT_HIDDEN const char __ehdr_start[] __attribute__((weak));
extern HT_HIDDEN const char *const ht_frames_end;

static inline bool ht_frames_are_ours(uintptr_t pc)
{
    return (pc >= (uintptr_t)__start_heaptap_frames && pc < (uintptr_t)__stop_heaptap_frames) ||
           (pc >= (uintptr_t)__ehdr_start && pc < (uintptr_t)ht_frames_end);
}

/* A depth that HEAPTAP_DEPTH may ask for. */
#define HT_DEPTH_MAX 1024u

#endif
