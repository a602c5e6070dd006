/* module_script.c: does what its arguments say, one after the other:
 *
 *     load PATH   run SIZE   close      a plugin (plugin.c), which allocates in `run`
 *     unlink PATH   rename FROM TO      files
 *     snapshot PATH                     a profile, by heaptap_snapshot()
 *     own SIZE                          an allocation of the program's own, in a static function
 *     vdso COUNT                        allocations in a handler that interrupts clock_gettime() */
#include "truth.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

static void *library;
static volatile unsigned handled;

NOINLINE static void site_own(size_t size)
{
    keep(malloc(size));
    STAY();
}

NOINLINE static void site_runs_plugin(size_t size)
{
    void *(*run)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_run");
    if (!run)
        die("%s", dlerror());
    keep(run(size));
    STAY();
}

static void on_clock(int number)
{
    (void)number;
    site_own(333);
    handled++;
}

NOINLINE static void site_reads_clock(unsigned count)
{
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    struct timespec now;
    signal(SIGPROF, on_clock);
    setitimer(ITIMER_PROF, &often, NULL);
    while (handled < count)
        clock_gettime(CLOCK_MONOTONIC, &now);
    setitimer(ITIMER_PROF, &never, NULL);
}

static void snapshot(const char *path)
{
    int (*write_profile)(const char *) =
        (int (*)(const char *))dlsym(RTLD_DEFAULT, "heaptap_snapshot");
    int r = write_profile ? write_profile(path) : -1;
    if (r != 0)
        die("snapshot: %d", r);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *what = argv[i];
        const char *first = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(what, "close") == 0) {
            if (dlclose(library) != 0)
                die("%s", dlerror());
            continue;
        }
        i++;
        if (strcmp(what, "load") == 0)
            library = dlopen(first, RTLD_NOW | RTLD_LOCAL);
        else if (strcmp(what, "run") == 0)
            site_runs_plugin(strtoul(first, NULL, 10));
        else if (strcmp(what, "own") == 0)
            site_own(strtoul(first, NULL, 10));
        else if (strcmp(what, "vdso") == 0)
            site_reads_clock((unsigned)strtoul(first, NULL, 10));
        else if (strcmp(what, "snapshot") == 0)
            snapshot(first);
        else if (strcmp(what, "unlink") == 0 && unlink(first) != 0)
            die("unlink %s", first);
        else if (strcmp(what, "rename") == 0 && rename(first, argv[++i]) != 0)
            die("rename %s", first);
        if (strcmp(what, "load") == 0 && !library)
            die("%s", dlerror());
    }
    return 0;
}
