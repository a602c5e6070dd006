#include "report/pprof.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <regex.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <zlib.h>

#include "profile.pb-c.h"
#include "report/lexicon.h"
#include "report/mappings.h"
#include "sample/frames.h"
#include "sys/arena.h"
#include "test.h"

typedef Perftools__Profiles__Profile Profile;

/* But for the names, which are kept. */
static size_t memory_used(void)
{
    return ht_arena_used() - ht_lexicon_size();
}

/* A source that is an array. */
struct source {
    const struct ht_sample *samples;
    size_t count;
};

static int each_in_array(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context)
{
    const struct source *source = snapshot->source;
    int r = 0;
    for (size_t i = 0; i < source->count && r == 0; i++)
        r = visit(context, &source->samples[i]);
    return r;
}

static struct ht_snapshot snapshot_of(const struct source *source)
{
    return (struct ht_snapshot){.time_nanos = 1700000000123456789,
                                .interval_bytes = 524288,
                                .process = UINT64_C(0xfedcba9876543210),
                                .each_sample = each_in_array,
                                .source = source,
                                .comment_count = 3,
                                .comments = {"heaptap 0.1.0", "", "odd \xff"}};
}

/* Reads back what an independent gzip and protobuf reader finds. */
static Profile *decode(int fd)
{
    static uint8_t bytes[16 << 20];
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    gzFile file = gzdopen(dup(fd), "rb");
    int size = gzread(file, bytes, sizeof(bytes));
    CHECK(size > 0 && gzdirect(file) == 0 && gzclose(file) == Z_OK);
    Profile *profile = perftools__profiles__profile__unpack(NULL, (size_t)size, bytes);
    CHECK(profile != NULL);
    return profile;
}

static Profile *encode(const struct source *source, struct ht_totals *ret_totals)
{
    struct ht_snapshot snapshot = snapshot_of(source);
    size_t before = memory_used();
    int fd = memfd_create("profile", MFD_CLOEXEC);
    CHECK_EQ(ht_pprof_encode(&snapshot, fd, ret_totals), 0);
    CHECK_EQ(memory_used(), before);
    Profile *profile = decode(fd);
    close(fd);
    return profile;
}

static void forget(Profile *profile)
{
    perftools__profiles__profile__free_unpacked(profile, NULL);
}

static const char *string(const Profile *profile, int64_t index)
{
    CHECK(index >= 0 && (size_t)index < profile->n_string_table);
    return profile->string_table[index];
}

static const Perftools__Profiles__Function *function_of(const Profile *profile,
                                                        uint64_t location_id)
{
    const Perftools__Profiles__Location *location = profile->location[location_id - 1];
    CHECK_EQ(location->n_line, 1);
    return profile->function[location->line[0]->function_id - 1];
}

static const char *name_of(const Profile *profile, uint64_t location_id)
{
    return string(profile, function_of(profile, location_id)->name);
}

