/* bench_symbols.c: what names cost: of 10,000 addresses over 100 objects, when they are new and
 * when they are known.
 *
 *     bench_symbols OBJECT           copies it 100 times and loads the copies
 *     bench_symbols LIBRARY...       loads these; the addresses are spread evenly over them
 *
 * Time is that of the functions alone, memory what the arena had at most beyond what it had before.
 * For instructions: valgrind --tool=callgrind --toggle-collect=ht_functions_write bench_symbols ...
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report/functions.h"
#include "report/lexicon.h"
#include "sys/arena.h"
#include "sys/os.h"

enum { OBJECTS = 100, ADDRESSES = 10000 };

static char directory[] = "/tmp/heaptap-bench-XXXXXX";

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void copy(const char *from, const char *to)
{
    static char buffer[1 << 16];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    ssize_t got = -1;
    if (in < 0 || out < 0)
        die(from);
    while ((got = read(in, buffer, sizeof(buffer))) > 0)
        if (write(out, buffer, (size_t)got) != got)
            die(to);
    close(in);
    close(out);
}

static void load(const char *path)
{
    if (dlopen(path, RTLD_NOW | RTLD_LOCAL) == NULL)
        fprintf(stderr, "%s\n", dlerror());
}

static void load_copies(const char *object)
{
    if (mkdtemp(directory) == NULL)
        die(directory);
    for (int i = 0; i < OBJECTS; i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/libobject-%d.so", directory, i);
        copy(object, path);
        load(path);
    }
}

static void remove_copies(void)
{
    for (int i = 0; i < OBJECTS; i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/libobject-%d.so", directory, i);
        unlink(path);
    }
    rmdir(directory);
}

static uint64_t seed;

static uint64_t random_number(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return seed >> 20;
}

/* Of every mapping but the first, which is this program, and those of little code: the same
 * number. */
static unsigned add_locations(const struct ht_mappings *mappings, struct ht_locations *locations)
{
    unsigned used = 0;
    seed = 42; /* the same each time */
    for (size_t i = 1; i < mappings->count; i++)
        used += mappings->items[i].limit - mappings->items[i].start >= 65536;
    for (size_t i = 1; i < mappings->count && locations->count < ADDRESSES; i++) {
        const struct ht_mapping *mapping = &mappings->items[i];
        uintptr_t size = mapping->limit - mapping->start;
        uint32_t end = locations->count + (ADDRESSES + used - 1) / used;
        while (size >= 65536 && locations->count < end && locations->count < ADDRESSES)
            ht_locations_add(locations, mapping->start + random_number() % size);
    }
    return used;
}

static void measure(const char *what, const struct ht_mappings *mappings)
{
    struct ht_locations locations = {0};
    static struct ht_messages messages;
    struct ht_jit jit;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    unsigned used = add_locations(mappings, &locations);
    if (ht_gzip_open(&messages.gzip, fd) < 0 || ht_locations_sort(&locations) < 0)
        die("no memory");
    ht_messages_start(&messages);
    size_t before = ht_arena_used();
    int64_t began = ht_os_steady_nanos(), cpu = ht_os_thread_cpu_nanos();
    ht_jit_open(&jit, &locations, mappings);
    if (ht_functions_write(&locations, mappings, &jit, &messages) < 0)
        die("no memory");
    ht_jit_close(&jit);
    cpu = ht_os_thread_cpu_nanos() - cpu;
    printf(
        "%-5s %5u addresses of %3u objects: %6.1f ms (CPU %6.1f), %5zu KiB at most beyond the %zu "
        "before, %5zu kept\n",
        what, locations.count, used, (double)(ht_os_steady_nanos() - began) * 1e-6,
        (double)cpu * 1e-6, (ht_arena_peak() - before) / 1024, before / 1024,
        ht_lexicon_size() / 1024);
    ht_gzip_close(messages.gzip, true);
    close(fd);
    ht_locations_free(&locations);
}

int main(int argc, char **argv)
{
    struct ht_mappings mappings;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_symbols OBJECT | LIBRARY...\n");
        return 2;
    }
    if (argc == 2)
        load_copies(argv[1]);
    for (int i = 1; argc > 2 && i < argc; i++)
        load(argv[i]);
    if (ht_mappings_load(&mappings) < 0)
        return 1;
    measure("new", &mappings);
    measure("known", &mappings);
    if (argc == 2)
        remove_copies();
    ht_mappings_free(&mappings);
    return 0;
}
