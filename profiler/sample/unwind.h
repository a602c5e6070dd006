/* unwind.h: from a frame to its stack.
 *
 * libunwind teaches, we walk. The rule that leads from a frame to its caller depends on the pc
 * alone; it is learnt once in a process's life (unwind_learn.h, 3 to 5 us) and kept in a table that
 * all threads share (unwind_rules.h). A warm walk is a table look-up and two loads for each frame:
 * no lock, no system call.
 *
 * Nothing on the stack is trusted: every read stays in pages known to be readable, and the stack
 * pointer must grow from frame to frame. What cannot be followed ends the stack with
 * HT_PC_TRUNCATED. */
#ifndef HT_SAMPLE_UNWIND_H
#define HT_SAMPLE_UNWIND_H

#include "sys/arch.h"

/* Writes at most depth_max lookup addresses, leaf first, and one more, HT_PC_TRUNCATED, if the
 * stack was cut; `pcs` has room for depth_max + 1. Returns how many. Before ht_unwind_start() it
 * knows the first frame only. Context: sample. Takes the learn lock for a pc never seen before;
 * needs less than 1 KiB of stack. */
unsigned ht_unwind_walk(const struct ht_frame *from, uintptr_t *pcs, unsigned depth_max);

/* Loads the teacher; false, with a reason, when there is none: stacks then have one frame. Context:
 * once, while the program starts; calls the loader. */
bool ht_unwind_start(const char **ret_reason);

/* From now on each walk is compared with libgcc's; for developers. False when libgcc cannot be
 * loaded. */
bool ht_unwind_check_start(void);

struct ht_unwind_check {
    uint64_t compared, mismatches;
    uint64_t memos;   /* of `compared`: those that a memo (memo.h) was compared with as well */
    uint64_t shorter; /* libgcc gave up before we did */
};

struct ht_unwind_check ht_unwind_check_result(void);

#endif
