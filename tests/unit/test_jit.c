#include "report/jit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sys/arena.h"
#include "test.h"

/* Memory for code, and a map or a dump that says what is there. */
enum { CODE_SIZE = 3 * 4096 };

static char *code;
static char map_path[64], dump_path[128];
static struct ht_mappings mappings;
static struct ht_locations locations;
static struct ht_jit jit;

static void begin(const uintptr_t *offsets, unsigned count)
{
    if (code == NULL) {
        code = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(code != MAP_FAILED);
        snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", getpid());
        CHECK_EQ(ht_mappings_load(&mappings), 0);
    }
    for (unsigned i = 0; i < count; i++)
        CHECK(ht_locations_add(&locations, (uintptr_t)code + offsets[i]) != 0);
    CHECK_EQ(ht_locations_sort(&locations), 0);
}

static void end(void)
{
    unlink(map_path);
    ht_locations_free(&locations);
}

static void write_map(const char *text)
{
    int fd = open(map_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* The name for an offset, or NULL. */
static const char *name_at(uintptr_t offset)
{
    static char name[256];
    struct ht_jit_want want = {.pc = (uintptr_t)code + offset};
    ht_jit_resolve(&jit, &want, 1);
    return ht_jit_name(&jit, &want, name, sizeof(name)) > 0 ? name : NULL;
}

static void open_and_close(bool has_files)
{
    ht_jit_open(&jit, &locations, &mappings);
    CHECK_EQ(jit.has_files, has_files);
    ht_jit_close(&jit);
}

TEST(jit_without_files)
{
    size_t before = ht_arena_used();
    static const uintptr_t offsets[] = {100, 5000};
    begin(offsets, 2);
    ht_jit_open(&jit, &locations, &mappings);
    CHECK(!jit.has_files);
    CHECK_EQ(jit.region_count, 0);
    CHECK_EQ(ht_jit_region_of(&jit, (uintptr_t)code), 0);
    CHECK(name_at(100) == NULL);
    ht_jit_close(&jit);
    end();
    CHECK_EQ(ht_arena_used(), before + mappings.memory_size / 4096 * 4096 +
                                  (mappings.memory_size % 4096 != 0) * 4096);
}

TEST(jit_map)
{
    static const uintptr_t offsets[] = {0x10, 0x40, 0x110, 0x210, 0x310, 0x410};
    char text[1024];
    begin(offsets, HT_ARRAY_SIZE(offsets));
    uintptr_t at = (uintptr_t)code;
    snprintf(text, sizeof(text),
             "%lx 80 LazyCompile:*foo /srv/x.js:12:3\n"
             "0x%lX 0x20 inner\n"
             "nonsense\n"
             "%lx 20 old\n"
             "%lx 20 _ZN3foo3barEv\n"
             "%lx 0 nothing\n"
             "%lx 20 \n"
             "%lx 20 being writt",
             at, at + 0x30, at + 0x100, at + 0x100, at + 0x200, at + 0x300, at + 0x400);
    write_map(text);
    ht_jit_open(&jit, &locations, &mappings);
    CHECK(jit.has_files && jit.region_count == 1);
    CHECK_EQ(ht_jit_region_of(&jit, at), 1);
    CHECK_EQ(ht_jit_region_of(&jit, at + CODE_SIZE - 1), 1);
    CHECK_EQ(ht_jit_region_of(&jit, at + CODE_SIZE), 0);
    CHECK_EQ(ht_jit_region_of(&jit, at - 1), 0);
    CHECK_STR_EQ(name_at(0), "LazyCompile:*foo /srv/x.js:12:3");
    CHECK_STR_EQ(name_at(0x2f), "LazyCompile:*foo /srv/x.js:12:3");
    CHECK_STR_EQ(name_at(0x30), "inner");
    CHECK_STR_EQ(name_at(0x50), "LazyCompile:*foo /srv/x.js:12:3");
    CHECK(name_at(0x80) == NULL);
    CHECK_STR_EQ(name_at(0x110), "_ZN3foo3barEv");
    CHECK(name_at(0x210) == NULL && name_at(0x310) == NULL && name_at(0x410) == NULL);
    /* Written anew between the look-up and the reading of the name. */
    struct ht_jit_want want = {.pc = at + 0x10};
    char name[64];
    ht_jit_resolve(&jit, &want, 1);
    write_map("1 2 other\n");
    CHECK(ht_jit_name(&jit, &want, name, sizeof(name)) < 0);
    ht_jit_close(&jit);
    end();
}

/* None of these may keep us waiting, or be believed. */
TEST(jit_map_of_others)
{
    static const uintptr_t offsets[] = {0x10};
    begin(offsets, 1);
    CHECK_EQ(mkfifo(map_path, 0600), 0);
    open_and_close(false);
    unlink(map_path);
    CHECK_EQ(mkdir(map_path, 0700), 0);
    open_and_close(false);
    rmdir(map_path);
    CHECK_EQ(symlink("/dev/zero", map_path), 0);
    open_and_close(false);
    unlink(map_path);
    write_map("1 2 x\n");
    if (geteuid() == 0) {
        CHECK_EQ(chown(map_path, 12345, 12345), 0);
        open_and_close(false);
        CHECK_EQ(chown(map_path, 0, 0), 0);
    }
    open_and_close(true);
    end();
}

TEST(jit_is_not_looked_for_without_need)
{
    CHECK(ht_locations_add(&locations, 1) != 0); /* [truncated] */
    begin(NULL, 0);
    write_map("1 2 x\n");
    open_and_close(false);
    end();
}

/* ---- jitdump ---- */

struct writer {
    char bytes[4096];
    size_t used;
};

static void put(struct writer *writer, uint64_t value, size_t size)
{
    memcpy(writer->bytes + writer->used, &value, size);
    writer->used += size;
}

static void put_header(struct writer *writer)
{
    static const uint32_t words[] = {0x4A695444, 1, 40, 62, 0, 1, 0, 0, 0, 0};
    memcpy(writer->bytes, words, sizeof(words));
    writer->used = sizeof(words);
}

static void put_start(struct writer *writer, uint32_t id, size_t size)
{
    put(writer, id, 4);
    put(writer, size, 4);
    put(writer, 0, 8);
}

static void put_load(struct writer *writer, uint64_t address, uint64_t size, uint64_t index,
                     const char *name)
{
    put_start(writer, 0, 56 + strlen(name) + 1 + 3);
    put(writer, 0, 8);
    put(writer, address, 8);
    put(writer, address, 8);
    put(writer, size, 8);
    put(writer, index, 8);
    memcpy(writer->bytes + writer->used, name, strlen(name) + 1);
    writer->used += strlen(name) + 1 + 3;
}

static void put_move(struct writer *writer, uint64_t from, uint64_t to, uint64_t size,
                     uint64_t index)
{
    put_start(writer, 1, 64);
    put(writer, 0, 8);
    put(writer, to, 8);
    put(writer, from, 8);
    put(writer, to, 8);
    put(writer, size, 8);
    put(writer, index, 8);
}

TEST(jit_dump)
{
    static const uintptr_t offsets[] = {0x10, 0x110, 0x210, 0x310};
    begin(offsets, HT_ARRAY_SIZE(offsets));
    uintptr_t at = (uintptr_t)code;
    static struct writer writer;
    put_header(&writer);
    put_load(&writer, at, 0x40, 1, "first");
    put_start(&writer, 2, 16 + 8); /* of another kind: it is skipped */
    put(&writer, 0, 8);
    put_load(&writer, at + 0x100, 0x40, 2, "old");
    put_load(&writer, at + 0x100, 0x40, 3, "new");
    put_load(&writer, at + 0x900, 0x40, 4, "moved");
    put_move(&writer, at + 0x900, at + 0x200, 0x40, 4);
    put_load(&writer, at + 0x300, 0x40, 5, "cut");
    snprintf(dump_path, sizeof(dump_path), "/tmp/jit-%d.dump", getpid());
    int fd = open(dump_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_EQ(write(fd, writer.bytes, writer.used - 8), writer.used - 8);
    char text[64];
    snprintf(text, sizeof(text), "%lx 1000 of the map\n", at);
    write_map(text);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    CHECK(mapped != MAP_FAILED);
    ht_jit_open(&jit, &locations, &mappings);
    CHECK(jit.has_files && jit.files[HT_JIT_DUMP].size > 0);
    CHECK_STR_EQ(name_at(0), "first");
    CHECK_STR_EQ(name_at(0x3f), "first");
    CHECK_STR_EQ(name_at(0x40), "of the map");
    CHECK_STR_EQ(name_at(0x110), "new");
    CHECK_STR_EQ(name_at(0x210), "moved");
    ht_jit_close(&jit);
    munmap(mapped, 4096);
    open_and_close(true); /* the map */
    unlink(dump_path);
    close(fd);
    end();
}

/* Code may be gone when the profile is written: its pages stand for it. */
TEST(jit_memory_that_is_gone)
{
    char *gone = mmap(NULL, 4 * 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(gone != MAP_FAILED);
    munmap(gone, 4 * 4096);
    static const uintptr_t offsets[] = {0x10};
    for (unsigned i = 0; i < 4; i++)
        CHECK(i == 2 || ht_locations_add(&locations, (uintptr_t)gone + i * 4096 + 5) != 0);
    begin(offsets, 1);
    write_map("1 2 x\n");
    ht_jit_open(&jit, &locations, &mappings);
    CHECK_EQ(jit.region_count, 3);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(ht_jit_region_of(&jit, (uintptr_t)gone + i * 4096) != 0, i != 2);
    CHECK(ht_jit_region_of(&jit, (uintptr_t)code) != 0);
    for (uint32_t i = 1; i < jit.region_count; i++)
        CHECK(jit.regions[i - 1].limit <= jit.regions[i].start);
    ht_jit_close(&jit);
    end();
}

TEST(jit_without_memory)
{
    static const uintptr_t offsets[] = {0x10};
    char text[64];
    begin(offsets, 1);
    snprintf(text, sizeof(text), "%lx 1000 name\n", (uintptr_t)code);
    write_map(text);
    ht_arena_fail_from(1);
    ht_jit_open(&jit, &locations, &mappings);
    CHECK_EQ(jit.region_count, 0);
    CHECK_STR_EQ(name_at(0x10), "name");
    ht_jit_close(&jit);
    ht_arena_fail_from(0);
    end();
}
