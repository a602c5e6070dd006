/* loader.c: what programs do with the loader.
 *
 *     loader open local|global LIBHEAPTAP   opens libheaptap itself, when the program has long allocated
 *     loader deep LIBRARY                   a library with a malloc of its own (own_malloc.c), RTLD_DEEPBIND
 *     loader deep-plain LIBRARY             one without (plugin.c), RTLD_DEEPBIND
 *     loader loops A.so B.so ROUNDS         four threads open, call and close libraries that lie at one
 * address */
#include "truth.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    return block;
}

static void allocate(void)
{
    for (size_t i = 1; i <= 1000; i++)
        free(realloc(site(i), i * 2));
}

static void *must_find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        die("%s", dlerror());
    return symbol;
}

static void run_open(const char *how, const char *path)
{
    void *before = site(1000);
    allocate();
    void *library =
        dlopen(path, RTLD_NOW | (strcmp(how, "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL));
    if (library == NULL)
        say("not opened\n");
    allocate();
    free(realloc(before, 2000));
    if (library != NULL) {
        int (*snapshot)(const char *);
        void *symbol = must_find(library, "heaptap_snapshot");
        memcpy(&snapshot, &symbol, sizeof(symbol));
        allocate();
        if (snapshot("/nonexistent/x") == -EEXIST)
            say("another copy is in front\n");
        say("closed: %d\n", dlclose(library));
    }
    allocate();
}

static void run_deep(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == NULL)
        die("%s", dlerror());
    long (*work)(void);
    void *symbol = must_find(library, "own_work");
    memcpy(&work, &symbol, sizeof(symbol));
    allocate();
    for (int i = 0; i < 3; i++)
        say("balance %ld\n", work());
    allocate();
    say("closed: %d\n", dlclose(library));
}

/* A block of the library's malloc goes to our free and back. */
static void run_deep_plain(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == NULL)
        die("%s", dlerror());
    void *(*run)(size_t);
    void *symbol = must_find(library, "plugin_run");
    memcpy(&run, &symbol, sizeof(symbol));
    for (size_t i = 1; i <= 1000; i++) {
        free(run(i));
        free(realloc(run(i), i * 3));
        free(site(i));
    }
    say("closed: %d\n", dlclose(library));
}

static char **libraries;
static unsigned rounds;

static void *open_and_close(void *argument)
{
    for (unsigned i = 0; i < rounds; i++) {
        unsigned which = (unsigned)((uintptr_t)argument + i) % 2;
        void *library = dlopen(libraries[which], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            die("%s", dlerror());
        void *(*run)(size_t);
        void *symbol = must_find(library, "plugin_run");
        memcpy(&run, &symbol, sizeof(symbol));
        for (size_t j = 1; j <= 10; j++)
            free(run(j * 10));
        if (dlclose(library) != 0)
            die("%s", dlerror());
    }
    return NULL;
}

static void run_loops(char **paths, unsigned count)
{
    pthread_t threads[4];
    libraries = paths;
    rounds = count;
    for (uintptr_t i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, open_and_close, (void *)i) != 0)
            die("no thread");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("done\n");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: loader open|deep|deep-plain|loops ...");
    if (strcmp(argv[1], "open") == 0)
        run_open(argv[2], argv[3]);
    else if (strcmp(argv[1], "deep") == 0)
        run_deep(argv[2]);
    else if (strcmp(argv[1], "deep-plain") == 0)
        run_deep_plain(argv[2]);
    else
        run_loops(argv + 2, (unsigned)strtoul(argv[4], NULL, 10));
    say("end\n");
    return 0;
}
