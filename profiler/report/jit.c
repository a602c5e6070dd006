#include "report/jit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "report/jit_files.h"
#include "report/maps.h"
#include "sample/frames.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

/* Room for "jit-4294967295.dump" and the like. */
#define NAME_MAX_SIZE 48u
#define STATUS_SIZE   4096u

/* Once this process has written code down, what is outside of modules is taken for such code. */
static bool has_compiler;

/* ---- the files ---- */

/* Our process's number where /proc was mounted, which a debugger outside of a container may go by;
 * 0 when it is the same, or not known. */
static pid_t outer_pid(void)
{
    static const char field[] = "\nNStgid:";
    char status[STATUS_SIZE];
    int fd = ht_os_open_read("/proc/thread-self/status");
    if (fd < 0)
        return 0;
    ssize_t got = ht_os_read_at(fd, status, sizeof(status) - 1, 0);
    ht_os_close(fd);
    status[got > 0 ? got : 0] = 0;
    const char *at = strstr(status, field);
    if (at == NULL)
        return 0;
    at += sizeof(field) - 1;
    at += strspn(at, "\t ");
    pid_t pid = 0;
    for (; *at >= '0' && *at <= '9' && pid < 100000000; at++)
        pid = pid * 10 + (*at - '0');
    return pid != ht_os_pid() ? pid : 0;
}

/* Never one that would make us wait, and none that somebody else could have left for us. */
static void open_file(struct ht_jit *jit, unsigned file, const char *path)
{
    struct ht_source *source = &jit->files[file];
    struct ht_os_file state;
    if (ht_os_is_special(path) || ht_source_open_file(path, source) < 0)
        return;
    if (ht_os_file_of(source->fd, &state) < 0 || !state.is_regular ||
        (state.owner != 0 && state.owner != ht_os_user())) {
        ht_source_close(source);
        return;
    }
    source->size = HT_JIT_FILE_MAX;
    jit->state.device += state.device;
    jit->state.inode += state.inode;
    jit->state.size += state.size;
    jit->state.changed_nanos += state.changed_nanos;
    jit->has_files = has_compiler = true;
}

static void open_map(struct ht_jit *jit, unsigned file, pid_t pid)
{
    char path[NAME_MAX_SIZE];
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)pid);
    open_file(jit, file, path);
}

/* ---- what is outside of all modules ---- */

struct outside {
    struct ht_jit *jit;
    const struct ht_locations *locations;
    const struct ht_mappings *mappings;
    pid_t pids[2];
    char dump_path[HT_PATH_MAX];
};

/* Higher, no processor has user memory: there are the addresses of a library that went since the
 * modules were listed (sample/modules.h). */
#define MEMORY_END (UINT64_C(1) << 57)

static bool is_outside(const struct outside *outside, uintptr_t pc)
{
    return pc >= HT_PC_SPECIAL_END && pc < MEMORY_END &&
           ht_mappings_find(outside->mappings, pc) == NULL;
}

static uintptr_t sorted_pc(const struct ht_locations *locations, uint32_t i)
{
    return ht_locations_pc(locations, locations->by_pc[i]);
}

/* Whether there is a location in [start, end) that is in no module. */
static bool holds_outside(const struct outside *outside, uintptr_t start, uintptr_t end)
{
    const struct ht_locations *locations = outside->locations;
    uint32_t low = 0, high = locations->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sorted_pc(locations, middle) < start)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < locations->count && sorted_pc(locations, low) < end; low++)
        if (is_outside(outside, sorted_pc(locations, low)))
            return true;
    return false;
}

static bool is_dump(const char *path, pid_t pid)
{
    char name[NAME_MAX_SIZE];
    const char *slash = strrchr(path, '/');
    snprintf(name, sizeof(name), "/jit-%d.dump", (int)pid);
    return pid != 0 && strcmp(slash, name) == 0;
}

/* Into the regions, before the one at `at`. Neighbours, which differ in their rights or their file,
 * are one. */
static void add_region(struct ht_jit *jit, uint32_t at, struct ht_jit_region region)
{
    struct ht_jit_region *after = &jit->regions[at];
    if (at > 0 && after[-1].limit == region.start) {
        after[-1].limit = region.limit;
        return;
    }
    if (jit->region_count == HT_JIT_REGIONS)
        return;
    memmove(after + 1, after, (jit->region_count - at) * sizeof(*after));
    *after = region;
    jit->region_count++;
}

