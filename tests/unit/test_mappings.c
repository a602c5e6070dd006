#include "report/mappings.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/auxv.h>

#include "sys/arena.h"
#include "sys/os.h"
#include "test.h"

static struct ht_mappings mappings;

static void load(void)
{
    CHECK_EQ(ht_mappings_load(&mappings), 0);
}

static const struct ht_mapping *mapping_of(const void *address)
{
    const struct ht_mapping *mapping = ht_mappings_find(&mappings, (uintptr_t)address);
    CHECK(mapping != NULL);
    CHECK((uintptr_t)address >= mapping->start && (uintptr_t)address < mapping->limit);
    return mapping;
}

TEST(mappings_main_program_is_first)
{
    char path[HT_PATH_MAX];
    load();
    CHECK(ht_os_read_link("/proc/self/exe", path, sizeof(path)) > 0);
    CHECK(mapping_of(&mapping_of) == &mappings.items[0]);
    CHECK_STR_EQ(mappings.items[0].path, path);
    ht_mappings_free(&mappings);
}

TEST(mappings_have_libraries_and_vdso)
{
    load();
    const struct ht_mapping *libc = mapping_of(dlsym(RTLD_DEFAULT, "argp_parse"));
    CHECK(libc->path[0] == '/' && strstr(libc->path, "/libc.so.6") != NULL);
    CHECK_EQ(libc->identity.build_id.size, 20);
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    if (vdso != 0) {
        const struct ht_mapping *mapping = mapping_of((void *)vdso);
        CHECK_STR_EQ(mapping->path, "[vdso]");
        CHECK(mapping->identity.build_id.size > 0);
    }
    CHECK(ht_mappings_find(&mappings, 0) == NULL);
    CHECK(ht_mappings_find(&mappings, 1) == NULL);
    CHECK(ht_mappings_find(&mappings, UINTPTR_MAX) == NULL);
    int on_stack = 0;
    CHECK(ht_mappings_find(&mappings, (uintptr_t)&on_stack) == NULL);
    ht_mappings_free(&mappings);
}

TEST(mappings_agree_with_the_kernel)
{
    load();
    size_t seen = 0;
    for (size_t i = 0; i < mappings.count; i++) {
        const struct ht_mapping *mapping = &mappings.items[i];
        CHECK(ht_mappings_find(&mappings, mapping->start) == mapping);
        CHECK(ht_mappings_find(&mappings, mapping->limit - 1) == mapping);
        CHECK(ht_mappings_find(&mappings, mapping->limit) != mapping);
        CHECK_EQ(mapping->start - mapping->bias, mapping->identity.segment_vaddr);
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[5000], rights[8], path[4096], real[4096];
        unsigned long start, end, offset;
        while (fgets(line, sizeof(line), maps) != NULL) {
            if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %4095s", &start, &end, rights, &offset,
                       path) != 5 ||
                rights[2] != 'x' || realpath(mapping->path, real) == NULL ||
                strcmp(path, real) != 0)
                continue;
            if (mapping->start < start || mapping->start >= end)
                continue;
            CHECK_EQ(mapping->start - start + offset, mapping->offset);
            CHECK(mapping->limit <= end);
            seen++;
        }
        fclose(maps);
    }
    CHECK(seen >= 3); /* this program, libc, the loader */
    for (size_t i = 1; i < mappings.count; i++)
        CHECK(mappings.items[mappings.by_start[i - 1]].limit <=
              mappings.items[mappings.by_start[i]].start);
    ht_mappings_free(&mappings);
}

TEST(mappings_outlive_a_library)
{
    void *library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    load();
    uintptr_t address = (uintptr_t)dlsym(library, "deflate");
    dlclose(library);
    const struct ht_mapping *mapping = mapping_of((void *)address);
    CHECK(strstr(mapping->path, "/libz.so.1") != NULL);
    ht_mappings_free(&mappings);
    load();
    CHECK(ht_mappings_find(&mappings, address) == NULL);
    ht_mappings_free(&mappings);
}

/* A relative name is made absolute although the directory has changed since. */
TEST(mappings_know_absolute_paths)
{
    Dl_info info;
    char before[4096], directory[4096], *slash;
    void *library = dlopen("libz.so.1", RTLD_NOW);
    if (library == NULL || dladdr(dlsym(library, "deflate"), &info) == 0)
        return;
    CHECK(getcwd(before, sizeof(before)) != NULL);
    CHECK(realpath(info.dli_fname, directory) != NULL);
    char copy[4096];
    snprintf(copy, sizeof(copy), "/tmp/heaptap-test-%d.so", getpid());
    CHECK(symlink(directory, copy) == 0);
    dlclose(library);
    slash = strrchr(copy, '/');
    *slash = 0;
    CHECK_EQ(chdir(copy), 0);
    char relative[4096];
    snprintf(relative, sizeof(relative), "./%s", slash + 1);
    library = dlopen(relative, RTLD_NOW);
    CHECK_EQ(unlink(slash + 1), 0);
    CHECK_EQ(chdir(before), 0);
    CHECK(library != NULL);
    load();
    CHECK_STR_EQ(mapping_of(dlsym(library, "deflate"))->path, directory);
    ht_mappings_free(&mappings);
    dlclose(library);
}

TEST(mappings_without_memory)
{
    size_t before = ht_arena_used();
    ht_arena_fail_from(1);
    CHECK_EQ(ht_mappings_load(&mappings), -ENOMEM);
    ht_arena_fail_from(0);
    CHECK_EQ(ht_arena_used(), before);
}