/* What every profile must keep, whatever is in it. */
static void check_rules(const Profile *profile)
{
    static const char *const types[] = {"alloc_objects", "count", "alloc_space", "bytes",
                                        "inuse_objects", "count", "inuse_space", "bytes"};
    CHECK_EQ(profile->n_sample_type, 4);
    for (size_t i = 0; i < 4; i++) {
        CHECK_STR_EQ(string(profile, profile->sample_type[i]->type), types[2 * i]);
        CHECK_STR_EQ(string(profile, profile->sample_type[i]->unit), types[2 * i + 1]);
    }
    CHECK_STR_EQ(string(profile, profile->default_sample_type), "inuse_space");
    CHECK_STR_EQ(string(profile, profile->period_type->type), "space");
    CHECK_STR_EQ(string(profile, profile->period_type->unit), "bytes");
    CHECK_EQ(profile->duration_nanos, 0);
    CHECK_EQ(profile->keep_frames, 0);
    CHECK_STR_EQ(profile->string_table[0], "");

    for (size_t i = 0; i < profile->n_mapping; i++) {
        const Perftools__Profiles__Mapping *mapping = profile->mapping[i];
        CHECK_EQ(mapping->id, i + 1);
        CHECK(mapping->memory_start < mapping->memory_limit);
        CHECK(mapping->has_functions && !mapping->has_filenames);
        CHECK(!mapping->has_line_numbers && !mapping->has_inline_frames);
        CHECK(strspn(string(profile, mapping->build_id), "0123456789abcdef") ==
              strlen(string(profile, mapping->build_id)));
    }
    for (size_t i = 0; i < profile->n_location; i++) {
        const Perftools__Profiles__Location *location = profile->location[i];
        CHECK_EQ(location->id, i + 1);
        CHECK(location->mapping_id <= profile->n_mapping);
        CHECK_EQ(location->n_line, 1);
        CHECK(location->line[0]->function_id >= 1 &&
              location->line[0]->function_id <= profile->n_function);
        if (location->mapping_id != 0) {
            const Perftools__Profiles__Mapping *mapping =
                profile->mapping[location->mapping_id - 1];
            CHECK(location->address >= mapping->memory_start &&
                  location->address < mapping->memory_limit);
        }
    }
    for (size_t i = 0; i < profile->n_function; i++) {
        CHECK_EQ(profile->function[i]->id, i + 1);
        CHECK(string(profile, profile->function[i]->name)[0] != 0);
        CHECK(string(profile, profile->function[i]->system_name)[0] != 0);
    }
    uint64_t next_location = 1;
    for (size_t i = 0; i < profile->n_sample; i++) {
        const Perftools__Profiles__Sample *sample = profile->sample[i];
        CHECK_EQ(sample->n_value, 4);
        CHECK(sample->value[0] | sample->value[1] | sample->value[2] | sample->value[3]);
        CHECK(sample->n_location_id > 0);
        for (size_t j = 0; j < sample->n_location_id; j++) {
            CHECK(sample->location_id[j] >= 1 && sample->location_id[j] <= next_location);
            next_location += sample->location_id[j] == next_location;
        }
        CHECK_EQ(sample->n_label, 1);
        CHECK_STR_EQ(string(profile, sample->label[0]->key), "bytes");
        CHECK_STR_EQ(string(profile, sample->label[0]->num_unit), "bytes");
        CHECK_EQ(sample->label[0]->str, 0);
    }
    CHECK_EQ(next_location, profile->n_location + 1);
}

TEST(pprof_of_nothing)
{
    struct source source = {NULL, 0};
    struct ht_totals totals;
    Profile *profile = encode(&source, &totals);
    check_rules(profile);
    CHECK_EQ(profile->n_sample + profile->n_location + profile->n_function, 0);
    CHECK_EQ(totals.samples, 0);
    CHECK_EQ(profile->time_nanos, 1700000000123456789);
    CHECK_EQ(profile->period, 524288);
    CHECK_EQ(profile->n_comment, 2);
    CHECK_STR_EQ(string(profile, profile->comment[0]), "heaptap 0.1.0");
    CHECK_STR_EQ(string(profile, profile->comment[1]), "odd \\xff");
    char path[4096];
    path[readlink("/proc/self/exe", path, sizeof(path) - 1)] = 0;
    CHECK_STR_EQ(string(profile, profile->mapping[0]->filename), path);
    forget(profile);
}

/* Two functions of known names; the second is found in .symtab only. */
__attribute__((noinline, used)) static int callee(int x)
{
    __asm__ volatile("nop; nop; nop; nop" : "+r"(x));
    return x;
}

static uintptr_t inside(void *function, int offset)
{
    return (uintptr_t)function + (uintptr_t)offset;
}

