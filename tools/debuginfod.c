#include "debuginfod.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Opened when it is wanted: it brings curl, TLS and thirty libraries more. */
#define LIBRARY "libdebuginfod.so.1"

struct client;

static struct client *(*begin)(void);
static int (*find_debuginfo)(struct client *, const unsigned char *, int, char **);
static void (*end)(struct client *);

static bool load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    *(void **)&begin = dlsym(library, "debuginfod_begin");
    *(void **)&find_debuginfo = dlsym(library, "debuginfod_find_debuginfo");
    *(void **)&end = dlsym(library, "debuginfod_end");
    return begin && find_debuginfo && end;
}

const char *debuginfod_obstacle(void)
{
    const char *servers = getenv("DEBUGINFOD_URLS");
    if (!servers || !*servers)
        return "DEBUGINFOD_URLS names no server";
    return load() ? NULL : LIBRARY " is not installed";
}

int debuginfod_find(const uint8_t *build_id, size_t size, char **ret_path)
{
    struct client *client = !begin && !load() ? NULL : begin();
    if (!client)
        return -1;
    *ret_path = NULL;
    int fd = find_debuginfo(client, build_id, (int)size, ret_path);
    end(client);
    return fd < 0 ? -1 : fd;
}
