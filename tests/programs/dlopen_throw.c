/* dlopen_throw.c: a C program that loads a C++ library, in which exceptions are thrown and
 * caught. */
#include "truth.h"

#include <dlfcn.h>
#include <pthread.h>

static int cleaned;

static void cleanup(void *unused)
{
    (void)unused;
    cleaned++;
}

/* Ends by forced unwinding, which libc has libgcc_s do. */
static void *cancelled(void *unused)
{
    (void)unused;
    pthread_cleanup_push(cleanup, NULL);
    for (;;) {
        free(malloc(100));
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

int main(int argc, char **argv)
{
    void *library = dlopen(argc > 1 ? argv[1] : "libthrowing.so", RTLD_NOW);
    if (!library)
        die("%s", dlerror());
    static const char *const functions[] = {"throw_and_catch",   "throw_deep",     "absurd_new",
                                            "absurd_array",      "absurd_nothrow", "absurd_aligned",
                                            "handler_is_called", "handler_frees",  "rethrow"};
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        int (*function)(void) = (int (*)(void))dlsym(library, functions[i]);
        if (!function)
            die("%s", dlerror());
        say("%s %d\n", functions[i], function());
    }
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, cancelled, NULL);
    usleep(10000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("cancelled %d cleaned %d\n", result == PTHREAD_CANCELED, cleaned);
    return 0;
}
