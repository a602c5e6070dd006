#include "report/elf.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "report/mappings.h"
#include "sys/arena.h"
#include "xz_packer.h"
#include "test.h"

#define WANTS 1500u

static struct ht_elf_want wants[WANTS];
static uint64_t seed = 42;

static uint64_t random_number(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return seed >> 17;
}

/* The same question, answered with the whole file in memory, one address after the other. */
struct answer {
    const Elf64_Sym *symbol;
    const char *name;
};

static int binding_rank(const Elf64_Sym *symbol)
{
    unsigned binding = ELF64_ST_BIND(symbol->st_info);
    return binding == STB_LOCAL ? 1 : binding == STB_WEAK ? 2 : 3;
}

static struct answer search(const char *file, uint32_t wanted_type, uint64_t address)
{
    const Elf64_Ehdr *header = (const void *)file;
    const Elf64_Shdr *sections = (const void *)(file + header->e_shoff);
    struct answer best = {NULL, NULL};
    for (unsigned s = 0; s < header->e_shnum; s++) {
        if (sections[s].sh_type != wanted_type)
            continue;
        const Elf64_Sym *symbols = (const void *)(file + sections[s].sh_offset);
        const char *names = file + sections[sections[s].sh_link].sh_offset;
        for (size_t i = 0; i < sections[s].sh_size / sizeof(*symbols); i++) {
            const Elf64_Sym *symbol = &symbols[i];
            unsigned type = ELF64_ST_TYPE(symbol->st_info);
            if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS ||
                (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) ||
                address < symbol->st_value || address - symbol->st_value >= symbol->st_size)
                continue;
            if (best.symbol != NULL && (best.symbol->st_value > symbol->st_value ||
                                        (best.symbol->st_value == symbol->st_value &&
                                         binding_rank(best.symbol) >= binding_rank(symbol))))
                continue;
            best = (struct answer){symbol, names + symbol->st_name};
        }
    }
    return best;
}

static int by_address(const void *a, const void *b)
{
    const struct ht_elf_want *left = a, *right = b;
    return (left->address > right->address) - (left->address < right->address);
}

static void compare_with_search(const char *path, unsigned least_named)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    CHECK(fd >= 0 && fstat(fd, &status) == 0);
    const char *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(file != MAP_FAILED);
    close(fd);

    const Elf64_Ehdr *header = (const void *)file;
    const Elf64_Phdr *segments = (const void *)(file + header->e_phoff);
    uint64_t low = 0, size = 0;
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X)) {
            low = segments[i].p_vaddr;
            size = segments[i].p_memsz;
        }
    for (unsigned i = 0; i < WANTS; i++)
        wants[i] = (struct ht_elf_want){.address = low + random_number() % size};
    qsort(wants, WANTS, sizeof(wants[0]), by_address);

    struct ht_elf elf;
    CHECK_EQ(ht_elf_open(path, NULL, &elf), 0);
    CHECK_EQ(ht_elf_resolve(&elf, wants, WANTS), 0);
    unsigned named = 0;
    for (unsigned i = 0; i < WANTS; i++) {
        char name[8192];
        struct answer answer = search(file, SHT_SYMTAB, wants[i].address);
        if (answer.symbol == NULL)
            answer = search(file, SHT_DYNSYM, wants[i].address);
        CHECK_EQ(wants[i].rank != 0, answer.symbol != NULL);
        if (answer.symbol == NULL)
            continue;
        CHECK_EQ(wants[i].start, answer.symbol->st_value);
        CHECK_EQ(wants[i].end, answer.symbol->st_value + answer.symbol->st_size);
        CHECK_EQ(ht_elf_name(&elf, &wants[i], name, sizeof(name)), strlen(answer.name));
        CHECK_STR_EQ(name, answer.name);
        named++;
    }
    CHECK(named >= least_named);
    ht_elf_close(&elf);
    munmap((void *)(uintptr_t)file, (size_t)status.st_size);
}

