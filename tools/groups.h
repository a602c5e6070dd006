/* groups.h: samples of one or more profiles, put together by what they have in common: the whole
 * stack, or the function or the line of code that allocates, which is the leaf. */
#ifndef HT_TOOL_GROUPS_H
#define HT_TOOL_GROUPS_H

#include "profile.h"

enum groups_by { BY_STACK, BY_FUNCTION, BY_LINE };

struct group {
    uint32_t *key; /* numbers of frames, leaf first; by function: one, a frame with that function */
    uint32_t length;
    uint64_t hash;
};

struct groups {
    enum groups_by by;
    struct group *all;
    size_t count, room;
    uint32_t *slots; /* open addressing; indices + 1; at most half of them are used */
    size_t slot_count;
};

/* False for a word that is none of stack, function and line. */
bool groups_parse_by(const char *word, enum groups_by *ret_by);

/* The index of the sample's group, which is made if it is new. */
size_t groups_find(struct groups *groups, const struct frames *frames,
                   const struct profile_sample *sample);
void groups_free(struct groups *groups);

/* "function" or "function file:line" of frame i of a group; overwritten by the next call. */
const char *group_text(const struct groups *groups, const struct frames *frames, size_t group,
                       uint32_t i);

/* calloc() and reallocarray() that end the command when there is no memory. */
void *need_zeroes(size_t count, size_t size);
void *need_more(void *block, size_t count, size_t size);

#endif
