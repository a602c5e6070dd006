/* maps.h: the kernel's list of what is mapped, /proc/thread-self/maps, line by line. */
#ifndef HT_REPORT_MAPS_H
#define HT_REPORT_MAPS_H

#include "sys/compiler.h"
#include "sys/os.h"

/* Longer lines, with their newline, are left out. */
#define HT_MAPS_LINE_MAX (HT_PATH_MAX + 256)

struct ht_maps_line {
    uintptr_t start, end;
    bool is_executable;
    const char *path; /* as the kernel writes it: a newline is \012; NULL when it is no file */
};

/* Calls `take` for each mapping, by address. 0 or -errno. Needs 4.5 KiB of stack. Context: dump. */
int ht_maps_each(void (*take)(const struct ht_maps_line *line, void *context), void *context);
/* The same for what an open file holds. */
int ht_maps_read(int fd, void (*take)(const struct ht_maps_line *line, void *context),
                 void *context);

#endif