TEST(elf_agrees_with_a_search)
{
    Dl_info info;
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "argp_parse"), &info) != 0);
    compare_with_search(info.dli_fname, WANTS / 20);
    compare_with_search("/proc/self/exe", WANTS / 2);
}

/* A small file, with everything in it that matters. */
enum { TEXT = 0x1000, SYMBOLS = 16, STRINGS = 256 };

struct small {
    Elf64_Ehdr header;
    Elf64_Phdr segments[2];
    struct {
        Elf64_Nhdr header;
        char name[4];
        uint8_t id[20];
    } note;
    Elf64_Sym symtab[SYMBOLS], dynsym[SYMBOLS];
    char strings[STRINGS];
    Elf64_Shdr sections[4];
};

struct builder {
    struct small *file;
    unsigned symtab_count, dynsym_count;
    size_t strings_used;
};

static void add(struct builder *builder, bool is_dynamic, const char *name, uint64_t value,
                uint64_t size, unsigned binding, unsigned type)
{
    struct small *file = builder->file;
    Elf64_Sym *symbol = is_dynamic ? &file->dynsym[1 + builder->dynsym_count++]
                                   : &file->symtab[1 + builder->symtab_count++];
    *symbol = (Elf64_Sym){.st_name = (uint32_t)builder->strings_used,
                          .st_info = (unsigned char)ELF64_ST_INFO(binding, type),
                          .st_shndx = 1,
                          .st_value = value,
                          .st_size = size};
    strcpy(file->strings + builder->strings_used, name);
    builder->strings_used += strlen(name) + 1;
}

static struct small build(void)
{
    struct small file = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_DYN,
                   .e_machine = EM_X86_64,
                   .e_phoff = offsetof(struct small, segments),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 2,
                   .e_shoff = offsetof(struct small, sections),
                   .e_shentsize = sizeof(Elf64_Shdr),
                   .e_shnum = 4},
        .segments = {{.p_type = PT_LOAD,
                      .p_flags = PF_R | PF_X,
                      .p_offset = TEXT,
                      .p_vaddr = TEXT,
                      .p_filesz = 0x1000,
                      .p_memsz = 0x1000},
                     {.p_type = PT_NOTE,
                      .p_offset = offsetof(struct small, note),
                      .p_filesz = sizeof(file.note)}},
        .note = {{4, 20, NT_GNU_BUILD_ID}, "GNU", {1, 2, 3}},
        .sections = {{.sh_type = SHT_NULL},
                     {.sh_type = SHT_SYMTAB,
                      .sh_offset = offsetof(struct small, symtab),
                      .sh_size = sizeof(file.symtab),
                      .sh_entsize = sizeof(Elf64_Sym),
                      .sh_link = 3},
                     {.sh_type = SHT_DYNSYM,
                      .sh_offset = offsetof(struct small, dynsym),
                      .sh_size = sizeof(file.dynsym),
                      .sh_entsize = sizeof(Elf64_Sym),
                      .sh_link = 3},
                     {.sh_type = SHT_STRTAB,
                      .sh_offset = offsetof(struct small, strings),
                      .sh_size = STRINGS}},
    };
    struct builder builder = {&file, 0, 0, 1};
    add(&builder, false, "outer", 0x1000, 0x100, STB_GLOBAL, STT_FUNC);
    add(&builder, false, "inner", 0x1040, 0x10, STB_LOCAL, STT_FUNC);
    add(&builder, false, "local", 0x1100, 0x10, STB_LOCAL, STT_FUNC);
    add(&builder, false, "weak", 0x1100, 0x10, STB_WEAK, STT_FUNC);
    add(&builder, false, "global", 0x1100, 0x10, STB_GLOBAL, STT_FUNC);
    add(&builder, false, "again", 0x1100, 0x10, STB_GLOBAL, STT_FUNC);
    add(&builder, false, "empty", 0x1200, 0, STB_GLOBAL, STT_FUNC);
    add(&builder, false, "object", 0x1300, 0x10, STB_GLOBAL, STT_OBJECT);
    add(&builder, false, "assembly", 0x1400, 0x10, STB_LOCAL, STT_NOTYPE);
    add(&builder, false, "resolver", 0x1500, 0x10, STB_GLOBAL, STT_GNU_IFUNC);
    add(&builder, false, "endless", UINT64_MAX - 7, 16, STB_GLOBAL, STT_FUNC);
    add(&builder, true, "dynamic", 0x1000, 0x800, STB_GLOBAL, STT_FUNC);
    return file;
}

