#include "test.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../tools/symbols.h"

/* A file with one symbol table and one dynamic section. */
struct file {
    Elf64_Ehdr elf;
    Elf64_Shdr
        sections[4]; /* none, symbols, their strings and those of the dynamic section, dynamic */
    Elf64_Sym symbols[4];
    Elf64_Dyn dynamic[3];
    char strings[128];
};

#define NAMES "\0malloc\0_Znwm\0heaptap_anchor\0libjemalloc.so.2\0libheaptap.so.0"
enum { MALLOC = 1, OPERATOR_NEW = 8, ANCHOR = 14, JEMALLOC = 29, HEAPTAP = 46 };

static struct file make(void)
{
    struct file file = {.elf = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
                                .e_shoff = offsetof(struct file, sections),
                                .e_shnum = 4,
                                .e_shentsize = sizeof(Elf64_Shdr)}};
    memcpy(file.strings, NAMES, sizeof(NAMES));
    file.sections[1] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                                    .sh_link = 2,
                                    .sh_offset = offsetof(struct file, symbols),
                                    .sh_size = sizeof(file.symbols)};
    file.sections[2] = (Elf64_Shdr){.sh_type = SHT_STRTAB,
                                    .sh_offset = offsetof(struct file, strings),
                                    .sh_size = sizeof(file.strings)};
    file.sections[3] = (Elf64_Shdr){.sh_type = SHT_DYNAMIC,
                                    .sh_link = 2,
                                    .sh_offset = offsetof(struct file, dynamic),
                                    .sh_size = sizeof(file.dynamic)};
    return file;
}

static Elf64_Sym function(unsigned name, unsigned bind, unsigned section)
{
    return (Elf64_Sym){.st_name = name,
                       .st_info = (unsigned char)ELF64_ST_INFO(bind, STT_FUNC),
                       .st_shndx = (Elf64_Half)section};
}

static int read_back(const void *bytes, size_t size, struct symbols *ret_symbols)
{
    char path[] = "/tmp/heaptap-symbols.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, bytes, size), (ssize_t)size);
    close(fd);
    int r = symbols_read(path, ret_symbols);
    unlink(path);
    return r;
}

TEST(symbols_of_its_own)
{
    struct file file = make();
    struct symbols symbols;
    CHECK_EQ(read_back(&file, sizeof(file), &symbols), 0);
    CHECK(!symbols.has_malloc && !symbols.has_operator_new && !symbols.has_heaptap);
    CHECK(!symbols.needs_heaptap && symbols.allocator[0] == 0);

    file.symbols[0] = function(MALLOC, STB_GLOBAL, SHN_UNDEF);
    file.symbols[1] = function(MALLOC, STB_LOCAL, 1);
    file.symbols[2] = function(OPERATOR_NEW, STB_WEAK, 1);
    CHECK_EQ(read_back(&file, sizeof(file), &symbols), 0);
    CHECK(!symbols.has_malloc && symbols.has_operator_new);

    file.symbols[0] = function(MALLOC, STB_GLOBAL, 1);
    file.symbols[3] = function(ANCHOR, STB_GLOBAL, 1);
    file.dynamic[0] = (Elf64_Dyn){.d_tag = DT_NEEDED, .d_un.d_val = JEMALLOC};
    file.dynamic[1] = (Elf64_Dyn){.d_tag = DT_NEEDED, .d_un.d_val = HEAPTAP};
    CHECK_EQ(read_back(&file, sizeof(file), &symbols), 0);
    CHECK(symbols.has_malloc && symbols.has_heaptap && symbols.needs_heaptap);
    CHECK_STR_EQ(symbols.allocator, "libjemalloc.so.2");
}

TEST(symbols_of_what_is_no_elf)
{
    struct file file = make();
    struct symbols symbols;
    CHECK_EQ(read_back("#!/bin/sh\n", 10, &symbols), -ENOEXEC);
    CHECK_EQ(read_back("", 0, &symbols), -ENOEXEC);
    file.elf.e_ident[EI_CLASS] = ELFCLASS32;
    CHECK_EQ(read_back(&file, sizeof(file), &symbols), -ENOEXEC);
    CHECK_EQ(symbols_read("/nowhere/at/all", &symbols), -ENOENT);
    CHECK_EQ(symbols_read("/dev/null", &symbols), -ENOEXEC);
}

/* Every cut, and every byte of the headers and tables changed: no fault. Sanitizers look on. */
TEST(symbols_of_lies)
{
    struct file good = make();
    struct symbols symbols;
    good.symbols[0] = function(MALLOC, STB_GLOBAL, 1);
    good.dynamic[0] = (Elf64_Dyn){.d_tag = DT_NEEDED, .d_un.d_val = JEMALLOC};
    for (size_t size = 0; size < sizeof(good); size++)
        read_back(&good, size, &symbols);
    for (size_t i = 0; i < offsetof(struct file, strings); i++) {
        struct file bad = good;
        ((unsigned char *)&bad)[i] ^= 0xff;
        read_back(&bad, sizeof(bad), &symbols);
    }
}

TEST(symbols_names_of_allocators)
{
    CHECK(symbols_is_allocator("libjemalloc.so.2"));
    CHECK(symbols_is_allocator("/usr/lib/libtcmalloc_minimal.so.4"));
    CHECK(symbols_is_allocator("libmimalloc-secure.so"));
    CHECK(!symbols_is_allocator("libjemallocator.so"));
    CHECK(!symbols_is_allocator("/libjemalloc/libc.so.6"));
    CHECK(!symbols_is_allocator(""));
}
