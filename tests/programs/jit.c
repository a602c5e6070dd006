/* jit.c: `jit map|dump|both|none` makes functions at run time, each of which calls malloc, and writes
 * down what they are called, in the way of Linux perf.
 *
 *     first    is written down before it runs
 *     second   runs before it is written down
 *     third    is put where first was, after a profile: what first did keeps its name
 *     nothing  is not written down */
#include "truth.h"

#include <dlfcn.h>
#include <fcntl.h>

enum { SLOT = 256, SLOTS = 4 };

static unsigned char *code;
static int map_fd = -1, dump_fd = -1;
static struct truth truth[SLOTS];

/* push rbp; mov rbp, rsp; mov rax, malloc; call rax; pop rbp; ret */
static void make(unsigned slot)
{
    static const unsigned char before[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8};
    static const unsigned char after[] = {0xff, 0xd0, 0x5d, 0xc3};
    unsigned char *at = code + slot * SLOT;
    void *(*function)(size_t) = malloc;
    memcpy(at, before, sizeof(before));
    memcpy(at + sizeof(before), &function, sizeof(function));
    memcpy(at + sizeof(before) + sizeof(function), after, sizeof(after));
}

static void put(const void *data, size_t size)
{
    if (write(dump_fd, data, size) != (ssize_t)size)
        die("the dump cannot be written");
}

static void write_down(unsigned slot, const char *name)
{
    static uint64_t index;
    uint64_t at = (uintptr_t)(code + slot * SLOT);
    char line[128];
    if (map_fd >= 0) {
        int size = snprintf(line, sizeof(line), "%llx %x %s\n", (unsigned long long)at, SLOT, name);
        if (write(map_fd, line, (size_t)size) != size)
            die("the map cannot be written");
    }
    if (dump_fd >= 0) {
        uint32_t name_size = (uint32_t)strlen(name) + 1;
        uint32_t start[4] = {0, 56 + name_size + SLOT, 0, 0}, ids[2] = {0, 0};
        uint64_t load[4] = {at, at, SLOT, index++};
        put(start, sizeof(start));
        put(ids, sizeof(ids));
        put(load, sizeof(load));
        put(name, name_size);
        put((void *)at, SLOT);
    }
}

NOINLINE static void run(unsigned slot, unsigned who, size_t size)
{
    void *(*function)(size_t) = (void *(*)(size_t))(uintptr_t)(code + slot * SLOT);
    for (int i = 0; i < 10; i++) {
        keep(function(size));
        truth_alloc(&truth[who], size);
    }
    STAY();
}

static void snapshot(const char *path)
{
    int (*write_profile)(const char *) =
        (int (*)(const char *))dlsym(RTLD_DEFAULT, "heaptap_snapshot");
    if (write_profile && write_profile(path) != 0)
        die("no snapshot");
}

static void open_files(const char *how)
{
    static const uint32_t header[10] = {0x4A695444, 1, 40, 62};
    char path[64];
    if (strcmp(how, "map") == 0 || strcmp(how, "both") == 0) {
        snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
        map_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    }
    if (strcmp(how, "dump") == 0 || strcmp(how, "both") == 0) {
        snprintf(path, sizeof(path), "jit-%d.dump", getpid());
        dump_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        put(header, sizeof(header));
        if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, dump_fd, 0) == MAP_FAILED)
            die("the dump cannot be mapped");
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: jit map|dump|both|none SNAPSHOT");
    code = mmap(NULL, SLOT * SLOTS, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0);
    if (code == MAP_FAILED)
        die("no memory for code");
    open_files(argv[1]);
    for (unsigned slot = 0; slot < 3; slot++)
        make(slot);
    write_down(0, "Function:~first /srv/app.js:1:10");
    run(0, 0, 100);
    run(1, 1, 200);
    run(2, 2, 300);
    snapshot(argv[2]);
    write_down(0, "third");
    write_down(1, "_ZN3foo6secondEv");
    run(1, 1, 200);
    run(2, 2, 300);
    truth_say("first", "leaf", &truth[0]);
    truth_say("second", "leaf", &truth[1]);
    truth_say("nothing", "leaf", &truth[2]);
    snapshot(argv[2]);
    if (map_fd >= 0) {
        char path[64];
        snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
        unlink(path);
    }
    return 0;
}
