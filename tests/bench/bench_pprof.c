/* bench_pprof.c: what writing a profile costs: time, memory beyond the sampler's tables, and the
 * size.
 *
 *     bench_pprof [FILE]
 *
 * Stacks are synthetic: 30 frames, drawn from as many pcs as real programs of that size have, all
 * in libc's code so that their names are looked up as well. They compress worse than real ones.
 * With FILE the last profile is left there; else all go to /dev/null. */
#include "report/pprof.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "report/mappings.h"
#include "sys/arena.h"
#include "sys/os.h"

#define DEPTH 30u

struct source {
    unsigned stacks, pcs;
    uintptr_t code, code_size;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Frames near the root are the same for many stacks: frame i of stack n depends on n / 3^(DEPTH -
 * i). */
static int each_sample(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context)
{
    const struct source *source = snapshot->source;
    int r = 0;
    for (unsigned n = 0; n < source->stacks && r == 0; n++) {
        uintptr_t pcs[DEPTH];
        uint64_t prefix = n;
        for (unsigned i = 0; i < DEPTH; i++) {
            uint64_t which = mix(prefix * DEPTH + i) % source->pcs;
            pcs[i] = source->code + mix(which) % source->code_size;
            prefix /= i % 2 == 0 ? 2 : 1;
        }
        struct ht_sample sample = {.pcs = pcs,
                                   .depth = DEPTH,
                                   .alloc_objects = 1 + (int64_t)(mix(n) % 1000),
                                   .alloc_bytes = 524288 + (int64_t)(mix(n) % 1000000),
                                   .inuse_objects = n % 3,
                                   .inuse_bytes = n % 3 * 524288,
                                   .block_bytes = 16 << n % 10};
        r = visit(context, &sample);
    }
    return r;
}

/* On a machine with other work this is the figure to compare. */
static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static double seconds(void)
{
    return (double)ht_os_steady_nanos() * 1e-9;
}

static void measure(struct source source, const char *path)
{
    struct ht_snapshot snapshot = {.time_nanos = ht_os_wall_nanos(),
                                   .interval_bytes = 524288,
                                   .each_sample = each_sample,
                                   .source = &source};
    struct ht_totals totals;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    double begin = seconds(), cpu = cpu_seconds();
    int r = ht_pprof_encode(&snapshot, fd, &totals);
    double took = seconds() - begin, took_cpu = cpu_seconds() - cpu;
    printf("%8u stacks, %6u pcs: %s%7.1f ms (CPU %7.1f), %5zu KiB of memory, %5.1f B a pc beyond "
           "1 MiB, file %ld KiB\n",
           source.stacks, source.pcs, r == 0 ? "" : "FAILED ", took * 1e3, took_cpu * 1e3,
           ht_arena_peak() / 1024, ((double)ht_arena_peak() - 1048576) / source.pcs,
           (long)lseek(fd, 0, SEEK_CUR) / 1024);
    close(fd);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/dev/null";
    struct ht_mappings mappings;
    if (ht_mappings_load(&mappings) < 0)
        return 1;
    const struct ht_mapping *libc = ht_mappings_find(&mappings, (uintptr_t)&lseek);
    if (libc == NULL)
        return 1;
    static const struct {
        unsigned stacks, pcs;
    } sizes[] = {{10000, 5000}, {100000, 20000}, {1000000, 50000}, {1000000, 500000}};
    for (size_t i = 0; i < HT_ARRAY_SIZE(sizes); i++) {
        struct source source = {.stacks = sizes[i].stacks,
                                .pcs = sizes[i].pcs,
                                .code = libc->start,
                                .code_size = libc->limit - libc->start};
        measure(source, path);
    }
    ht_mappings_free(&mappings);
    return 0;
}
