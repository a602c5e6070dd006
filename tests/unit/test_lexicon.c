#include "report/lexicon.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sys/arena.h"
#include "test.h"

static const struct ht_elf_identity with_id = {.build_id = {20, {1, 2, 3}}, .segment_size = 4096};
static uint64_t seed = 42;

static uint64_t random_number(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return seed >> 17;
}

TEST(lexicon_modules)
{
    struct ht_elf_identity other = with_id, bare = {.segment_size = 4096};
    uint32_t a = ht_lexicon_module("/a", &with_id), b = ht_lexicon_module("/b", &with_id);
    CHECK(a != 0 && b != 0 && a != b);
    CHECK_EQ(ht_lexicon_module("/a", &with_id), a);
    other.build_id.bytes[19] = 1;
    CHECK(ht_lexicon_module("/a", &other) != a);
    other = with_id;
    other.build_id.size = 19;
    CHECK(ht_lexicon_module("/a", &other) != a);
    other = with_id;
    other.segment_vaddr = 4096;
    CHECK(ht_lexicon_module("/a", &other) != a);
    CHECK(ht_lexicon_module("/a", &bare) != a);
    CHECK_EQ(ht_lexicon_module("/b", &with_id), b);
    CHECK(ht_lexicon_tried(a)->inode == 0 && ht_lexicon_tried(0) == NULL);
    ht_lexicon_tried(a)->inode = 7;
    CHECK(ht_lexicon_tried(a)->inode == 7 && ht_lexicon_tried(b)->inode == 0);
}

/* Nothing but its file tells which version of a library without a build id was loaded. */
TEST(lexicon_module_without_build_id)
{
    struct ht_elf_identity bare = {.segment_size = 4096};
    char path[] = "/tmp/heaptap-test-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "a", 1) == 1);
    uint32_t first = ht_lexicon_module(path, &bare);
    CHECK(first != 0);
    CHECK_EQ(ht_lexicon_module(path, &bare), first);
    CHECK_EQ(write(fd, "b", 1), 1);
    uint32_t second = ht_lexicon_module(path, &bare);
    CHECK(second != 0 && second != first);
    unlink(path);
    CHECK(ht_lexicon_module(path, &bare) != second);
    close(fd);
}

enum { MODULES = 5, ADDRESSES = 4000 };

/* Against an array, while both grow. */
TEST(lexicon_agrees_with_an_array)
{
    static uint32_t model[MODULES][ADDRESSES];
    uint32_t modules[MODULES];
    char path[] = "/model-0";
    for (unsigned m = 0; m < MODULES; m++) {
        path[7] = (char)('0' + m);
        modules[m] = ht_lexicon_module(path, &with_id);
    }
    for (int step = 0; step < 100000; step++) {
        unsigned m = (unsigned)(random_number() % MODULES);
        uint64_t address = random_number() % ADDRESSES;
        CHECK_EQ(ht_lexicon_find(modules[m], address * 3), model[m][address]);
        if (random_number() % 4 == 0) {
            model[m][address] = 1 + (uint32_t)(random_number() % 1000);
            ht_lexicon_set(modules[m], address * 3, model[m][address]);
        }
    }
    CHECK_EQ(ht_lexicon_find(0, 3), HT_LEXICON_UNKNOWN);
    /* What has no place in the table is not there, and no other. */
    ht_lexicon_set(modules[0], UINT64_C(1) << 48, 99);
    CHECK_EQ(ht_lexicon_find(modules[0], UINT64_C(1) << 48), HT_LEXICON_UNKNOWN);
    CHECK_EQ(ht_lexicon_find(modules[0] + 1, 0), model[1][0]);
    CHECK_EQ(ht_lexicon_function(modules[0], UINT64_MAX, "a", "a"), 0);
}

TEST(lexicon_functions)
{
    uint32_t module = ht_lexicon_module("/a", &with_id), other = ht_lexicon_module("/b", &with_id);
    uint32_t f = ht_lexicon_function(module, 64, "foo", "_Z3foov");
    CHECK(f != 0);
    CHECK_STR_EQ(ht_lexicon_name(f), "foo");
    CHECK_STR_EQ(ht_lexicon_system_name(f), "_Z3foov");
    CHECK_EQ(ht_lexicon_function(module, 64, "foo", "_Z3foov"), f);
    CHECK(ht_lexicon_function(module, 65, "foo", "_Z3foov") != f);
    CHECK(ht_lexicon_function(other, 64, "foo", "_Z3foov") != f);
    CHECK(ht_lexicon_function(module, 64, "foo", "_Z3fool") != f);
    uint32_t same = ht_lexicon_function(module, 128, "main", "main");
    CHECK_STR_EQ(ht_lexicon_system_name(same), "main");
    *ht_lexicon_number(f) = 5;
    CHECK_EQ(*ht_lexicon_number(f), 5);
    ht_lexicon_begin(0);
    CHECK_EQ(*ht_lexicon_number(f), 0);
}

