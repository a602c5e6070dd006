/* after_dlclose.c: preloaded behind heaptap, runs something of the program's between the C
 * library's dlclose() and the end of heaptap's: what another thread might do there. */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

void (*after_dlclose)(void);

int dlclose(void *library)
{
    int (*next)(void *);
    void *symbol = dlsym(RTLD_NEXT, "dlclose");
    memcpy(&next, &symbol, sizeof(next));
    int r = next(library);
    void (*now)(void) = after_dlclose;
    after_dlclose = NULL;
    if (now != NULL)
        now();
    return r;
}
