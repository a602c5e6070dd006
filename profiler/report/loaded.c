#include "report/loaded.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/auxv.h>

#include "report/maps.h"
#include "sys/lock.h"
#include "sys/os.h"

#include "sys/poison.h"

#define HEADERS_MAX 64

/* Held, rank HT_RANK_LOADED, around dl_iterate_phdr(). A fork waits a while for it and no longer:
 * the thread that forks may itself have the loader's lock. */
static struct ht_lock lock;
static HT_THREAD_LOCAL bool fork_has_lock;

static bool is_fork_child;

struct visit {
    void (*take)(const struct dl_phdr_info *info, void *context);
    void *context;
    uintptr_t program, last; /* where they are mapped */
};

static int take_one(struct dl_phdr_info *info, size_t size, void *visit_)
{
    struct visit *visit = visit_;
    (void)size;
    visit->take(info, visit->context);
    return 0;
}

/* ---- in the child of a fork: threads that are gone may have the loader's lock ---- */

/* By the ELF header, which every linker puts at the start of the first segment. */
static void take_headers(struct visit *visit, uintptr_t start, uintptr_t bias, const char *name)
{
    const ElfW(Ehdr) *header = (const void *)start;
    if (!ht_os_readable_all(start, sizeof(*header)) ||
        memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phnum > HEADERS_MAX ||
        header->e_phentsize != sizeof(ElfW(Phdr)) ||
        !ht_os_readable_all(start + header->e_phoff, header->e_phnum * sizeof(ElfW(Phdr))))
        return;
    struct dl_phdr_info info = {.dlpi_addr = bias,
                                .dlpi_name = name,
                                .dlpi_phdr = (const void *)(start + header->e_phoff),
                                .dlpi_phnum = header->e_phnum};
    visit->take(&info, visit->context);
}

/* 0 when nothing is loaded there. */
static uintptr_t take_module_at(struct visit *visit, uintptr_t address)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0)
        return 0;
    uintptr_t start = (uintptr_t)found.dlfo_map_start;
    if (start != visit->program && start != visit->last)
        take_headers(visit, start, found.dlfo_link_map->l_addr, found.dlfo_link_map->l_name);
    return start;
}

static void take_line(const struct ht_maps_line *line, void *visit_)
{
    struct visit *visit = visit_;
    if (!line->is_executable)
        return;
    if (line->start == getauxval(AT_SYSINFO_EHDR)) /* loaded where it was linked: at 0 */
        take_headers(visit, line->start, line->start, "");
    else
        visit->last = take_module_at(visit, line->start);
}

static int each_without_lock(struct visit *visit)
{
    visit->program = take_module_at(visit, getauxval(AT_PHDR));
    return ht_maps_each(take_line, visit);
}

/* ---- both ---- */

int ht_loaded_each(void (*take)(const struct dl_phdr_info *info, void *context), void *context)
{
    struct visit visit = {.take = take, .context = context};
    if (is_fork_child)
        return each_without_lock(&visit);
    ht_lock_take_always(&lock); /* also from a fork, which does not wait for who writes a profile */
    dl_iterate_phdr(take_one, &visit);
    ht_lock_release(&lock);
    return 0;
}

void ht_loaded_fork_prepare(void)
{
    fork_has_lock = ht_lock_take_within(&lock, HT_LOCK_PATIENCE_NANOS);
}

void ht_loaded_fork_parent(void)
{
    if (fork_has_lock)
        ht_lock_release(&lock);
}

void ht_loaded_fork_child(void)
{
    is_fork_child = true;
    ht_lock_reset(&lock);
}