/* The promise: 10,000 new addresses in 100 modules, each in a function of its own whose names take
 * 45 bytes, in 1 MiB, with what was needed while tables grew. */
TEST(lexicon_is_small)
{
    ht_lexicon_forget();
    CHECK_EQ(ht_lexicon_size(), 0);
    size_t before = ht_arena_used();
    ht_lexicon_begin(10000);
    for (unsigned i = 0; i < 10000; i++) {
        char path[64], name[64], system_name[64];
        snprintf(path, sizeof(path), "/usr/lib/x86_64-linux-gnu/libmodule-%u.so.1", i / 100);
        snprintf(name, sizeof(name), "space::function_%u", i);
        snprintf(system_name, sizeof(system_name), "_ZN5space13function_%uEm", i);
        uint32_t module = ht_lexicon_module(path, &with_id);
        uint32_t function = ht_lexicon_function(module, i * 64, name, system_name);
        CHECK(module != 0 && function != 0);
        ht_lexicon_set(module, i * 64 + 5, function);
    }
    printf("  %zu KiB, %zu at most\n", ht_lexicon_size() / 1024, (ht_arena_peak() - before) / 1024);
    CHECK(ht_lexicon_size() <= 1 << 20);
    CHECK_EQ(ht_arena_used() - before, ht_lexicon_size());
}

/* Whatever cannot be kept is not there; what is there stays right. */
TEST(lexicon_without_memory)
{
    for (unsigned n = 1; n < 30; n++) {
        ht_lexicon_forget();
        ht_arena_fail_from(n);
        ht_lexicon_begin(100);
        for (unsigned i = 0; i < 5000; i++) {
            char name[32];
            snprintf(name, sizeof(name), "function_%u", i);
            uint32_t module = ht_lexicon_module(i % 2 ? "/a" : "/b", &with_id);
            uint32_t function = ht_lexicon_function(module, i, name, name);
            if (function != 0) {
                CHECK_STR_EQ(ht_lexicon_name(function), name);
                ht_lexicon_set(module, i, function);
            }
            uint32_t found = ht_lexicon_find(module, i);
            CHECK(found == HT_LEXICON_UNKNOWN || found == function);
        }
        ht_arena_fail_from(0);
    }
    ht_lexicon_forget();
}

TEST(lexicon_has_a_limit)
{
    size_t limit = ht_arena_limit();
    ht_arena_set_limit((size_t)8 << 20);
    uint32_t module = ht_lexicon_module("/a", &with_id), kept = 0;
    for (unsigned i = 0; i < 100000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "function_%u", i);
        uint32_t function = ht_lexicon_function(module, i, name, name);
        kept += function != 0;
        if (function != 0)
            ht_lexicon_set(module, i, function);
    }
    CHECK(kept > 1000 && kept < 100000);
    CHECK(ht_lexicon_size() <= ht_arena_table_limit() / HT_LEXICON_SHARE);
    ht_arena_set_limit(limit);
    ht_lexicon_forget();
}

static bool is_over;

static void *add_names(void *unused)
{
    uint32_t module = ht_lexicon_module("/a", &with_id);
    for (unsigned i = 0; !__atomic_load_n(&is_over, __ATOMIC_RELAXED); i = (i + 1) % 20000) {
        char name[32];
        snprintf(name, sizeof(name), "function_%u", i);
        uint32_t function = ht_lexicon_function(module, i, name, name);
        ht_lexicon_set(module, i, function);
    }
    return unused;
}

/* A child that is forked while names are added finds them all whole, and can add more. */
TEST(lexicon_in_children)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, add_names, NULL), 0);
    for (int round = 0; round < 100; round++) {
        ht_lexicon_fork_prepare();
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            ht_lexicon_fork_child();
            uint32_t module = ht_lexicon_module("/a", &with_id);
            for (unsigned i = 0; i < 20000; i++) {
                char name[32];
                uint32_t found = ht_lexicon_find(module, i);
                snprintf(name, sizeof(name), "function_%u", i);
                if (found != HT_LEXICON_UNKNOWN && strcmp(ht_lexicon_name(found), name) != 0)
                    _exit(1);
            }
            _exit(ht_lexicon_function(module, 99999, "new", "new") != 0 ? 0 : 2);
        }
        ht_lexicon_fork_parent();
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    ht_lexicon_forget();
}