/* /proc/self/fd/N of a file with these bytes; the descriptor stays open until the next one. */
static const char *path_of(const void *data, size_t size)
{
    static char path[64];
    static int fd = -1;
    if (fd >= 0)
        close(fd);
    fd = memfd_create("elf", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return path;
}

TEST(elf_rules_of_choice)
{
    static const struct {
        uint64_t address;
        const char *name;
    } cases[] = {
        {0x0fff, NULL},       {0x1000, "outer"},    {0x103f, "outer"},   {0x1040, "inner"},
        {0x104f, "inner"},    {0x1050, "outer"},    {0x10ff, "outer"},   {0x1100, "global"},
        {0x110f, "global"},   {0x1110, "dynamic"},  {0x1200, "dynamic"}, {0x1300, "dynamic"},
        {0x1400, "assembly"}, {0x1500, "resolver"}, {0x17ff, "dynamic"}, {0x1800, NULL},
        {UINT64_MAX, NULL},
    };
    struct small file = build();
    struct ht_elf elf;
    CHECK_EQ(ht_elf_open(path_of(&file, sizeof(file)), NULL, &elf), 0);
    for (unsigned i = 0; i < HT_ARRAY_SIZE(cases); i++)
        wants[i] = (struct ht_elf_want){.address = cases[i].address};
    CHECK_EQ(ht_elf_resolve(&elf, wants, HT_ARRAY_SIZE(cases)), 0);
    for (unsigned i = 0; i < HT_ARRAY_SIZE(cases); i++) {
        char name[32];
        CHECK_EQ(wants[i].rank != 0, cases[i].name != NULL);
        int length = ht_elf_name(&elf, &wants[i], name, sizeof(name));
        CHECK_EQ(length, cases[i].name != NULL ? (int)strlen(cases[i].name) : -ENOEXEC);
        if (cases[i].name != NULL)
            CHECK_STR_EQ(name, cases[i].name);
    }
    char cut[4];
    CHECK_EQ(ht_elf_name(&elf, &wants[1], cut, sizeof(cut)), 3);
    CHECK_STR_EQ(cut, "out");
    CHECK_EQ(ht_elf_resolve(&elf, wants, 0), 0);
    ht_arena_fail_from(1);
    CHECK_EQ(ht_elf_resolve(&elf, wants, 1), -ENOMEM);
    ht_arena_fail_from(0);
    ht_elf_close(&elf);
}

static int open_as(const struct small *file, const struct ht_elf_identity *identity)
{
    struct ht_elf elf;
    int r = ht_elf_open(path_of(file, sizeof(*file)), identity, &elf);
    if (r == 0)
        ht_elf_close(&elf);
    return r;
}

TEST(elf_is_the_file_that_was_loaded)
{
    struct small file = build();
    struct ht_elf_identity identity = {.build_id = {20, {1, 2, 3}}};
    CHECK_EQ(open_as(&file, &identity), 0);
    identity.build_id.bytes[19] = 1;
    CHECK_EQ(open_as(&file, &identity), -ESTALE);
    identity = (struct ht_elf_identity){.build_id = {8, {1, 2, 3}}};
    CHECK_EQ(open_as(&file, &identity), -ESTALE);
    /* Without an id in memory, the file may not have one either, and must have the segment. */
    identity = (struct ht_elf_identity){{0, {0}}, TEXT, TEXT, 0x1000};
    CHECK_EQ(open_as(&file, &identity), -ESTALE);
    file.note.header.n_type = 99;
    CHECK_EQ(open_as(&file, &identity), 0);
    identity.segment_size++;
    CHECK_EQ(open_as(&file, &identity), -ESTALE);
}

TEST(elf_of_other_kinds_is_refused)
{
    struct small file = build();
    file.header.e_ident[EI_CLASS] = ELFCLASS32;
    CHECK_EQ(open_as(&file, NULL), -ENOEXEC);
    file = build();
    file.header.e_ident[EI_DATA] = ELFDATA2MSB;
    CHECK_EQ(open_as(&file, NULL), -ENOEXEC);
    file = build();
    file.header.e_type = ET_CORE;
    CHECK_EQ(open_as(&file, NULL), -ENOEXEC);
    file = build();
    file.sections[1].sh_size = UINT64_MAX;
    CHECK_EQ(open_as(&file, NULL), -ENOEXEC);
    struct ht_elf elf;
    CHECK_EQ(ht_elf_open("/nonexistent", NULL, &elf), -ENOENT);
    CHECK(ht_elf_open("/tmp", NULL, &elf) < 0);
    CHECK(ht_elf_open("/dev/null", NULL, &elf) < 0);
}

/* ---- what is loaded ---- */

static const struct ht_mapping *mapping_of(const struct ht_mappings *mappings, const void *address)
{
    const struct ht_mapping *mapping = ht_mappings_find(mappings, (uintptr_t)address);
    CHECK(mapping != NULL);
    return mapping;
}

/* Memory says what the file's .dynsym says. */
TEST(elf_loaded_agrees_with_the_file)
{
    static struct ht_elf_want others[WANTS];
    struct ht_mappings mappings;
    CHECK_EQ(ht_mappings_load(&mappings), 0);
    const struct ht_mapping *libc = mapping_of(&mappings, dlsym(RTLD_DEFAULT, "argp_parse"));
    struct ht_elf file, loaded;
    CHECK_EQ(ht_elf_open(libc->path, &libc->identity, &file), 0);
    CHECK_EQ(ht_elf_open_loaded(&libc->image, &libc->identity, &loaded), 0);
    CHECK_EQ(loaded.tables[HT_ELF_DYNSYM].count, file.tables[HT_ELF_DYNSYM].count);
    file.tables[HT_ELF_SYMTAB].count = file.tables[HT_ELF_MINI].count = 0;
    for (unsigned i = 0; i < WANTS; i++)
        wants[i] = (struct ht_elf_want){.address = libc->start - libc->bias +
                                                   random_number() % (libc->limit - libc->start)};
    qsort(wants, WANTS, sizeof(wants[0]), by_address);
    memcpy(others, wants, sizeof(wants));
    CHECK_EQ(ht_elf_resolve(&file, wants, WANTS), 0);
    CHECK_EQ(ht_elf_resolve(&loaded, others, WANTS), 0);
    unsigned named = 0;
    for (unsigned i = 0; i < WANTS; i++) {
        char name[300], other[300];
        int length = ht_elf_name(&file, &wants[i], name, sizeof(name));
        CHECK_EQ(ht_elf_name(&loaded, &others[i], other, sizeof(other)), length);
        if (length < 0)
            continue;
        CHECK_STR_EQ(other, name);
        named++;
    }
    CHECK(named > WANTS / 20);
    ht_elf_close(&file);
    ht_elf_close(&loaded);
    ht_mappings_free(&mappings);
}

TEST(elf_loaded_vdso)
{
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    struct ht_mappings mappings;
    struct ht_elf elf;
    if (vdso == 0)
        return;
    CHECK_EQ(ht_mappings_load(&mappings), 0);
    const struct ht_mapping *mapping = mapping_of(&mappings, (void *)vdso);
    CHECK_EQ(ht_elf_open_loaded(&mapping->image, &mapping->identity, &elf), 0);
    unsigned named = 0, count = 0;
    for (uintptr_t pc = mapping->start; pc < mapping->limit && count < WANTS; pc += 16)
        wants[count++] = (struct ht_elf_want){.address = pc - mapping->bias};
    CHECK_EQ(ht_elf_resolve(&elf, wants, count), 0);
    for (unsigned i = 0; i < count; i++) {
        char name[64];
        if (ht_elf_name(&elf, &wants[i], name, sizeof(name)) > 0)
            named +=
                strcmp(name, "__vdso_clock_gettime") == 0 || strcmp(name, "clock_gettime") == 0;
    }
    CHECK(named > 0);
    ht_elf_close(&elf);
    ht_mappings_free(&mappings);
}

TEST(elf_loaded_is_what_was_loaded)
{
    struct ht_mappings mappings;
    struct ht_elf elf;
    CHECK_EQ(ht_mappings_load(&mappings), 0);
    struct ht_mapping libc = *mapping_of(&mappings, dlsym(RTLD_DEFAULT, "argp_parse"));
    const struct ht_mapping *self = mapping_of(&mappings, &random_number);
    CHECK_EQ(ht_elf_open_loaded(&libc.image, &self->identity, &elf), -ESTALE);
    libc.image.start += 1;
    CHECK_EQ(ht_elf_open_loaded(&libc.image, &libc.identity, &elf), -ENOEXEC);
    struct ht_elf_image image = {0};
    CHECK(ht_elf_open_loaded(&image, &libc.identity, &elf) < 0);
    image = (struct ht_elf_image){.start = 4096, .limit = 8192};
    CHECK(ht_elf_open_loaded(&image, &libc.identity, &elf) < 0);
    image = (struct ht_elf_image){.start = UINT64_C(1) << 60, .limit = UINT64_MAX};
    CHECK(ht_elf_open_loaded(&image, &libc.identity, &elf) < 0);
    ht_mappings_free(&mappings);
}

/* Names end when the library goes, in whichever state it is asked. */
TEST(elf_loaded_may_go)
{
    struct ht_mappings mappings;
    struct ht_elf elf;
    char name[64];
    void *library = dlopen("libpcre2-8.so.0", RTLD_NOW);
    if (library == NULL || dlsym(library, "pcre2_compile_8") == NULL)
        return;
    CHECK_EQ(ht_mappings_load(&mappings), 0);
    const void *function = dlsym(library, "pcre2_compile_8");
    const struct ht_mapping *mapping = mapping_of(&mappings, function);
    CHECK_EQ(ht_elf_open_loaded(&mapping->image, &mapping->identity, &elf), 0);
    wants[0] = (struct ht_elf_want){.address = (uintptr_t)function - mapping->bias};
    CHECK_EQ(ht_elf_resolve(&elf, wants, 1), 0);
    CHECK(ht_elf_name(&elf, &wants[0], name, sizeof(name)) > 0);
    CHECK_STR_EQ(name, "pcre2_compile_8");
    dlclose(library);
    if (dlopen("libpcre2-8.so.0", RTLD_NOW | RTLD_NOLOAD) == NULL) {
        CHECK(ht_elf_name(&elf, &wants[0], name, sizeof(name)) < 0);
        CHECK(ht_elf_resolve(&elf, wants, 1) < 0);
        CHECK_EQ(wants[0].rank, 0);
    }
    ht_elf_close(&elf);
    CHECK(ht_elf_open_loaded(&mapping->image, &mapping->identity, &elf) < 0);
    ht_mappings_free(&mappings);
}

/* What memory may hold: an image as the loader leaves it, or as the vdso is (bias 0: addresses as
 * in the file), with either hash table. `damage` random bytes are wrong. */
enum { IMAGE_SIZE = 8192, IMAGE_SYMBOLS = 5 };

struct loaded {
    Elf64_Ehdr header;
    Elf64_Phdr segments[2];
    Elf64_Dyn dynamic[8];
    Elf64_Sym symbols[IMAGE_SYMBOLS];
    char strings[64];
    uint32_t hash[2];
    uint32_t gnu_header[4];
    uint64_t bloom;
    uint32_t buckets[2], chains[IMAGE_SYMBOLS - 1];
};

static struct ht_elf_identity build_loaded(struct loaded *image, bool is_relocated, bool is_gnu)
{
    uint64_t by = is_relocated ? (uintptr_t)image : 0;
    *image = (struct loaded){
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_DYN,
                   .e_phoff = offsetof(struct loaded, segments),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 2},
        .segments = {{.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_memsz = IMAGE_SIZE},
                     {.p_type = PT_DYNAMIC,
                      .p_vaddr = offsetof(struct loaded, dynamic),
                      .p_memsz = sizeof(image->dynamic)}},
        .dynamic = {{DT_SYMTAB, {by + offsetof(struct loaded, symbols)}},
                    {DT_STRTAB, {by + offsetof(struct loaded, strings)}},
                    {DT_STRSZ, {sizeof(image->strings)}},
                    {is_gnu ? DT_GNU_HASH : DT_HASH,
                     {by + (is_gnu ? offsetof(struct loaded, gnu_header)
                                   : offsetof(struct loaded, hash))}}},
        .strings = "\0first\0second\0last",
        .hash = {1, IMAGE_SYMBOLS},
        .gnu_header = {2, 1, 1, 0},
        .buckets = {1, 3},
        .chains = {2, 3, 4, 5},
    };
    static const uint32_t names[IMAGE_SYMBOLS] = {0, 1, 7, 1, 14};
    for (unsigned i = 1; i < IMAGE_SYMBOLS; i++)
        image->symbols[i] = (Elf64_Sym){.st_name = names[i],
                                        .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                                        .st_shndx = 1,
                                        .st_value = 0x1000 + i * 0x100,
                                        .st_size = 0x80};
    return (struct ht_elf_identity){.segment_size = IMAGE_SIZE};
}

