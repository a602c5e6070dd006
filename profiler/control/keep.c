#include "control/keep.h"

#include <string.h>
#include <sys/stat.h>

#include "control/config.h"
#include "sys/arena.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

/* Names of one process differ in their numbers, by less than this. */
#define GROWTH 40u

/* A profile is ours as long as its time is: heaptap symbolize puts another file in its place, which
 * has the same. */
struct kept {
    dev_t device;
    struct timespec changed;
    char path[]; /* path_size bytes */
};

/* A ring: the oldest is at `next` when it is full. */
static unsigned wanted, used, next;
static char *ring; /* wanted entries of entry_size */
static size_t path_size, entry_size;

void ht_keep_start(unsigned count)
{
    wanted = (unsigned)ht_min(count, 2 * HT_KEEP_MAX);
    used = next = 0;
    ring = NULL;
}

/* The first name says how long names are. */
static bool make_ring(const char *path)
{
    static bool said;
    path_size = strlen(path) + GROWTH;
    entry_size = ht_round_up(sizeof(struct kept) + path_size, 16);
    ring = ht_arena_map_table(ht_round_up(wanted * entry_size, HT_PAGE));
    if (ring == NULL && !said)
        ht_message_warn("HEAPTAP_KEEP: no memory to remember profiles: they stay");
    said = ring == NULL;
    return ring != NULL;
}

static void remove_if_same(const struct kept *kept)
{
    struct stat now;
    if (lstat(kept->path, &now) == 0 && now.st_dev == kept->device && S_ISREG(now.st_mode) &&
        now.st_mtim.tv_sec == kept->changed.tv_sec && now.st_mtim.tv_nsec == kept->changed.tv_nsec)
        ht_os_unlink(kept->path);
}

void ht_keep_written(const char *path)
{
    struct stat status;
    size_t length = strlen(path);
    if (wanted == 0 || (ring == NULL && !make_ring(path)) || length >= path_size ||
        lstat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    struct kept *kept = (struct kept *)(ring + next * entry_size);
    if (used == wanted)
        remove_if_same(kept);
    else
        used++;
    kept->device = status.st_dev;
    kept->changed = status.st_mtim;
    memcpy(kept->path, path, length + 1);
    next = (next + 1) % wanted;
}

void ht_keep_fork_child(void)
{
    used = next = 0;
}
