/* threads.c: many short threads, and allocations at the very end of each, when its own thread-local
 * data is being torn down. Everything that is held is freed by main, so by another thread. */
#include "truth.h"

#include <pthread.h>

#define ROUNDS 50
#define WIDTH  8
#define BLOCKS 20

static pthread_key_t key;
static void *blocks[WIDTH][BLOCKS];
static void *last[WIDTH];
static struct truth churn, destructor;

NOINLINE static void *site_churn(size_t size)
{
    void *block = malloc(size);
    keep(block);
    return block;
}

NOINLINE static void *site_in_destructor(void)
{
    void *block = malloc(77);
    keep(block);
    return block;
}

/* Runs PTHREAD_DESTRUCTOR_ITERATIONS times, so also behind the destructors of everybody else. */
static void at_thread_end(void *value)
{
    static __thread int round;
    size_t index = (size_t)value - 1;
    free(last[index]);
    last[index] = site_in_destructor();
    if (++round < 4)
        pthread_setspecific(key, value);
}

static void *work(void *argument)
{
    size_t index = (size_t)argument;
    for (int i = 0; i < BLOCKS; i++)
        blocks[index][i] = site_churn(64 + (size_t)i);
    pthread_setspecific(key, (void *)(index + 1));
    return NULL;
}

int main(void)
{
    pthread_key_create(&key, at_thread_end);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[WIDTH];
        for (size_t i = 0; i < WIDTH; i++)
            if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
                die("no thread");
        for (size_t i = 0; i < WIDTH; i++) {
            pthread_join(threads[i], NULL);
            for (size_t j = 0; j < BLOCKS; j++) {
                truth_alloc(&churn, 64 + j);
                if (round % 2) {
                    free(blocks[i][j]);
                    truth_free(&churn, 64 + j);
                }
            }
            destructor.alloc_objects += 4;
            destructor.alloc_bytes += 4 * 77;
        }
    }
    destructor.inuse_objects = WIDTH;
    destructor.inuse_bytes = WIDTH * 77;
    truth_say("site_churn", "leaf", &churn);
    truth_say("site_in_destructor", "leaf", &destructor);
    return 0;
}
