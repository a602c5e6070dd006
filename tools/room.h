/* room.h: arrays that grow. */
#ifndef HT_TOOL_ROOM_H
#define HT_TOOL_ROOM_H

#include <stdlib.h>
#include <string.h>

#include "sys/compiler.h"

#define ROOM_FIRST_ITEMS 64u

/* Makes room for one item more in an array from malloc, which `items` points to and which may move.
 * False without memory; then it is as it was. */
static inline bool room_for_one(void *items, size_t count, size_t *room, size_t item_size)
{
    if (count < *room)
        return true;
    void *array; /* copied, for it is a pointer of another type */
    memcpy(&array, items, sizeof(array));
    size_t wanted = *room ? *room * 2 : ROOM_FIRST_ITEMS;
    array = realloc(array, wanted * item_size);
    if (!array)
        return false;
    memcpy(items, &array, sizeof(array));
    *room = wanted;
    return true;
}

#endif
