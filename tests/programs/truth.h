/* truth.h: what a test program says about itself: how much each of its sites allocated and how much
 * of it it still holds, as lines that tests/whole/harness.py reads:
 *
 *     site NAME leaf|through|leaf-only ALLOC_OBJECTS ALLOC_BYTES INUSE_OBJECTS INUSE_BYTES
 *
 * Sizes are those that the program asked for. "leaf" says that the site itself calls the allocator,
 * "through" that it does so through others (strdup, std::vector), "leaf-only" that what others
 * allocate below it is not in the numbers. Nothing here allocates from the heap: a profile holds
 * what the sites did and nothing else. */
#ifndef TRUTH_H
#define TRUTH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A function that keeps its name and its frame: neither inlined nor cloned (name.constprop.0). */
#if defined(__has_attribute) && __has_attribute(noipa)
#define NOINLINE __attribute__((noinline, noipa))
#else
#define NOINLINE __attribute__((noinline))
#endif

struct truth {
    uint64_t alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
};

/* printf without stdio, which would allocate its buffer. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    for (int done = 0; done < size;) {
        ssize_t n = write(STDOUT_FILENO, line + done, (size_t)(size - done));
        if (n <= 0)
            _exit(99);
        done += (int)n;
    }
}

__attribute__((format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    line[size++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)size) < 0)
        _exit(98);
    _exit(97);
}

/* A compiler may not see that a block is unused and leave its allocation out. */
static inline void keep(void *block)
{
    __asm__ volatile("" : : "r"(block) : "memory");
}

/* The same block, which the compiler knows nothing of. */
static inline void *again(void *block)
{
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

/* No tail call: the function that this stands in stays on the stack while it calls the
 * allocator. */
#define STAY() __asm__ volatile("" ::: "memory")

static inline void truth_alloc(struct truth *truth, size_t size)
{
    truth->alloc_objects++;
    truth->alloc_bytes += size;
    truth->inuse_objects++;
    truth->inuse_bytes += size;
}

/* Of a site that several threads, or a handler, are in: what it allocates, and no more. */
static inline void truth_count(struct truth *truth, size_t size)
{
    __atomic_fetch_add(&truth->alloc_objects, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&truth->alloc_bytes, size, __ATOMIC_RELAXED);
}

static inline void truth_free(struct truth *truth, size_t size)
{
    truth->inuse_objects--;
    truth->inuse_bytes -= size;
}

static inline void truth_say(const char *name, const char *how, const struct truth *truth)
{
    say("site %s %s %llu %llu %llu %llu\n", name, how, (unsigned long long)truth->alloc_objects,
        (unsigned long long)truth->alloc_bytes, (unsigned long long)truth->inuse_objects,
        (unsigned long long)truth->inuse_bytes);
}

/* Zeroed memory that is not the heap. */
static inline void *off_heap(size_t size)
{
    void *memory = mmap(NULL, size + 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap of %zu bytes failed", size);
    return memory;
}

#endif
