/* dump.c: preloaded beside a profiler, has it write a profile when the program ends, and says how
 * long that took.
 *
 * BENCH_DUMP names the profile; BENCH_DUMP.seconds gets a line "WALL CPU", in seconds, CPU that of
 * the whole process. Asks whoever is there: heaptap, jemalloc or gperftools. Writes no line where
 * none is, or where it failed; of gperftools, which reports nothing, the reader has to look for
 * the profile. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool dump(const char *path)
{
    int (*heaptap)(const char *) = (int (*)(const char *))dlsym(RTLD_DEFAULT, "heaptap_snapshot");
    if (heaptap != NULL)
        return heaptap(path) == 0;
    void (*gperftools)(const char *) =
        (void (*)(const char *))dlsym(RTLD_DEFAULT, "HeapProfilerDump");
    if (gperftools != NULL) {
        gperftools("at the end"); /* the name is HEAPPROFILE's, this is the reason */
        return true;
    }
    /* Last, because redis-server has a jemalloc of its own below another that is preloaded. */
    int (*control)(const char *, void *, size_t *, void *, size_t) =
        (int (*)(const char *, void *, size_t *, void *, size_t))dlsym(RTLD_DEFAULT, "mallctl");
    return control != NULL && control("prof.dump", NULL, NULL, &path, sizeof path) == 0;
}

__attribute__((destructor)) static void dump_at_end(void)
{
    const char *path = getenv("BENCH_DUMP");
    if (path == NULL)
        return;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    bool done = dump(path);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    char name[4096];
    snprintf(name, sizeof name, "%s.seconds", path);
    FILE *file = done ? fopen(name, "w") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%.6f %.6f\n", wall, cpu);
    fclose(file);
}
