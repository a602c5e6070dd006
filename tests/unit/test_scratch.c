#include "test.h"

#include "sample/scratch.h"
#include "sys/arena.h"

#define DEPTH 10
#define MANY  64

TEST(scratch_gives_each_once)
{
    struct ht_scratch *taken[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        taken[i] = ht_scratch_take(DEPTH);
        CHECK(taken[i] != NULL);
        for (unsigned j = 0; j < i; j++)
            CHECK(taken[i] != taken[j] && taken[i]->pcs != taken[j]->pcs);
        memset(taken[i]->pcs, 0xff, (DEPTH + 1) * sizeof(*taken[i]->pcs));
        memset(taken[i]->path.frames, 0xff, (DEPTH + 1) * sizeof(*taken[i]->path.frames));
    }
    CHECK(ht_scratch_take(DEPTH) == NULL);
    ht_scratch_give(taken[7]);
    CHECK(ht_scratch_take(DEPTH) == taken[7]);
    ht_scratch_fork_child();
    for (unsigned i = 0; i < MANY; i++)
        CHECK(ht_scratch_take(DEPTH) != NULL);
    ht_scratch_fork_child();
}

TEST(scratch_is_the_same_again)
{
    struct ht_scratch *first = ht_scratch_take(DEPTH);
    ht_scratch_give(first);
    CHECK(ht_scratch_take(DEPTH) == first);
    ht_scratch_give(first);
}
