/* deepbind.c: a program whose memory is all held by a library that it opens with RTLD_DEEPBIND,
 * which makes the library call the C library's malloc past everybody who is preloaded. Prints
 * `ready`, ends at the end of standard input.
 *     deepbind LIBRARY
 * With PLUGIN it is that library. */
#include <stdlib.h>
#include <string.h>

#ifdef PLUGIN

void hold(void);

void hold(void)
{
    for (int i = 0; i < 32; i++) {
        char *block = malloc(1 << 20);
        if (block != NULL)
            memset(block, 1, 1 << 20);
    }
}

#else

#include <dlfcn.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char byte;
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND) : NULL;
    void (*hold)(void) = NULL;
    if (library == NULL)
        return 1;
    *(void **)&hold = dlsym(library, "hold");
    hold();
    if (write(STDOUT_FILENO, "ready\n", 6) < 0)
        return 1;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 5;
}

#endif
