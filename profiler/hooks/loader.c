/* loader.c: dlclose, so that what was learnt of a library goes with it. dlopen is not wrapped: it
 * searches by the RUNPATH of its caller, which would be us. */
#include <dlfcn.h>

#include "hooks/next.h"
#include "sample/record.h"

HT_EXPORT int dlclose(void *handle);

static int first_dlclose(void *handle);
static int (*next_dlclose)(void *) = first_dlclose;

HT_IN_STACKS static int first_dlclose(void *handle)
{
    ht_next_find(&next_dlclose, "dlclose");
    HT_ASSERT(next_dlclose != first_dlclose);
    return next_dlclose(handle);
}

HT_IN_STACKS int dlclose(void *handle)
{
    ht_record_unload_begin();
    int r = next_dlclose(handle);
    ht_record_unload_end();
    return r;
}