TEST(pprof_of_a_few_samples)
{
    void *libc_function = dlsym(RTLD_DEFAULT, "argp_parse");
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    int on_stack;
    const uintptr_t stack[] = {inside(callee, 1),    inside(libc_function, 4),
                               inside(callee, 2),    inside(libc_function, 9),
                               (uintptr_t)&on_stack, HT_PC_TRUNCATED};
    const uintptr_t overflow[] = {HT_PC_OVERFLOW};
    const uintptr_t strange[] = {0, (uintptr_t)&on_stack + 1, vdso != 0 ? vdso : 5};
    const struct ht_sample samples[] = {
        {stack, 6, 10, 32000, 4, 12800, 3200, {6, 48e6, 2, 1e50}, 77, NULL},
        {stack + 1, 5, 1, 100, 0, 0, 100, {0}, 0, NULL},
        {stack, 6, 0, 0, 0, 0, 77, {0}, 0, NULL},
        {overflow, 1, 2, 20, 1, 10, 10, {0}, 0, NULL},
        {strange, 3, 1, INT64_C(1) << 50, 1, 1, 1, {0}, 0, NULL},
        {NULL, 0, 1, 2, 3, 4, 5, {0}, 0, NULL},
    };
    struct source source = {samples, HT_ARRAY_SIZE(samples)};
    struct ht_totals totals;
    Profile *profile = encode(&source, &totals);
    check_rules(profile);

    CHECK_EQ(profile->n_sample, 5); /* the one that is all zero is left out */
    CHECK_EQ(totals.samples, 5);
    CHECK_EQ(totals.alloc_objects, 15);
    CHECK_EQ(totals.alloc_bytes, 32122 + (INT64_C(1) << 50));
    CHECK_EQ(totals.inuse_objects, 9);
    CHECK_EQ(totals.inuse_bytes, 12815);
    const Perftools__Profiles__Sample *first = profile->sample[0];
    CHECK_EQ(first->n_location_id, 6);
    CHECK_EQ(first->value[0], 10);
    CHECK_EQ(first->value[1], 32000);
    CHECK_EQ(first->value[2], 4);
    CHECK_EQ(first->value[3], 12800);
    CHECK_EQ(first->label[0]->num, 3200);
    CHECK_EQ(first->n_heaptap_variance, 4);
    CHECK(first->heaptap_variance[0] == 6 && first->heaptap_variance[1] == 48e6F);
    CHECK(first->heaptap_variance[2] == 2 && first->heaptap_variance[3] == FLT_MAX);
    CHECK_EQ(first->heaptap_oldest_nanos, 77);
    CHECK_EQ(profile->sample[1]->n_heaptap_variance, 0);
    CHECK_EQ(profile->heaptap_version, 1);
    CHECK_EQ(profile->heaptap_process, UINT64_C(0xfedcba9876543210));
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(first->location_id[i], i + 1);
        CHECK_EQ(profile->location[i]->address, stack[i]);
    }
    CHECK_EQ(profile->sample[1]->location_id[0], 2);

    CHECK_STR_EQ(name_of(profile, 1), "callee");
    CHECK_STR_EQ(name_of(profile, 2), "argp_parse");
    CHECK(function_of(profile, 1) == function_of(profile, 3));
    CHECK(function_of(profile, 2) == function_of(profile, 4));
    CHECK_EQ(profile->location[0]->mapping_id, 1);
    CHECK_STR_EQ(name_of(profile, 5), "[anon]");
    CHECK_EQ(profile->location[4]->mapping_id, 0);
    CHECK_STR_EQ(name_of(profile, 6), "[truncated]");
    CHECK_EQ(profile->location[5]->mapping_id, 0);
    CHECK_STR_EQ(name_of(profile, 7), "[heaptap: overflow]");
    CHECK_STR_EQ(name_of(profile, 8), "[unknown]");
    CHECK(function_of(profile, 9) == function_of(profile, 5));
    if (vdso != 0)
        CHECK_STR_EQ(name_of(profile, 10), "[vdso+0x0]");
    CHECK_EQ(profile->sample[4]->location_id[0], 6); /* no stack at all */
    forget(profile);
}

/* Where no symbol is, the name is the address in the file. */
TEST(pprof_stand_ins_are_stable)
{
    struct ht_mappings mappings;
    CHECK_EQ(ht_mappings_load(&mappings), 0);
    const struct ht_mapping *libc =
        ht_mappings_find(&mappings, (uintptr_t)dlsym(RTLD_DEFAULT, "argp_parse"));
    /* The first bytes of the code: .plt, or padding. */
    uintptr_t pc = libc->start;
    char expected[64];
    snprintf(expected, sizeof(expected), "[libc.so.6+0x%lx]", pc - libc->bias);
    struct ht_sample sample = {&pc, 1, 1, 1, 1, 1, 1, {0}, 0, NULL};
    struct source source = {&sample, 1};
    struct ht_totals totals;
    Profile *profile = encode(&source, &totals);
    check_rules(profile);
    CHECK_STR_EQ(name_of(profile, 1), expected);
    CHECK_EQ(profile->location[0]->mapping_id, (uint64_t)(libc - mappings.items) + 1);
    const Perftools__Profiles__Mapping *mapping =
        profile->mapping[profile->location[0]->mapping_id - 1];
    CHECK_EQ(mapping->memory_start, libc->start);
    CHECK_EQ(mapping->memory_limit, libc->limit);
    CHECK_EQ(mapping->file_offset, libc->offset);
    CHECK_EQ(strlen(string(profile, mapping->build_id)), 2 * libc->identity.build_id.size);
    ht_mappings_free(&mappings);
    forget(profile);
}

