#include "sample/modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "sample/lives.h"
#include "sample/tree.h"
#include "sample/unwind_rules.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

/* Addresses of what is gone begin here, where no processor has user memory. */
#define GONE_FIRST (UINT64_C(1) << 60)
#define GONE_ALIGN (UINT64_C(2) << 20)

#define HEADERS_MAX 64

static struct ht_module *newest;
static uintptr_t next_gone = GONE_FIRST;

/* What was made for a library that turned out to be known; the next one uses it. */
static struct ht_module *spare;
static size_t spare_size;

const struct ht_module *ht_modules_newest(void)
{
    return __atomic_load_n(&newest, __ATOMIC_ACQUIRE);
}

static bool is_same(const struct ht_module *module, const struct dl_find_object *found)
{
    return module->start == (uintptr_t)found->dlfo_map_start &&
           module->end == (uintptr_t)found->dlfo_map_end &&
           module->link_map == found->dlfo_link_map && module->frame_table == found->dlfo_eh_frame;
}

static bool is_loaded(const struct ht_module *module)
{
    struct dl_find_object found;
    return _dl_find_object((void *)module->start, &found) == 0 && is_same(module, &found);
}

/* ---- what a module says of itself, while it is there ---- */

/* The description of a NT_GNU_BUILD_ID note, if it is among these. */
static void find_build_id(struct ht_module *module, uintptr_t notes, size_t size)
{
    size_t at = 0;
    if (size > HT_PAGE || !ht_os_readable_all(notes, size))
        return;
    while (at + sizeof(ElfW(Nhdr)) <= size) {
        const ElfW(Nhdr) *note = (const void *)(notes + at);
        size_t name = at + sizeof(*note), text = name + ht_round_up(note->n_namesz, 4);
        size_t end = text + ht_round_up(note->n_descsz, 4);
        if (end > size || end < at)
            return;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
            memcmp((const void *)(notes + name), "GNU", 4) == 0) {
            module->build_id_size = (unsigned)ht_min(note->n_descsz, sizeof(module->build_id));
            memcpy(module->build_id, (const void *)(notes + text), module->build_id_size);
            return;
        }
        at = end;
    }
}

/* From the ELF header, which every linker puts at the start of the first segment. */
static void read_headers(struct ht_module *module)
{
    const ElfW(Ehdr) *header = (const void *)module->start;
    if (!ht_os_readable_all(module->start, sizeof(*header)) ||
        memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phnum > HEADERS_MAX ||
        header->e_phentsize != sizeof(ElfW(Phdr)) ||
        !ht_os_readable_all(module->start + header->e_phoff, header->e_phnum * sizeof(ElfW(Phdr))))
        return;
    const ElfW(Phdr) *headers = (const void *)(module->start + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *segment = &headers[i];
        if (segment->p_type == PT_NOTE && module->build_id_size == 0)
            find_build_id(module, module->base + segment->p_vaddr, segment->p_memsz);
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) ||
            module->segment_count == HT_MODULE_SEGMENTS)
            continue;
        unsigned n = module->segment_count++;
        module->segments[n].vaddr = segment->p_vaddr;
        module->segments[n].offset = segment->p_offset;
        module->segments[n].size = segment->p_memsz;
    }
}

static struct ht_module *new_module(const struct dl_find_object *found)
{
    static char directory[HT_PATH_MAX]; /* the learn lock guards it, and the stack is small */
    const char *name = found->dlfo_link_map->l_name;
    directory[0] = 0;
    if (name[0] != 0 && name[0] != '/' &&
        ht_os_current_directory(directory, sizeof(directory) - 1) == 0)
        strcat(directory, "/");
    size_t prefix = strlen(directory), length = strnlen(name, HT_PATH_MAX);
    size_t size = sizeof(struct ht_module) + prefix + length + 1;
    struct ht_module *module = spare;
    spare = NULL;
    if (module == NULL || spare_size < size) {
        spare_size = ht_round_up(size, 256); /* so that the next one fits, too */
        module = ht_arena_alloc(spare_size);
    }
    if (module == NULL)
        return NULL;
    memset(module, 0, size);
    memcpy(module->path, directory, prefix);
    memcpy(module->path + prefix, name, length);
    module->start = (uintptr_t)found->dlfo_map_start;
    module->end = (uintptr_t)found->dlfo_map_end;
    module->base = found->dlfo_link_map->l_addr;
    module->link_map = found->dlfo_link_map;
    module->frame_table = found->dlfo_eh_frame;
    read_headers(module);
    return module;
}

/* ---- coming and going ---- */

