#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE ((size_t)256 << 10)
#define ALIGNMENT  8

struct pool_chunk {
    struct pool_chunk *next;
    uint64_t memory[];
};

/* A chunk of its own for what is large; the rest of the chunk before is not used any more. */
static bool add_chunk(struct pool *pool, size_t size)
{
    size_t chunk_size = size > CHUNK_SIZE / 4 ? size : CHUNK_SIZE;
    if (chunk_size > pool->limit - pool->used)
        return false;
    struct pool_chunk *chunk = malloc(sizeof(*chunk) + chunk_size);
    if (!chunk)
        return false;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->free = (uint8_t *)chunk->memory;
    pool->end = pool->free + chunk_size;
    pool->used += chunk_size;
    return true;
}

void *pool_take(struct pool *pool, size_t size)
{
    if (size == 0)
        size = 1;
    if (size > pool->limit) {
        pool->is_exhausted = true;
        return NULL;
    }
    size = ht_round_up(size, ALIGNMENT);
    if (size > (size_t)(pool->end - pool->free) && !add_chunk(pool, size)) {
        pool->is_exhausted = true;
        return NULL;
    }
    void *memory = pool->free;
    pool->free += size;
    return memory;
}

void *pool_take_array(struct pool *pool, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        pool->is_exhausted = true;
        return NULL;
    }
    void *memory = pool_take(pool, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

char *pool_copy_text(struct pool *pool, const char *text, size_t size)
{
    char *copy = pool_take(pool, size + 1);
    if (copy) {
        memcpy(copy, text, size);
        copy[size] = 0;
    }
    return copy;
}

void pool_free(struct pool *pool)
{
    while (pool->chunks) {
        struct pool_chunk *next = pool->chunks->next;
        free(pool->chunks);
        pool->chunks = next;
    }
    *pool = (struct pool){.limit = pool->limit};
}
