/* What libdw finds is asked of this very program, which knows its own lines. */
#include "../../tools/debug.h"

#include <dwarf.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "test.h"

#define INLINED  static inline __attribute__((always_inline))
#define SEPARATE __attribute__((noinline))

static volatile uintptr_t here;
static int innermost_line, middle_line, outer_line, plain_line;

/* The address of the instruction after the call. */
static SEPARATE void note(void)
{
    here = (uintptr_t)__builtin_return_address(0);
}

INLINED void innermost(void)
{
    innermost_line = __LINE__ + 1;
    note();
    here = here + 0;
}

INLINED void middle(void)
{
    middle_line = __LINE__ + 1;
    innermost();
    here = here + 0;
}

static SEPARATE void outer(void)
{
    outer_line = __LINE__ + 1;
    middle();
    here = here + 0;
}

static SEPARATE void plain(void)
{
    plain_line = __LINE__ + 1;
    note();
    here = here + 0;
}

/* Thirty functions more, for a_walk_ends_where_the_tree_is_none. */
#define MORE(n)                                                                                    \
    __attribute__((used)) static SEPARATE void more_##n(void)                                      \
    {                                                                                              \
        middle();                                                                                  \
        middle();                                                                                  \
        here = here + n;                                                                           \
    }
#define MORE_5(n)                                                                                  \
    MORE(n##0) MORE(n##1) MORE(n##2) MORE(n##3) MORE(n##4) struct more_##n /* wants a semicolon */

MORE_5(1);
MORE_5(2);
MORE_5(3);
MORE_5(4);
MORE_5(5);
MORE_5(6);

struct found {
    uint64_t address;
    size_t count, calls;
    char names[8][32], files[8][256];
    int lines[8];
};

static void take(void *found_, const struct debug_place *place)
{
    struct found *found = found_;
    found->calls++;
    found->address = place->address;
    found->count = place->count;
    for (size_t i = 0; i < place->count && i < 8; i++) {
        const struct debug_frame *frame = &place->frames[i];
        snprintf(found->names[i], sizeof(found->names[i]), "%s", frame->name);
        snprintf(found->files[i], sizeof(found->files[i]), "%s", frame->file);
        found->lines[i] = frame->line;
    }
}

extern const char __executable_start[];

/* Where this program was loaded. A program that is not relocated was linked where it is. */
static uintptr_t bias(const struct debug_file *file)
{
    Elf64_Ehdr *header = elf64_getehdr(file->elf);
    CHECK(header);
    return header->e_type == ET_DYN ? (uintptr_t)__executable_start : 0;
}

static const struct debug_search search = {0};
static const struct debug_part whole = {0, 1};

static char path[PATH_MAX];

static struct ht_build_id id_of_ourselves(void)
{
    struct ht_build_id id = {0};
    const void *bytes;
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    CHECK(length > 0);
    path[length] = 0;
    elf_version(EV_CURRENT);
    int fd = open(path, O_RDONLY);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    ssize_t size = dwelf_elf_gnu_build_id(elf, &bytes);
    CHECK(size > 0 && size <= HT_BUILD_ID_MAX);
    id.size = (uint8_t)size;
    memcpy(id.bytes, bytes, id.size);
    elf_end(elf);
    close(fd);
    return id;
}

static const struct debug_segment all = {0, UINT64_MAX / 2};

static void open_ourselves(struct debug_files *ret_files)
{
    struct ht_build_id id = id_of_ourselves();
    debug_files_find(&search, path, &id, &all, 1, ret_files);
    CHECK(ret_files->object.fd >= 0);
    CHECK(ret_files->object.has_code);
    CHECK(ret_files->object.has_lines);
}

static void look_up(uintptr_t address, struct found *ret_found)
{
    struct debug_files files;
    struct debug debug;
    open_ourselves(&files);
    CHECK_EQ(debug_open(&search, &files.object, &debug), 0);
    uint64_t wanted = address - 1 - bias(&files.object);
    *ret_found = (struct found){0};
    CHECK_EQ(debug_find(&debug, whole, &wanted, 1, take, ret_found), 0);
    debug_close(&debug);
    debug_files_close(&files);
}

TEST(a_function_has_its_name_file_and_line)
{
    struct found found;
    plain();
    look_up(here, &found);
    CHECK_EQ(found.calls, 1);
    CHECK_EQ(found.count, 1);
    CHECK_STR_EQ(found.names[0], "plain");
    CHECK_EQ(found.lines[0], plain_line);
    CHECK(strstr(found.files[0], "test_debug.c"));
}

TEST(inlined_calls_are_told_innermost_first)
{
    struct found found;
    outer();
    look_up(here, &found);
    CHECK_EQ(found.count, 3);
    CHECK_STR_EQ(found.names[0], "innermost");
    CHECK_STR_EQ(found.names[1], "middle");
    CHECK_STR_EQ(found.names[2], "outer");
    CHECK_EQ(found.lines[0], innermost_line);
    CHECK_EQ(found.lines[1], middle_line);
    CHECK_EQ(found.lines[2], outer_line);
    CHECK(strstr(found.files[1], "test_debug.c"));
}

TEST(what_is_no_code_is_not_told)
{
    struct found found;
    look_up((uintptr_t)&here, &found);
    CHECK_EQ(found.calls, 1);
    CHECK_EQ(found.count, 0);
    look_up(12, &found);
    CHECK_EQ(found.count, 0);
}

TEST(another_build_id_is_refused)
{
    struct debug_files files;
    struct ht_build_id id = id_of_ourselves();
    id.bytes[3] ^= 1;
    debug_files_find(&search, path, &id, &all, 1, &files);
    CHECK(files.is_stale);
    CHECK_EQ(files.object.fd, -1);
    CHECK_EQ(files.debug.fd, -1);
    debug_files_close(&files);
}

static char copy[PATH_MAX];

/* A copy of ourselves that may be damaged. Its descriptor. */
static int copy_ourselves(void)
{
    static char buffer[1 << 16];
    strcpy(copy, "/tmp/heaptap-debug.XXXXXX");
    int from = open(path, O_RDONLY), to = mkstemp(copy);
    for (ssize_t n; (n = read(from, buffer, sizeof(buffer))) > 0;)
        CHECK_EQ(write(to, buffer, (size_t)n), n);
    close(from);
    return to;
}

/* Lets the first DIE in each function that has a DW_AT_sibling name as its next one that of the
 * function. Returns how many there were: clang writes no such attributes. */
static unsigned lead_out_of_functions(Dwarf_Die *unit, const Elf_Data *data, off_t section, int fd)
{
    unsigned count = 0;
    Dwarf_Die function, die;
    if (dwarf_child(unit, &function) != 0)
        return 0;
    do {
        Dwarf_Attribute outer, inner;
        if (dwarf_tag(&function) != DW_TAG_subprogram || dwarf_child(&function, &die) != 0 ||
            !dwarf_attr(&function, DW_AT_sibling, &outer) || outer.form != DW_FORM_ref4)
            continue;
        bool has_any = false;
        do
            has_any = dwarf_attr(&die, DW_AT_sibling, &inner) && inner.form == DW_FORM_ref4;
        while (!has_any && dwarf_siblingof(&die, &die) == 0);
        if (!has_any)
            continue;
        CHECK_EQ(pwrite(fd, outer.valp, 4, section + (inner.valp - (uint8_t *)data->d_buf)), 4);
        count++;
    } while (dwarf_siblingof(&function, &function) == 0);
    return count;
}

/* Each function is in all that come before it, then: a walk that goes on has 2^42 steps. */
TEST(a_walk_ends_where_the_tree_is_none)
{
    struct debug_files files;
    struct debug debug;
    struct found found = {0};
    uint64_t wanted[4096];
    size_t names;
    plain();
    open_ourselves(&files);
    CHECK_EQ(debug_open(&search, &files.object, &debug), 0);
    CHECK_EQ(elf_getshdrstrndx(files.object.elf, &names), 0);
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(files.object.elf, section)) &&
           strcmp(elf_strptr(files.object.elf, names, elf64_getshdr(section)->sh_name),
                  ".debug_info") != 0)
        continue;
    CHECK(section);
    int fd = copy_ourselves();
    for (size_t i = 0; i < debug.units.count; i++)
        lead_out_of_functions(&debug.units.all[i].scopes, elf_getdata(section, NULL),
                              (off_t)elf64_getshdr(section)->sh_offset, fd);
    for (size_t i = 0; i < HT_ARRAY_SIZE(wanted); i++)
        wanted[i] = here - 1 - bias(&files.object) + i; /* some are between functions */
    debug_close(&debug);
    debug_files_close(&files);
    close(fd);
    struct ht_build_id id = id_of_ourselves();
    debug_files_find(&search, copy, &id, &all, 1, &files);
    CHECK(files.object.fd >= 0);
    unlink(copy);
    CHECK_EQ(debug_open(&search, &files.object, &debug), 0);
    CHECK_EQ(debug_find(&debug, whole, wanted, HT_ARRAY_SIZE(wanted), take, &found), 0);
    debug_close(&debug);
    debug_files_close(&files);
}

