/* scratch.h: buffers for stacks, because the program's own stack may be small.
 *
 * 64 of them for all threads, made at first use; a thread usually finds its last one again,
 * warm. */
#ifndef HT_SAMPLE_SCRATCH_H
#define HT_SAMPLE_SCRATCH_H

#include "sample/tree.h"

struct ht_scratch {
    uintptr_t *pcs;      /* leaf first: depth_max + 1 of them, with the one that says it was cut */
    struct ht_path path; /* as many frames */
    uint32_t taken;
};

/* NULL when all are taken or no memory is left. `depth_max` is the same always. Context: sample. */
struct ht_scratch *ht_scratch_take(unsigned depth_max);
void ht_scratch_give(struct ht_scratch *scratch);

/* In the child of a fork: those of threads that are no more are free again. */
void ht_scratch_fork_child(void);

#endif
