/* realloc_race.c: two threads realloc blocks to and fro between sizes that make them move, so that
 * others take the address they leave the same instant. Nothing is held at the end. */
#include "truth.h"

#include <pthread.h>

#define ROUNDS 60000

NOINLINE static void *site_realloc(void *block, size_t size)
{
    block = realloc(block, size);
    STAY();
    return block;
}

NOINLINE static void *site_malloc(size_t size)
{
    void *block = malloc(size);
    STAY();
    return block;
}

static volatile size_t too_much = (size_t)PTRDIFF_MAX + 1;
static pthread_barrier_t together;
static struct truth reallocs, mallocs;
static void *handed[64]; /* from the takers to whoever comes next: freed by another thread */

static void *move(void *unused)
{
    struct truth truth = {0};
    void *block = NULL;
    pthread_barrier_wait(&together);
    for (int i = 0; i < ROUNDS; i++) {
        size_t size = i % 2 ? 40 : 2000;
        block = site_realloc(block, size);
        if (!block)
            die("no memory");
        truth_alloc(&truth, size);
        if (i % 16 == 15 && realloc(again(block), too_much))
            die("more than there is");
        if (i % 3 == 2) {
            free(block);
            block = NULL;
        }
    }
    free(block);
    __atomic_fetch_add(&reallocs.alloc_objects, truth.alloc_objects, __ATOMIC_RELAXED);
    __atomic_fetch_add(&reallocs.alloc_bytes, truth.alloc_bytes, __ATOMIC_RELAXED);
    return unused;
}

static void *take(void *unused)
{
    uint64_t bytes = 0;
    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t size = i % 2 ? 2000 : 40;
        void *block = site_malloc(size);
        bytes += size;
        free(__atomic_exchange_n(&handed[i % 64], block, __ATOMIC_ACQ_REL));
    }
    __atomic_fetch_add(&mallocs.alloc_objects, ROUNDS, __ATOMIC_RELAXED);
    __atomic_fetch_add(&mallocs.alloc_bytes, bytes, __ATOMIC_RELAXED);
    return unused;
}

int main(void)
{
    pthread_t threads[4];
    pthread_barrier_init(&together, NULL, 4);
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, i % 2 ? take : move, NULL) != 0)
            die("no thread");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 64; i++)
        free(handed[i]);
    truth_say("site_realloc", "leaf", &reallocs);
    truth_say("site_malloc", "leaf", &mallocs);
    return 0;
}