TEST(a_file_that_is_missing_or_none_is_not_found)
{
    struct debug_files files;
    struct ht_build_id id = id_of_ourselves();
    debug_files_find(&search, "/dev/null", &id, &all, 1, &files);
    CHECK(!files.is_stale);
    CHECK_EQ(files.object.fd, -1);
    debug_files_find(&search, "/no/such/file", &id, &all, 1, &files);
    CHECK_EQ(files.object.fd, -1);
}

/* A segment as it is in the profile, and as one who rounds to pages has it. */
TEST(addresses_are_those_of_the_headers)
{
    struct debug_files files;
    open_ourselves(&files);
    size_t count;
    CHECK_EQ(elf_getphdrnum(files.object.elf, &count), 0);
    const Elf64_Phdr *header = elf64_getphdr(files.object.elf);
    while (header->p_type != PT_LOAD || !(header->p_flags & PF_X))
        header++;
    struct debug_segment exact = {header->p_offset, header->p_memsz};
    uint64_t address = 0;
    CHECK(debug_file_address(&files.object, &exact, header->p_offset + 0x123, &address));
    CHECK_EQ(address, header->p_vaddr + 0x123);
    struct debug_segment rounded = {header->p_offset & ~0xfffull,
                                    (header->p_memsz + 0x1fff) & ~0xfffull};
    CHECK(debug_file_address(&files.object, &rounded, header->p_offset + 0x123, &address));
    CHECK_EQ(address, header->p_vaddr + 0x123);
    struct debug_segment elsewhere = {UINT64_C(1) << 40, 0x1000};
    CHECK(!debug_file_address(&files.object, &elsewhere, elsewhere.offset, &address));
    debug_files_close(&files);
}