static struct loaded *map_image(struct ht_elf_image *ret_image)
{
    char *memory =
        mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    *ret_image =
        (struct ht_elf_image){(uintptr_t)memory, (uintptr_t)memory + IMAGE_SIZE, (uintptr_t)memory};
    return (struct loaded *)memory;
}

TEST(elf_loaded_by_either_hash_table)
{
    struct ht_elf_image place;
    struct loaded *image = map_image(&place);
    for (unsigned form = 0; form < 4; form++) {
        struct ht_elf_identity identity = build_loaded(image, form & 1, form & 2);
        struct ht_elf elf;
        char name[16];
        CHECK_EQ(ht_elf_open_loaded(&place, &identity, &elf), 0);
        CHECK_EQ(elf.tables[HT_ELF_DYNSYM].count, IMAGE_SYMBOLS);
        wants[0] = (struct ht_elf_want){.address = 0x1400};
        wants[1] = (struct ht_elf_want){.address = 0x1480};
        CHECK_EQ(ht_elf_resolve(&elf, wants, 2), 0);
        CHECK_EQ(ht_elf_name(&elf, &wants[0], name, sizeof(name)), 4);
        CHECK_STR_EQ(name, "last");
        CHECK_EQ(wants[1].rank, 0);
        image->segments[0].p_memsz++; /* another library has come */
        CHECK_EQ(ht_elf_name(&elf, &wants[0], name, sizeof(name)), -ESTALE);
        ht_elf_close(&elf);
        CHECK_EQ(ht_elf_open_loaded(&place, &identity, &elf), -ESTALE);
    }
    munmap(image, IMAGE_SIZE);
}

