#include "control/locked.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "report/maps.h"
#include "sample/hot.h"
#include "sample/unwind_library.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

HT_EXPORT int mlockall(int flags);

#define OURS_MAX (HT_ARENA_RANGES + 3)

static bool started;
static bool locks_future;

/* A visit of all that is mapped, but for ours. */
struct visit {
    struct {
        uintptr_t start, end;
    } ours[OURS_MAX];
    unsigned ours_count;
    size_t bytes;        /* of the program's */
    bool locks;          /* what it comes by */
    unsigned lock_flags; /* of mlock2 */
};

static void add_ours(uintptr_t address, size_t size, void *visit_)
{
    struct visit *visit = visit_;
    if (visit->ours_count == OURS_MAX)
        return;
    visit->ours[visit->ours_count].start = address;
    visit->ours[visit->ours_count++].end = address + size;
}

/* The library that has this code, but not a program that has it from the archive. */
static void add_library(struct visit *visit, uintptr_t code)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)code, &found) == 0 && found.dlfo_link_map->l_name[0] != 0)
        add_ours((uintptr_t)found.dlfo_map_start,
                 (size_t)((char *)found.dlfo_map_end - (char *)found.dlfo_map_start), visit);
}

/* A range that another thread has unmapped by now, or that cannot be read, is no failure: the
 * limit was looked at before. */
static void take_range(struct visit *visit, uintptr_t start, uintptr_t end)
{
    visit->bytes += end - start;
    if (visit->locks)
        ht_os_lock(start, end - start, visit->lock_flags);
}

static void take_line(const struct ht_maps_line *line, void *visit_)
{
    struct visit *visit = visit_;
    uintptr_t start = line->start;
    if ((intptr_t)start < 0) /* [vsyscall], the kernel's */
        return;
    while (start < line->end) {
        uintptr_t gap_start = line->end, gap_end = line->end;
        for (unsigned i = 0; i < visit->ours_count; i++) {
            if (visit->ours[i].end > start && visit->ours[i].start < gap_start) {
                gap_start = ht_max(visit->ours[i].start, start);
                gap_end = visit->ours[i].end;
            }
        }
        if (gap_start > start)
            take_range(visit, start, gap_start);
        start = gap_end;
    }
}

static bool fits(const struct visit *visit)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && visit->bytes <= limit.rlim_cur;
}

/* False when it is for the kernel to say yes or no. */
static bool lock_current(bool takes_back, unsigned lock_flags)
{
    struct visit visit = {.lock_flags = lock_flags};
    add_ours((uintptr_t)ht_page_shadow, sizeof(ht_page_shadow), &visit);
    add_library(&visit, (uintptr_t)lock_current);
    add_library(&visit, (uintptr_t)ht_unwind_library.step);
    ht_arena_each(add_ours, &visit);
    if (ht_maps_each(take_line, &visit) < 0 || !fits(&visit))
        return false;
    /* Only this, and mlockall() itself, ends MCL_FUTURE. */
    if (takes_back)
        ht_os_unlock_all();
    visit.locks = true;
    return ht_maps_each(take_line, &visit) == 0;
}

static void unlock_range(uintptr_t address, size_t size, void *unused)
{
    (void)unused;
    ht_os_unlock(address, size);
}

static int lock_all(int flags)
{
    bool takes_back = (flags & MCL_FUTURE) == 0 && locks_future;
    if ((flags & MCL_FUTURE) != 0)
        ht_os_maps_are_locked();
    locks_future = (flags & MCL_FUTURE) != 0;
    if ((flags & MCL_CURRENT) != 0 &&
        lock_current(takes_back, (flags & MCL_ONFAULT) != 0 ? MLOCK_ONFAULT : 0)) {
        flags &= ~MCL_CURRENT;
        return (flags & MCL_FUTURE) != 0 ? ht_os_lock_all(flags) : 0;
    }
    int r = ht_os_lock_all(flags);
    if (r == 0 && (flags & MCL_CURRENT) != 0) {
        ht_os_unlock((uintptr_t)ht_page_shadow, sizeof(ht_page_shadow));
        ht_arena_each(unlock_range, NULL);
    }
    return r;
}

void ht_locked_start(void)
{
    started = true;
}

int mlockall(int flags)
{
    const int known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
    int before = errno;
    int r = started && (flags & ~known) == 0 ? lock_all(flags) : ht_os_lock_all(flags);
    errno = r < 0 ? -r : before;
    return r < 0 ? -1 : 0;
}
