#include "sample/scratch.h"

#include "sample/hot.h"
#include "sys/arena.h"

#include "sys/poison.h"

#define SCRATCHES 64u

static struct ht_scratch scratches[SCRATCHES];

static bool make(struct ht_scratch *scratch, unsigned depth_max)
{
    size_t depth = depth_max + 1;
    char *memory = ht_arena_alloc(depth * (sizeof(*scratch->path.frames) + sizeof(*scratch->pcs)));
    if (memory == NULL)
        return false;
    scratch->path.frames = (struct ht_path_frame *)memory;
    scratch->pcs = (uintptr_t *)(scratch->path.frames + depth);
    return true;
}

struct ht_scratch *ht_scratch_take(unsigned depth_max)
{
    /* Each thread begins elsewhere. */
    unsigned first = (unsigned)((uintptr_t)&ht_thread >> 12);
    for (unsigned i = 0; i < SCRATCHES; i++) {
        struct ht_scratch *scratch = &scratches[(first + i) % SCRATCHES];
        if (__atomic_exchange_n(&scratch->taken, 1, __ATOMIC_ACQUIRE) != 0)
            continue;
        if (scratch->pcs != NULL || make(scratch, depth_max))
            return scratch;
        ht_scratch_give(scratch);
    }
    return NULL;
}

void ht_scratch_give(struct ht_scratch *scratch)
{
    __atomic_store_n(&scratch->taken, 0, __ATOMIC_RELEASE);
}

void ht_scratch_fork_child(void)
{
    for (unsigned i = 0; i < SCRATCHES; i++)
        __atomic_store_n(&scratches[i].taken, 0, __ATOMIC_RELAXED);
}