static bool has_same_contents(const struct ht_module *a, const struct ht_module *b)
{
    return a->end - a->start == b->end - b->start && a->segment_count == b->segment_count &&
           memcmp(a->segments, b->segments, sizeof(a->segments)) == 0 &&
           a->build_id_size == b->build_id_size &&
           memcmp(a->build_id, b->build_id, a->build_id_size) == 0;
}

static bool is_same_file(const struct ht_module *a, const struct ht_module *b)
{
    return has_same_contents(a, b) && strcmp(a->path, b->path) == 0;
}

/* Whether what the loader calls the same is. A path may be relative, and the directory another one
 * by now: the build id goes before it. */
static bool is_still(const struct ht_module *was, const struct ht_module *now)
{
    return has_same_contents(was, now) &&
           (was->build_id_size != 0 || strcmp(was->path, now->path) == 0);
}

static struct ht_module *find_gone(const struct ht_module *like)
{
    struct ht_module *module = newest;
    while (module != NULL && (module->moved_by == 0 || !is_same_file(module, like)))
        module = module->older;
    return module;
}

/* What is known of that code is of code elsewhere from now on. */
static void move(uintptr_t low, uintptr_t high, uintptr_t by)
{
    ht_tree_move(low, high, by);
    ht_lives_move(low, high, by);
}

static void come_back(struct ht_module *gone, const struct ht_module *now)
{
    uintptr_t was = gone->start + gone->moved_by;
    move(was, was + (gone->end - gone->start), now->start - was);
    __atomic_store_n(&gone->moved_by, 0, __ATOMIC_RELEASE);
    gone->start = now->start;
    gone->end = now->end;
    gone->base = now->base;
    gone->link_map = now->link_map;
    gone->frame_table = now->frame_table;
}

static void move_away(struct ht_module *module)
{
    uintptr_t by = next_gone - ht_round_down(module->start, GONE_ALIGN);
    next_gone += ht_round_up(module->end - module->start, GONE_ALIGN) + GONE_ALIGN;
    move(module->start, module->end, by);
    __atomic_store_n(&module->moved_by, by, __ATOMIC_RELEASE);
}

/* What still seems to be loaded may be another library by now: the next note will find out. */
void ht_modules_settle(void)
{
    for (struct ht_module *module = newest; module != NULL; module = module->older) {
        module->is_certain = false;
        if (module->moved_by == 0 && !is_loaded(module))
            move_away(module);
    }
}

/* While something is being unloaded, a library may go, and another one get its address, its size
 * and even the loader's block of memory for it, and be sampled, before we are told: then only the
 * file itself tells them apart. The module that is noted cannot go meanwhile: it is on a stack. */
static bool is_certain(const struct ht_module *module)
{
    return module->is_certain && ht_rules_hidden() == 0;
}

/* The one that the loader calls so. `ret_replaced`: others were where it is. */
static struct ht_module *find_loaded(const struct dl_find_object *found, bool *ret_replaced)
{
    *ret_replaced = false;
    struct ht_module *module = newest;
    for (; module != NULL; module = module->older) {
        if (module->moved_by != 0)
            continue;
        if (is_same(module, found))
            break;
        *ret_replaced |= module->start < (uintptr_t)found->dlfo_map_end &&
                         (uintptr_t)found->dlfo_map_start < module->end;
    }
    return module;
}

/* The known module of this description, which is added if there is none. */
static struct ht_module *know(struct ht_module *module)
{
    struct ht_module *back = find_gone(module);
    if (back != NULL) {
        come_back(back, module);
        spare = module;
        return back;
    }
    module->older = newest;
    __atomic_store_n(&newest, module, __ATOMIC_RELEASE);
    return module;
}

bool ht_modules_note(uintptr_t pc)
{
    static const struct ht_module
        *last; /* loaded when it was noted; gone ones are told by moved_by */
    struct dl_find_object found;
    if (_dl_find_object((void *)pc, &found) != 0 ||
        (last != NULL && last->moved_by == 0 && is_certain(last) && is_same(last, &found)))
        return false;
    bool replaced;
    struct ht_module *known = find_loaded(&found, &replaced);
    if (known == NULL && replaced)
        ht_modules_settle();
    if (known == NULL || !is_certain(known)) {
        struct ht_module *module = new_module(&found);
        if (module == NULL)
            return replaced;
        if (known == NULL) {
            known = know(module);
        } else if (is_still(known, module)) {
            spare = module;
        } else {
            move_away(known);
            known = know(module);
            replaced = true;
        }
        known->is_certain = ht_rules_hidden() == 0;
    }
    last = known;
    return replaced;
}
