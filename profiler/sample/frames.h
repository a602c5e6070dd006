/* frames.h: how a stack is written down.
 *
 * A stack is an array of lookup addresses, leaf first: the return address - 1 of a frame that called the next
 * one, or the pc itself of a frame that a signal interrupted. Addresses below HT_PC_SPECIAL_END are no code;
 * they stand for a frame with a name of ours. */
#ifndef HT_SAMPLE_FRAMES_H
#define HT_SAMPLE_FRAMES_H

#include "sys/compiler.h"

enum {
    HT_PC_TRUNCATED =
        1, /* "[truncated]": the walk ended here; the frames nearer the root are missing */
    HT_PC_OVERFLOW = 2, /* "[heaptap: overflow]": the only frame of samples that found no memory */
    HT_PC_SPECIAL_END = 16,
};

/* Code of ours that may be on the stack while the program's code runs (HT_IN_STACKS); its frames are left out. The
 * linker makes the bounds; unit tests, without hooks, have none. */
extern HT_HIDDEN const char __start_heaptap_frames[] __attribute__((weak));
extern HT_HIDDEN const char __stop_heaptap_frames[] __attribute__((weak));

static inline bool ht_frames_are_ours(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_heaptap_frames && pc < (uintptr_t)__stop_heaptap_frames;
}

/* A depth that HEAPTAP_DEPTH may ask for. */
#define HT_DEPTH_MAX 1024u

#endif
