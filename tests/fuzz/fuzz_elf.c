/* fuzz_elf.c: files that claim to be ELF, and the same bytes as something that is loaded, into
 * report/elf.c, elf_loaded.c, elf_symbols.c and xz.c.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -fsanitize=fuzzer,address,undefined \
 *         -fno-sanitize-recover=all -o fuzz tests/fuzz/fuzz_elf.c \
 *         profiler/report/{elf,elf_loaded,elf_symbols,source,xz}.c profiler/sys/{arena,lock,os}.c
 *     ./fuzz tests/fuzz/corpus/elf */
#include "report/elf.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replay.h"

#define WANTS      64u
#define IMAGE_SIZE ((size_t)64 * 1024)

static void look_up(struct ht_elf *elf)
{
    struct ht_elf_want wants[WANTS];
    char name[300];
    for (unsigned i = 0; i < WANTS; i++)
        wants[i].address = i < WANTS / 2 ? i * 64 : 0x400000 + (uint64_t)i * 16;
    ht_elf_resolve(elf, wants, WANTS);
    for (unsigned i = 0; i < WANTS; i++) {
        size_t room = 1 + i * 4;
        int length = ht_elf_name(elf, &wants[i], name, room);
        if (length >= 0 && (strlen(name) != (size_t)length || (size_t)length >= room))
            abort();
    }
    ht_elf_close(elf);
}

/* The reader takes a path: the bytes go to a file in memory. */
static void as_file(const uint8_t *data, size_t size)
{
    struct ht_elf elf;
    char path[64];
    int fd = memfd_create("elf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (ht_elf_open(path, NULL, &elf) == 0)
        look_up(&elf);
    close(fd);
}

/* Always at the same place, so that a file may hold addresses of it, and one that no sanitizer needs.
 * It is what is expected there by its first segment, or by the build id that the notes in its first
 * bytes have. */
static void as_loaded(const uint8_t *data, size_t size)
{
    static char *image;
    struct ht_elf elf;
    struct ht_elf_identity identity = {0};
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    if (image == NULL)
        image = mmap((void *)0x567000000000, IMAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (image == MAP_FAILED)
        abort();
    size = size < IMAGE_SIZE ? size : IMAGE_SIZE;
    memcpy(image, data, size);
    memset(image + size, 0, IMAGE_SIZE - size);
    memcpy(&header, image, sizeof(header));
    if (header.e_phoff <= IMAGE_SIZE - sizeof(segment)) {
        memcpy(&segment, image + header.e_phoff, sizeof(segment));
        identity.segment_vaddr = segment.p_vaddr;
        identity.segment_offset = segment.p_offset;
        identity.segment_size = segment.p_memsz;
    }
    for (int has_id = 0; has_id < 2; has_id++) {
        struct ht_elf_image place = {(uintptr_t)image, (uintptr_t)image + IMAGE_SIZE,
                                     (uintptr_t)image};
        if (has_id && !ht_elf_find_build_id(data, size, &identity.build_id))
            break;
        if (ht_elf_open_loaded(&place, &identity, &elf) == 0)
            look_up(&elf);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    struct ht_build_id build_id;
    if (size == 0)
        return 0;
    if (!is_started)
        dlopen("liblzma.so.5", RTLD_NOW | RTLD_LOCAL);
    if (!is_started)
        ht_xz_start();
    is_started = true;
    ht_elf_find_build_id(data, size, &build_id);
    as_file(data, size);
    as_loaded(data, size);
    return 0;
}