TEST(elf_loaded_with_random_bytes)
{
    struct ht_elf_image place;
    struct loaded *image = map_image(&place);
    for (int round = 0; round < 20000; round++) {
        struct ht_elf_identity identity = build_loaded(image, round & 1, round & 2);
        unsigned count = 1 + (unsigned)(random_number() % 4);
        for (unsigned i = 0; i < count; i++)
            ((unsigned char *)image)[random_number() % sizeof(*image)] =
                random_number() % 3 == 0 ? 0xff : (unsigned char)random_number();
        struct ht_elf elf;
        if (ht_elf_open_loaded(&place, &identity, &elf) < 0)
            continue;
        for (unsigned i = 0; i < 8; i++)
            wants[i] = (struct ht_elf_want){.address = 0x1000 + i * 0x80};
        ht_elf_resolve(&elf, wants, 8);
        for (unsigned i = 0; i < 8; i++) {
            char name[300];
            int length = ht_elf_name(&elf, &wants[i], name, sizeof(name));
            CHECK(length < 0 || (size_t)length == strlen(name));
        }
        ht_elf_close(&elf);
    }
    munmap(image, IMAGE_SIZE);
}

/* ---- .gnu_debugdata ---- */

/* `small` without its .symtab, which comes packed at the end instead. NULL: no liblzma. */
static char *build_with_debugdata(size_t *ret_size)
{
    static const char sections[] = "\0.gnu_debugdata";
    struct small inner = build(), outer = build();
    void *packed;
    size_t size = xz_pack(&inner, sizeof(inner), &packed);
    if (size == 0)
        return NULL;
    memset(outer.symtab, 0, sizeof(outer.symtab));
    memcpy(outer.strings + STRINGS - sizeof(sections), sections, sizeof(sections));
    outer.header.e_shstrndx = 3;
    outer.sections[1] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                                     .sh_name = STRINGS - sizeof(sections) + 1,
                                     .sh_offset = sizeof(outer),
                                     .sh_size = size};
    char *file = calloc(1, sizeof(outer) + size);
    CHECK(file != NULL);
    memcpy(file, &outer, sizeof(outer));
    memcpy(file + sizeof(outer), packed, size);
    free(packed);
    *ret_size = sizeof(outer) + size;
    return file;
}