TEST(pprof_many_locations)
{
    enum { STACKS = 3000, DEPTH = 40 };
    static uintptr_t pcs[STACKS][DEPTH];
    static struct ht_sample samples[STACKS];
    void *libc_function = dlsym(RTLD_DEFAULT, "argp_parse");
    struct ht_mappings mappings;
    CHECK_EQ(ht_mappings_load(&mappings), 0);
    const struct ht_mapping *libc = ht_mappings_find(&mappings, (uintptr_t)libc_function);
    uint32_t seed = 1;
    for (int i = 0; i < STACKS; i++) {
        for (int j = 0; j < DEPTH; j++) {
            seed = seed * 1103515245 + 12345;
            pcs[i][j] = libc->start + (seed >> 8) % (libc->limit - libc->start);
        }
        samples[i] = (struct ht_sample){pcs[i], DEPTH, i, 3 * i, 0, 1, 1, {0}, 0, NULL};
    }
    struct source source = {samples, STACKS};
    struct ht_totals totals;
    Profile *profile = encode(&source, &totals);
    check_rules(profile);
    CHECK_EQ(profile->n_sample, STACKS);
    for (int i = 0; i < STACKS; i++) {
        CHECK_EQ(profile->sample[i]->value[1], 3 * i);
        for (int j = 0; j < DEPTH; j++)
            CHECK_EQ(profile->location[profile->sample[i]->location_id[j] - 1]->address, pcs[i][j]);
    }
    /* One function for each symbol. Names will not do: libc has two fmemopen, by version. */
    struct ht_elf elf;
    struct ht_elf_want wants[1];
    static uint64_t start_of[STACKS * DEPTH + 1];
    CHECK_EQ(ht_elf_open(libc->path, &libc->identity, &elf), 0);
    size_t named = 0;
    for (size_t i = 0; i < profile->n_location; i++) {
        wants[0].address = profile->location[i]->address - libc->bias;
        /* One by one is slow. */
        if (i % 50 != 0)
            continue;
        CHECK_EQ(ht_elf_resolve(&elf, wants, 1), 0);
        CHECK_EQ(wants[0].rank == 0, name_of(profile, i + 1)[0] == '[');
        if (wants[0].rank == 0)
            continue;
        uint64_t function = profile->location[i]->line[0]->function_id;
        CHECK(start_of[function] == 0 || start_of[function] == wants[0].start);
        start_of[function] = wants[0].start;
        named++;
    }
    CHECK(named > 100);
    for (size_t i = 1; i <= profile->n_function; i++)
        for (size_t j = 1; j < i && start_of[i] != 0; j++)
            CHECK(start_of[i] != start_of[j]);
    ht_elf_close(&elf);
    ht_mappings_free(&mappings);
    forget(profile);
}

/* The second profile finds all names without a file: none can be opened. */
TEST(pprof_again_without_files)
{
    uintptr_t pcs[] = {inside(callee, 1), inside(&encode, 5),
                       (uintptr_t)dlsym(RTLD_DEFAULT, "argp_parse") + 4,
                       getauxval(AT_SYSINFO_EHDR)};
    struct ht_sample sample = {pcs, HT_ARRAY_SIZE(pcs), 1, 1, 1, 1, 1, {0}, 0, NULL};
    struct source source = {&sample, 1};
    struct ht_totals totals;
    Profile *first = encode(&source, &totals);
    struct ht_snapshot snapshot = snapshot_of(&source);
    int fd = memfd_create("profile", MFD_CLOEXEC);
    struct rlimit limit, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) < 0);
    CHECK_EQ(ht_pprof_encode(&snapshot, fd, &totals), 0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    Profile *second = decode(fd);
    CHECK_EQ(second->n_location, first->n_location);
    for (size_t i = 1; i <= first->n_location; i++)
        CHECK_STR_EQ(name_of(second, i), name_of(first, i));
    CHECK_STR_EQ(name_of(second, 3), "argp_parse");
    close(fd);
    forget(second);
    forget(first);
}

