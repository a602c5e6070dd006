/* dlclose.c: `dlclose A.so B.so ROUNDS` loads one library, lets it allocate, closes it, loads the
 * other one at the same address, and so on. With after_dlclose.c, the second comes and goes before
 * the first one's dlclose() has returned. */
#include "truth.h"

#include <dlfcn.h>

static struct truth truth[2];
static const char *paths[2];
static void *first_address;
static unsigned same_address;

NOINLINE static void *site_calls_plugin(void *(*run)(size_t), size_t size)
{
    void *block = run(size);
    STAY();
    return block;
}

static void round_of(unsigned index)
{
    void *library = dlopen(paths[index], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die("%s", dlerror());
    void *(*run)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_run");
    if (!run)
        die("%s", dlerror());
    if (!first_address)
        first_address = (void *)run;
    same_address += (void *)run == first_address;
    for (int i = 0; i < 10; i++) {
        size_t size = index ? 2000 : 1000;
        void *block = site_calls_plugin(run, size);
        truth_alloc(&truth[index], size);
        if (i % 2) {
            free(block);
            truth_free(&truth[index], size);
        }
    }
    if (dlclose(library) != 0)
        die("%s", dlerror());
}

static void second_round(void)
{
    round_of(1);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        die("usage: dlclose A.so B.so ROUNDS");
    paths[0] = argv[1];
    paths[1] = argv[2];
    void (**after_dlclose)(void) = dlsym(RTLD_DEFAULT, "after_dlclose");
    unsigned rounds = (unsigned)strtoul(argv[3], NULL, 10);
    for (unsigned i = 0; i < rounds; i++) {
        if (after_dlclose != NULL)
            *after_dlclose = second_round;
        round_of(0);
        if (after_dlclose == NULL)
            round_of(1);
    }
    say("same_address %u of %u\n", same_address, 2 * rounds);
    truth_say("plugin_a_site", "leaf", &truth[0]);
    truth_say("plugin_b_site", "leaf", &truth[1]);
    return 0;
}
