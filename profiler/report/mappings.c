#include "report/mappings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

#include "report/loaded.h"
#include "report/maps.h"
#include "sample/modules.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

/* Libraries may be loaded between the count and the collection. */
#define ATTEMPTS 8

/* Room for one path that has to be asked for: see `complete_paths`. */
#define OPEN_PATH HT_PATH_MAX

/* Fills what fits into the memory it has and counts what would be needed. */
struct collection {
    struct ht_mapping *items;
    char *text;
    size_t items_room, text_room;
    size_t items_needed, text_needed;
};

/* Notes lie in memory only where a readable segment holds them. */
static void read_build_id(const struct dl_phdr_info *info, struct ht_build_id *ret_build_id)
{
    for (size_t i = 0; i < info->dlpi_phnum && ret_build_id->size == 0; i++) {
        const ElfW(Phdr) *note = &info->dlpi_phdr[i];
        if (note->p_type != PT_NOTE || note->p_memsz < sizeof(ElfW(Nhdr)) ||
            note->p_memsz > UINT16_MAX)
            continue;
        for (size_t j = 0; j < info->dlpi_phnum; j++) {
            const ElfW(Phdr) *load = &info->dlpi_phdr[j];
            if (load->p_type != PT_LOAD || !(load->p_flags & PF_R) ||
                note->p_vaddr < load->p_vaddr ||
                note->p_vaddr + note->p_memsz > load->p_vaddr + load->p_filesz)
                continue;
            uintptr_t address = info->dlpi_addr + note->p_vaddr;
            if (ht_os_readable(address) &&
                ht_os_readable(address + note->p_memsz - sizeof(uint64_t)))
                ht_elf_find_build_id((const void *)address, note->p_memsz, ret_build_id);
            break;
        }
    }
}

static bool holds(const struct dl_phdr_info *info, uintptr_t address)
{
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *load = &info->dlpi_phdr[i];
        if (load->p_type == PT_LOAD && address - info->dlpi_addr - load->p_vaddr < load->p_memsz)
            return true;
    }
    return false;
}

/* The module's path, as far as the loader knows it; NULL when there is no room for it. */
static const char *copy_path(struct collection *all, const struct dl_phdr_info *info)
{
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    if (vdso != 0 && holds(info, vdso))
        return "[vdso]";
    const char *name = info->dlpi_name != NULL ? info->dlpi_name : "";
    size_t length = strnlen(name, HT_PATH_MAX - 1);
    size_t size = name[0] == '/' ? length + 1 : OPEN_PATH;
    size_t at = all->text_needed;
    all->text_needed += size;
    if (all->text_needed > all->text_room)
        return NULL;
    char *copy = all->text + at;
    memcpy(copy, name, length);
    copy[length] = 0;
    return copy;
}

/* From the page where the first segment begins: there every linker puts the ELF header. */
static struct ht_elf_image image_of(const struct dl_phdr_info *info)
{
    struct ht_elf_image image = {.start = UINTPTR_MAX, .bias = info->dlpi_addr};
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *load = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + load->p_vaddr;
        if (load->p_type != PT_LOAD)
            continue;
        image.start = ht_min(image.start, ht_round_down(start, HT_PAGE));
        image.limit = ht_max(image.limit, start + load->p_memsz);
    }
    return image;
}

/* Runs under the loader's lock: it copies, and nothing else. */
static void collect(const struct dl_phdr_info *info, void *context)
{
    struct collection *all = context;
    const char *path = NULL;
    size_t module = all->items_needed;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *load = &info->dlpi_phdr[i];
        if (load->p_type != PT_LOAD || !(load->p_flags & PF_X) || load->p_memsz == 0)
            continue;
        if (all->items_needed == module)
            path = copy_path(all, info);
        size_t index = all->items_needed++;
        if (index >= all->items_room || path == NULL)
            continue;
        struct ht_mapping *mapping = &all->items[index];
        memset(mapping, 0, sizeof(*mapping));
        mapping->start = info->dlpi_addr + load->p_vaddr;
        mapping->limit = mapping->start + load->p_memsz;
        mapping->offset = load->p_offset;
        mapping->bias = info->dlpi_addr;
        mapping->image = image_of(info);
        mapping->path = path;
        mapping->module = (uint32_t)module;
        mapping->identity.segment_vaddr = load->p_vaddr;
        mapping->identity.segment_offset = load->p_offset;
        mapping->identity.segment_size = load->p_memsz;
        if (index == module)
            read_build_id(info, &mapping->identity.build_id);
        else
            mapping->identity.build_id = all->items[module].identity.build_id;
    }
}