TEST(elf_debugdata)
{
    static const struct {
        uint64_t address;
        const char *name;
    } cases[] = {{0x1040, "inner"}, {0x1100, "global"}, {0x1110, "dynamic"}, {0x1400, "assembly"}};
    struct ht_elf elf;
    size_t size, before = ht_arena_used();
    char *file = build_with_debugdata(&size);
    if (file == NULL)
        return;
    for (int is_there = 0; is_there < 2; is_there++) {
        CHECK_EQ(ht_elf_open(path_of(file, size), NULL, &elf), 0);
        for (unsigned i = 0; i < HT_ARRAY_SIZE(cases); i++)
            wants[i] = (struct ht_elf_want){.address = cases[i].address};
        CHECK_EQ(ht_elf_resolve(&elf, wants, HT_ARRAY_SIZE(cases)), 0);
        for (unsigned i = 0; i < HT_ARRAY_SIZE(cases); i++) {
            char name[32];
            CHECK(ht_elf_name(&elf, &wants[i], name, sizeof(name)) > 0);
            CHECK_STR_EQ(name, is_there ? cases[i].name : "dynamic");
        }
        ht_elf_close(&elf);
        CHECK_EQ(ht_arena_used(), before);
        ht_xz_start();
    }
    /* Without memory, and cut anywhere: the other names are still there, or it is no file. */
    for (unsigned n = 1; n < 8; n++) {
        ht_arena_fail_from(n);
        CHECK_EQ(ht_elf_open(path_of(file, size), NULL, &elf), 0);
        CHECK_EQ(elf.is_short_of_memory, elf.tables[HT_ELF_MINI].count == 0);
        ht_elf_close(&elf);
    }
    ht_arena_fail_from(0);
    for (size_t cut = size - 400; cut < size; cut++) {
        if (ht_elf_open(path_of(file, cut), NULL, &elf) == 0) {
            CHECK_EQ(elf.tables[HT_ELF_MINI].count, 0);
            ht_elf_close(&elf);
        }
    }
    CHECK_EQ(ht_arena_used(), before);
    free(file);
}