TEST(pprof_deepest_stack)
{
    static uintptr_t pcs[HT_DEPTH_MAX + 2];
    for (unsigned i = 0; i < HT_DEPTH_MAX + 2; i++)
        pcs[i] = UINTPTR_MAX - i;
    struct ht_sample sample = {pcs, HT_DEPTH_MAX + 2, INT64_MAX, -1,  -1, -1,
                               -1,  {1, 1, 1, 1},     0,         NULL};
    struct source source = {&sample, 1};
    struct ht_totals totals;
    Profile *profile = encode(&source, &totals);
    check_rules(profile);
    CHECK_EQ(profile->sample[0]->n_location_id, HT_DEPTH_MAX + 1);
    CHECK_EQ(profile->sample[0]->value[0], INT64_MAX);
    forget(profile);
}

TEST(pprof_drop_frames)
{
    static const char *const dropped[] = {"malloc",
                                          "__libc_calloc",
                                          "posix_memalign",
                                          "operator new",
                                          "operator new[]",
                                          "std::__new_allocator::allocate",
                                          "std::allocator_traits::allocate",
                                          "__rust_alloc",
                                          "__rdl_alloc",
                                          "alloc::alloc::exchange_malloc",
                                          "heaptap_snapshot",
                                          "_heaptap_x"};
    static const char *const kept[] = {"allocate",         "free", "my_malloc",
                                       "malloc_stats",     "main", "std::vector::push_back",
                                       "foo::operator new"};
    struct source source = {NULL, 0};
    struct ht_totals totals;
    Profile *profile = encode(&source, &totals);
    const char *text = string(profile, profile->drop_frames);
    char whole[1024];
    snprintf(whole, sizeof(whole), "^(%s)$", text);
    CHECK(strchr(text, '\n') == NULL);
    regex_t regex;
    CHECK_EQ(regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB), 0);
    for (size_t i = 0; i < HT_ARRAY_SIZE(dropped); i++)
        CHECK_EQ(regexec(&regex, dropped[i], 0, NULL, 0), 0);
    for (size_t i = 0; i < HT_ARRAY_SIZE(kept); i++)
        CHECK_EQ(regexec(&regex, kept[i], 0, NULL, 0), REG_NOMATCH);
    regfree(&regex);
    forget(profile);
}

static int each_fails(const struct ht_snapshot *snapshot, ht_sample_visit *visit, void *context)
{
    int r = each_in_array(snapshot, visit, context);
    return r != 0 ? r : -EINTR;
}

/* Every way to fail gives all memory and descriptors back. */
TEST(pprof_failures)
{
    uintptr_t pc = inside(callee, 1);
    struct ht_sample sample = {&pc, 1, 1, 1, 1, 1, 1, {0}, 0, NULL};
    struct source source = {&sample, 1};
    struct ht_snapshot snapshot = snapshot_of(&source);
    struct ht_totals totals;
    size_t before = memory_used();
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK_EQ(ht_pprof_encode(&snapshot, fd, &totals), -ENOSPC);
    close(fd);
    CHECK_EQ(ht_pprof_encode(&snapshot, -1, &totals), -EBADF);
    CHECK_EQ(memory_used(), before);

    snapshot.each_sample = each_fails;
    fd = memfd_create("profile", MFD_CLOEXEC);
    CHECK_EQ(ht_pprof_encode(&snapshot, fd, &totals), -EINTR);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);

    snapshot.each_sample = each_in_array;
    int failures = 0;
    for (unsigned long n = 1; n < 100; n++) {
        ht_arena_fail_from(n);
        int r = ht_pprof_encode(&snapshot, fd, &totals);
        ht_arena_fail_from(0);
        CHECK_EQ(memory_used(), before);
        CHECK(r == 0 || r == -ENOMEM);
        failures += r != 0;
        if (r != 0)
            CHECK_EQ(failures, n); /* it succeeds from some n on, and not before */
    }
    CHECK(failures > 5);
    int next = dup(0);
    CHECK_EQ(next, fd + 1); /* nothing was left open */
    close(next);
    close(fd);
}