/* Libraries that are gone, at the addresses that their frames were moved to. */
static void collect_gone(struct collection *all)
{
    for (const struct ht_module *gone = ht_modules_newest(); gone != NULL; gone = gone->older) {
        uintptr_t by = __atomic_load_n(&gone->moved_by, __ATOMIC_ACQUIRE);
        size_t module = all->items_needed;
        for (unsigned i = 0; by != 0 && i < gone->segment_count; i++) {
            size_t index = all->items_needed++;
            if (index >= all->items_room)
                continue;
            struct ht_mapping *mapping = &all->items[index];
            *mapping = (struct ht_mapping){
                .start = gone->base + gone->segments[i].vaddr + by,
                .limit = gone->base + gone->segments[i].vaddr + gone->segments[i].size + by,
                .offset = gone->segments[i].offset,
                .bias = gone->base + by,
                .path = gone->path,
                .module = (uint32_t)module,
                .identity = {.build_id.size = (uint8_t)gone->build_id_size,
                             .segment_vaddr = gone->segments[i].vaddr,
                             .segment_offset = gone->segments[i].offset,
                             .segment_size = gone->segments[i].size},
            };
            memcpy(mapping->identity.build_id.bytes, gone->build_id, gone->build_id_size);
        }
    }
}

static int collect_all(struct collection *all)
{
    int r = ht_loaded_each(collect, all);
    collect_gone(all);
    return r;
}

static bool is_open(const struct ht_mapping *mapping)
{
    return mapping->path[0] != '/' && mapping->path[0] != '[';
}

static void take_path(const struct ht_mapping *mapping, const char *path)
{
    static const char deleted[] = " (deleted)";
    size_t length = strlen(path), tail = sizeof(deleted) - 1;
    if (path[0] != '/' || length >= OPEN_PATH)
        return;
    if (length > tail && strcmp(path + length - tail, deleted) == 0)
        length -= tail;
    /* Ours: copy_path() reserved OPEN_PATH bytes for it. */
    char *copy = (char *)(uintptr_t)mapping->path;
    memcpy(copy, path, length);
    copy[length] = 0;
}

static void take_line(const struct ht_maps_line *line, void *context)
{
    struct ht_mappings *mappings = context;
    for (size_t i = 0; line->path != NULL && i < mappings->count; i++) {
        const struct ht_mapping *mapping = &mappings->items[i];
        if (mapping->start >= line->start && mapping->start < line->end && is_open(mapping))
            take_path(mapping, line->path);
    }
}

static bool any_open(const struct ht_mappings *mappings)
{
    for (size_t i = 0; i < mappings->count; i++)
        if (is_open(&mappings->items[i]))
            return true;
    return false;
}

/* The loader has no name for the main program, and for others whatever dlopen() was given, relative
 * to a directory that may no longer be the current one. The kernel knows. It also tells the program
 * from the loader when it was started as `ld.so program`, which /proc/thread-self/exe does not. */
static void complete_paths(struct ht_mappings *mappings)
{
    char buffer[HT_PATH_MAX];
    if (any_open(mappings))
        ht_maps_each(take_line, mappings);
    if (mappings->count > 0 && is_open(&mappings->items[0]) &&
        ht_os_read_link("/proc/thread-self/exe", buffer, sizeof(buffer)) > 0)
        take_path(&mappings->items[0], buffer);
}

static void sort_by_start(struct ht_mappings *mappings)
{
    for (size_t i = 0; i < mappings->count; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            uint32_t before = mappings->by_start[at - 1];
            if (mappings->items[before].start <= mappings->items[i].start)
                break;
            mappings->by_start[at] = before;
        }
        mappings->by_start[at] = (uint32_t)i;
    }
}

int ht_mappings_load(struct ht_mappings *ret_mappings)
{
    struct collection all = {0};
    int r = collect_all(&all);
    if (r < 0)
        return r;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        size_t items_room = all.items_needed + 8, text_room = all.text_needed + HT_PATH_MAX;
        size_t items_size = items_room * sizeof(struct ht_mapping);
        size_t size = items_size + items_room * sizeof(uint32_t) + text_room;
        char *memory = ht_arena_map(size);
        if (memory == NULL)
            return -ENOMEM;
        all = (struct collection){.items = (void *)memory,
                                  .text = memory + size - text_room,
                                  .items_room = items_room,
                                  .text_room = text_room};
        r = collect_all(&all);
        if (r == 0 && all.items_needed <= items_room && all.text_needed <= text_room) {
            *ret_mappings = (struct ht_mappings){.items = all.items,
                                                 .by_start = (void *)(memory + items_size),
                                                 .count = all.items_needed,
                                                 .memory = memory,
                                                 .memory_size = size};
            complete_paths(ret_mappings);
            sort_by_start(ret_mappings);
            return 0;
        }
        ht_arena_unmap(memory, size);
        if (r < 0)
            return r;
    }
    return -EAGAIN;
}

void ht_mappings_free(struct ht_mappings *mappings)
{
    ht_arena_unmap(mappings->memory, mappings->memory_size);
    *mappings = (struct ht_mappings){0};
}

const struct ht_mapping *ht_mappings_find(const struct ht_mappings *mappings, uintptr_t address)
{
    size_t low = 0, high = mappings->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct ht_mapping *mapping = &mappings->items[mappings->by_start[middle]];
        if (address < mapping->start)
            high = middle;
        else if (address >= mapping->limit)
            low = middle + 1;
        else
            return mapping;
    }
    return NULL;
}