/* The index of the first region that ends above the address. */
static uint32_t first_region(const struct ht_jit *jit, uintptr_t address)
{
    uint32_t low = 0, high = jit->region_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address >= jit->regions[middle].limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t ht_jit_region_of(const struct ht_jit *jit, uintptr_t pc)
{
    uint32_t i = first_region(jit, pc);
    return i < jit->region_count && pc >= jit->regions[i].start ? i + 1 : 0;
}

/* Memory that was given back by now, as node does before it exits: the pages of the addresses. */
static void add_gone(const struct outside *outside)
{
    struct ht_jit *jit = outside->jit;
    for (uint32_t i = 0; i < outside->locations->count; i++) {
        uintptr_t pc = sorted_pc(outside->locations, i), page = ht_round_down(pc, HT_PAGE);
        if (is_outside(outside, pc) && ht_jit_region_of(jit, pc) == 0)
            add_region(jit, first_region(jit, page), (struct ht_jit_region){page, page + HT_PAGE});
    }
}

static void take_line(const struct ht_maps_line *line, void *context)
{
    struct outside *outside = context;
    if (line->path != NULL && strlen(line->path) < sizeof(outside->dump_path) &&
        (is_dump(line->path, outside->pids[0]) || is_dump(line->path, outside->pids[1])))
        memcpy(outside->dump_path, line->path, strlen(line->path) + 1);
    if (line->is_executable && outside->jit->regions != NULL &&
        holds_outside(outside, line->start, line->end))
        add_region(outside->jit, outside->jit->region_count,
                   (struct ht_jit_region){line->start, line->end});
}

#define REGIONS_SIZE (HT_JIT_REGIONS * sizeof(struct ht_jit_region))

static void drop_regions(struct ht_jit *jit)
{
    ht_arena_unmap(jit->regions, REGIONS_SIZE);
    jit->regions = NULL;
    jit->region_count = 0;
}

void ht_jit_open(struct ht_jit *ret_jit, const struct ht_locations *locations,
                 const struct ht_mappings *mappings)
{
    struct outside outside = {.jit = ret_jit, .locations = locations, .mappings = mappings};
    *ret_jit = (struct ht_jit){0};
    for (unsigned i = 0; i < HT_JIT_FILES; i++)
        ret_jit->files[i].fd = -1;
    if (!holds_outside(&outside, 0, UINTPTR_MAX))
        return;
    outside.pids[0] = ht_os_pid();
    outside.pids[1] = outer_pid();
    ret_jit->regions = ht_arena_map(REGIONS_SIZE);
    ht_maps_each(take_line, &outside);
    open_map(ret_jit, HT_JIT_MAP, outside.pids[0]);
    if (outside.pids[1] != 0)
        open_map(ret_jit, HT_JIT_OUTER_MAP, outside.pids[1]);
    if (outside.dump_path[0] != 0)
        open_file(ret_jit, HT_JIT_DUMP, outside.dump_path);
    if (!has_compiler)
        drop_regions(ret_jit);
    else if (ret_jit->regions != NULL)
        add_gone(&outside);
}

void ht_jit_close(struct ht_jit *jit)
{
    for (unsigned i = 0; i < HT_JIT_FILES; i++)
        ht_source_close(&jit->files[i]);
    drop_regions(jit);
}

/* ---- names ---- */

uint32_t ht_jit_first(const struct ht_jit_want *wants, uint32_t count, uintptr_t address)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (wants[middle].pc < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A jitdump says more than a map, and goes before it. */
void ht_jit_resolve(const struct ht_jit *jit, struct ht_jit_want *wants, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        wants[i].start = 0;
    for (uint8_t file = 0; file < HT_JIT_FILES && count > 0; file++) {
        const struct ht_source *source = &jit->files[file];
        int r = 0;
        if (source->size > 0)
            r = file == HT_JIT_DUMP ? ht_jit_dump_scan(source, file, wants, count)
                                    : ht_jit_map_scan(source, file, wants, count);
        for (uint32_t i = 0; i < count && r < 0; i++)
            if (wants[i].file == file)
                wants[i].start = 0;
    }
}

int ht_jit_name(const struct ht_jit *jit, const struct ht_jit_want *want, char *ret_name,
                size_t size)
{
    if (want->start == 0)
        return -ENOEXEC;
    const struct ht_source *source = &jit->files[want->file];
    return want->file == HT_JIT_DUMP ? ht_jit_dump_name(source, want, ret_name, size)
                                     : ht_jit_map_name(source, want, ret_name, size);
}
