#include "control/copies.h"

#include <link.h>
#include <stdio.h>
#include <string.h>

#include "sys/os.h"

#include "sys/poison.h"

#define NAME_SIZE 1024

/* A note (elf(5)) of the owner "heaptap", type 1, without a description. */
__asm__(".pushsection .note.heaptap, \"a\", @note\n"
        ".balign 4\n"
        "ht_copies_note:\n"
        ".long 8, 0, 1\n"
        ".asciz \"heaptap\"\n"
        ".popsection");

struct note {
    ElfW(Nhdr) header;
    char owner[8];
};

extern HT_HIDDEN const struct note ht_copies_note;

static char name[NAME_SIZE];
static bool found;

static bool has_note(uintptr_t notes, size_t size)
{
    if (size > UINT16_MAX || !ht_os_readable_all(notes, size))
        return false;
    for (size_t at = 0; at + sizeof(struct note) <= size; at += 4) {
        if (memcmp((const void *)(notes + at), &ht_copies_note, sizeof(struct note)) == 0)
            return true;
    }
    return false;
}

static bool is_ours(const struct dl_phdr_info *info, const ElfW(Phdr) * segment)
{
    return (uintptr_t)&ht_copies_note - info->dlpi_addr - segment->p_vaddr < segment->p_memsz;
}

/* 1, at our own or at the first copy in front: no more is asked. */
static int look(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_NOTE)
            continue;
        if (is_ours(info, segment))
            return 1;
        if (has_note(info->dlpi_addr + segment->p_vaddr, segment->p_memsz)) {
            snprintf(name, sizeof(name), "%s", info->dlpi_name != NULL ? info->dlpi_name : "");
            found = true;
            return 1;
        }
    }
    return 0;
}

void ht_copies_start(void)
{
    dl_iterate_phdr(look, NULL);
}

const char *ht_copies_in_front(void)
{
    return found ? name : NULL;
}
