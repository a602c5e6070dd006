/* frames.h: what stacks are made of, with a number for each.
 *
 * All profiles that a command reads share one table, so that a number is the same frame in all of
 * them: stacks are compared number by number. Two frames are the same when function, file and line
 * are. */
#ifndef HT_TOOL_FRAMES_H
#define HT_TOOL_FRAMES_H

#include "pool.h"

#define FRAMES_NONE UINT32_MAX

struct frame {
    const char *function; /* never empty; "[libfoo.so+0x1234]" when its name is not known */
    const char *file;     /* "" when it is not known */
    const char *mapping;  /* the file's name without directories, as first seen; "" not known */
    int64_t line;         /* 0 when it is not known */
    uint32_t function_id; /* the same for the same name, below name_count */
    uint32_t file_id;     /* likewise */
};

struct frames {
    struct frame *all; /* by number; it moves when one is added */
    uint32_t count, name_count;
    /* The rest is frames.c's. */
    const char **names;
    uint32_t *name_slots, *frame_slots; /* hash tables of numbers + 1 */
    uint32_t name_slot_count, frame_slot_count;
    uint32_t names_room, frames_room;
    struct pool pool;
};

/* The table at the start; {0} is none. */
struct frames frames_empty(void);

/* The number of a frame, which may be new; texts are copied. FRAMES_NONE when memory ran out. */
uint32_t frames_find(struct frames *frames, const char *function, const char *file, int64_t line,
                     const char *mapping);

/* The name with this function_id. */
const char *frames_name(const struct frames *frames, uint32_t function_id);

void frames_free(struct frames *frames);

#endif