/* Uses a file in every way; what it finds does not matter. */
static void use(const void *data, size_t size)
{
    struct ht_elf elf;
    if (ht_elf_open(path_of(data, size), NULL, &elf) < 0)
        return;
    for (unsigned i = 0; i < 64; i++)
        wants[i] = (struct ht_elf_want){.address = 0x0f80 + i * 0x20};
    ht_elf_resolve(&elf, wants, 64);
    for (unsigned i = 0; i < 64; i++) {
        char name[300];
        int length = ht_elf_name(&elf, &wants[i], name, 1 + i * 4);
        CHECK(length < 0 || (size_t)length == strlen(name));
    }
    ht_elf_close(&elf);
}

TEST(elf_truncated_anywhere)
{
    struct small file = build();
    size_t before = ht_arena_used();
    for (size_t size = 0; size <= sizeof(file); size++)
        use(&file, size);
    CHECK_EQ(ht_arena_used(), before);
}

TEST(elf_with_random_bytes)
{
    size_t before = ht_arena_used();
    int first_fd = dup(0);
    close(first_fd);
    for (int round = 0; round < 20000; round++) {
        struct small file = build();
        unsigned char *bytes = (unsigned char *)&file;
        unsigned count = 1 + (unsigned)(random_number() % 8);
        for (unsigned i = 0; i < count; i++) {
            /* Half of them in the headers of the file and of its sections. */
            size_t at = random_number() % sizeof(file);
            if (random_number() % 4 == 0)
                at %= sizeof(Elf64_Ehdr);
            else if (random_number() % 3 == 0)
                at = offsetof(struct small, sections) + at % sizeof(file.sections);
            bytes[at] = random_number() % 3 == 0 ? 0xff : (unsigned char)random_number();
        }
        use(&file, sizeof(file));
    }
    CHECK_EQ(ht_arena_used(), before);
    int last_fd = dup(0);
    close(last_fd);
    CHECK(last_fd <= first_fd + 1);
}

