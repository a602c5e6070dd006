#include "symbols.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A mapped file. */
struct image {
    const char *bytes;
    uint64_t size;
};

/* `count` things of `size` bytes at `offset`; NULL when they are not all in the file, or not
 * aligned. */
static const void *at(const struct image *image, uint64_t offset, uint64_t count, uint64_t size)
{
    if (offset > image->size || offset % 8 != 0 || count > (image->size - offset) / size)
        return NULL;
    return image->bytes + offset;
}

/* The text at `index` of a string section; "" when it is not there. */
static const char *text_at(const struct image *image, const Elf64_Shdr *strings, uint64_t index)
{
    if (strings->sh_offset > image->size || index >= image->size - strings->sh_offset ||
        index >= strings->sh_size)
        return "";
    const char *text = image->bytes + strings->sh_offset + index;
    uint64_t room = ht_min(strings->sh_size - index, image->size - (uint64_t)(text - image->bytes));
    return memchr(text, 0, room) ? text : "";
}

static void take_symbol(struct symbols *symbols, const Elf64_Sym *symbol, const char *name)
{
    unsigned type = ELF64_ST_TYPE(symbol->st_info);
    if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL)
        return;
    bool is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
    symbols->has_malloc |= is_function && strcmp(name, "malloc") == 0;
    symbols->has_operator_new |= is_function && strcmp(name, "_Znwm") == 0;
    symbols->has_heaptap |= strcmp(name, "heaptap_anchor") == 0;
}

static void read_symbols(const struct image *image, const Elf64_Shdr *section,
                         const Elf64_Shdr *strings, struct symbols *symbols)
{
    uint64_t count = section->sh_size / sizeof(Elf64_Sym);
    const Elf64_Sym *table = at(image, section->sh_offset, count, sizeof(*table));
    for (uint64_t i = 0; table && i < count; i++)
        take_symbol(symbols, &table[i], text_at(image, strings, table[i].st_name));
}

static void read_needed(const struct image *image, const Elf64_Shdr *section,
                        const Elf64_Shdr *strings, struct symbols *symbols)
{
    uint64_t count = section->sh_size / sizeof(Elf64_Dyn);
    const Elf64_Dyn *entries = at(image, section->sh_offset, count, sizeof(*entries));
    for (uint64_t i = 0; entries && i < count && entries[i].d_tag != DT_NULL; i++) {
        if (entries[i].d_tag != DT_NEEDED)
            continue;
        const char *name = text_at(image, strings, entries[i].d_un.d_val);
        symbols->needs_heaptap |= strncmp(name, "libheaptap.so", 13) == 0;
        if (!symbols->allocator[0] && symbols_is_allocator(name))
            snprintf(symbols->allocator, sizeof(symbols->allocator), "%s", name);
    }
}

static int read_image(const struct image *image, struct symbols *symbols)
{
    const Elf64_Ehdr *elf = at(image, 0, 1, sizeof(*elf));
    if (!elf || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB)
        return -ENOEXEC;
    const Elf64_Shdr *sections = at(image, elf->e_shoff, elf->e_shnum, sizeof(*sections));
    if (!sections || elf->e_shentsize != sizeof(*sections))
        return -ENOEXEC;
    for (unsigned i = 0; i < elf->e_shnum; i++) {
        if (sections[i].sh_link >= elf->e_shnum)
            continue;
        const Elf64_Shdr *strings = &sections[sections[i].sh_link];
        if (sections[i].sh_type == SHT_SYMTAB || sections[i].sh_type == SHT_DYNSYM)
            read_symbols(image, &sections[i], strings, symbols);
        else if (sections[i].sh_type == SHT_DYNAMIC)
            read_needed(image, &sections[i], strings, symbols);
    }
    return 0;
}

int symbols_read(const char *path, struct symbols *ret_symbols)
{
    struct symbols symbols = {0};
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int r = -ENOEXEC;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        struct image image = {.size = (uint64_t)status.st_size};
        void *bytes = mmap(NULL, image.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes != MAP_FAILED) {
            image.bytes = bytes;
            r = read_image(&image, &symbols);
            munmap(bytes, image.size);
        }
    }
    close(fd);
    if (r == 0)
        *ret_symbols = symbols;
    return r;
}

bool symbols_is_allocator(const char *library)
{
    static const char *const names[] = {"libjemalloc",        "libtcmalloc",      "libmimalloc",
                                        "libsnmalloc",        "librpmalloc",      "libhoard",
                                        "libtbbmalloc_proxy", "libc_malloc_debug"};
    const char *slash = strrchr(library, '/');
    const char *base = slash ? slash + 1 : library;
    for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++) {
        size_t length = strlen(names[i]);
        if (strncmp(base, names[i], length) == 0 && strchr("._-0123456789", base[length]))
            return true;
    }
    return false;
}
