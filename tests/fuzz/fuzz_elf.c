/* fuzz_elf.c: files that claim to be ELF, into report/elf.c.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -fsanitize=fuzzer,address,undefined \
 *         -fno-sanitize-recover=all -o fuzz tests/fuzz/fuzz_elf.c \
 *         profiler/report/elf.c profiler/sys/{arena,lock,os}.c
 *     ./fuzz tests/fuzz/corpus/elf */
#include "report/elf.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replay.h"

#define WANTS 64u

/* The reader takes a path: the bytes go to a file in memory. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ht_elf elf;
    struct ht_elf_want wants[WANTS];
    struct ht_build_id build_id;
    char path[64], name[300];
    ht_elf_find_build_id(data, size, &build_id);
    int fd = memfd_create("elf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (ht_elf_open(path, NULL, &elf) == 0) {
        for (unsigned i = 0; i < WANTS; i++)
            wants[i].address = i < WANTS / 2 ? i * 64 : 0x400000 + (uint64_t)i * 16;
        ht_elf_resolve(&elf, wants, WANTS);
        for (unsigned i = 0; i < WANTS; i++) {
            size_t room = 1 + i * 4;
            int length = ht_elf_name(&elf, &wants[i], name, room);
            if (length >= 0 && (strlen(name) != (size_t)length || (size_t)length >= room))
                abort();
        }
        ht_elf_close(&elf);
    }
    close(fd);
    return 0;
}