/* A table in which everything covers everything ends, and gives no names. */
TEST(elf_does_not_scan_for_ever)
{
    enum { COUNT = 100000 };
    struct small head = build();
    size_t size = sizeof(head) + COUNT * sizeof(Elf64_Sym);
    char *file = calloc(1, size);
    head.sections[1].sh_offset = sizeof(head);
    head.sections[1].sh_size = COUNT * sizeof(Elf64_Sym);
    memcpy(file, &head, sizeof(head));
    Elf64_Sym *symbols = (void *)(file + sizeof(head));
    for (unsigned i = 0; i < COUNT; i++)
        symbols[i] = (Elf64_Sym){.st_name = 1,
                                 .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                                 .st_shndx = 1,
                                 .st_value = 0,
                                 .st_size = UINT64_MAX};
    struct ht_elf elf;
    CHECK_EQ(ht_elf_open(path_of(file, size), NULL, &elf), 0);
    for (unsigned i = 0; i < WANTS; i++)
        wants[i] = (struct ht_elf_want){.address = i};
    CHECK_EQ(ht_elf_resolve(&elf, wants, WANTS), -E2BIG);
    for (unsigned i = 0; i < WANTS; i++)
        CHECK_EQ(wants[i].rank, 0);
    ht_elf_close(&elf);
    free(file);
}
