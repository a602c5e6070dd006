#include "symbolizer_object.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "object_process.h"
#include "room.h"

/* How long a wait for answers lasts before progress is told again. */
#define PROGRESS_MS 100
/* Fewer places than these take no longer than starting a process. */
#define PART_MIN 2048u

const char *symbolizer_path(const struct symbolizer *symbolizer, size_t object)
{
    return symbolizer->objects[object]->path;
}

void symbolizer_begin(struct symbolizer *symbolizer)
{
    for (size_t i = 0; i < symbolizer->object_count; i++) {
        struct symbolizer_object *object = symbolizer->objects[i];
        object->segment_count = object->want_count = 0;
        for (size_t j = 0; j < object->answer_count; j++) {
            free(object->answers[j].ids);
            object->answers[j].ids = NULL;
        }
    }
}

struct symbolizer_object *symbolizer_object_get(struct symbolizer *symbolizer, const char *path,
                                                const struct ht_build_id *build_id)
{
    for (size_t i = 0; i < symbolizer->object_count; i++) {
        struct symbolizer_object *object = symbolizer->objects[i];
        if (strcmp(object->path, path) == 0 && object->build_id.size == build_id->size &&
            memcmp(object->build_id.bytes, build_id->bytes, build_id->size) == 0)
            return object;
    }
    struct symbolizer_object *object = calloc(1, sizeof(*object));
    if (!object || !(object->path = strdup(path)) ||
        !room_for_one(&symbolizer->objects, symbolizer->object_count, &symbolizer->object_room,
                      sizeof(struct symbolizer_object *))) {
        if (object)
            free(object->path);
        free(object);
        return NULL;
    }
    object->build_id = *build_id;
    symbolizer->objects[symbolizer->object_count++] = object;
    return object;
}

bool symbolizer_object_add_segment(struct symbolizer_object *object,
                                   const struct debug_segment *segment)
{
    if (!room_for_one(&object->segments, object->segment_count, &object->segment_room,
                      sizeof(*object->segments)))
        return false;
    object->segments[object->segment_count++] = *segment;
    return true;
}

bool symbolizer_object_add_want(struct symbolizer_object *object, const struct object_want *want)
{
    if (!room_for_one(&object->wants, object->want_count, &object->want_room,
                      sizeof(*object->wants)))
        return false;
    object->wants[object->want_count++] = *want;
    return true;
}

const struct symbolizer_known *symbolizer_object_find(const struct symbolizer_object *object,
                                                      uint64_t offset)
{
    size_t low = 0, high = object->known_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (object->known[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_known = low < object->known_count && object->known[low].offset == offset;
    return is_known ? &object->known[low] : NULL;
}

/* ---- asking ---- */

static int compare_wants(const void *a_, const void *b_)
{
    const struct object_want *a = a_, *b = b_;
    if (a->segment != b->segment)
        return a->segment < b->segment ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int compare_known(const void *a_, const void *b_)
{
    const struct symbolizer_known *a = a_, *b = b_;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* All that is asked for is known from now on, if only that there is nothing to know. */
static bool expect(struct symbolizer_object *object)
{
    size_t count = object->known_count + object->want_count;
    struct symbolizer_known *known = realloc(object->known, (count + 1) * sizeof(*known));
    if (!known)
        return false;
    object->known = known;
    object->known_before = object->known_count;
    for (size_t i = 0; i < object->want_count; i++)
        known[object->known_count++] = (struct symbolizer_known){.offset = object->wants[i].offset};
    return true;
}

/* Of several parts of an object: one that could not be read is never hidden; then one with lines
 * counts before one without, and one of those where something is missing before the others. */
static enum object_state state_of_both(enum object_state a, enum object_state b)
{
    if (a == OBJECT_IS_BROKEN || b == OBJECT_IS_BROKEN)
        return OBJECT_IS_BROKEN;
    bool both = a <= OBJECT_LACKS_ALTERNATE && b <= OBJECT_LACKS_ALTERNATE;
    return (a > b) == both ? a : b;
}

static bool learn(struct symbolizer_object *object, struct edit *edit)
{
    size_t index = object->answer_count;
    struct symbolizer_answer *answers = realloc(object->answers, (index + 1) * sizeof(*answers));
    if (!answers)
        return false;
    object->answers = answers;
    answers[object->answer_count++] = (struct symbolizer_answer){.edit = *edit};
    for (size_t i = 0; i < edit->location_count; i++) {
        const Perftools__Profiles__Location *location = edit->locations[i];
        if (location->id < 1 || location->id > object->want_count || location->n_line == 0)
            continue;
        struct symbolizer_known *known = &object->known[object->known_before + location->id - 1];
        known->answer = (uint32_t)index;
        known->location = location;
    }
    uint64_t state = edit->mapping_count > 0 ? edit->mappings[0]->id : 0;
    if (state < OBJECT_HAS_LINES || state > OBJECT_IS_BROKEN)
        state = OBJECT_IS_BROKEN;
    object->state = object->state ? state_of_both(object->state, (enum object_state)state)
                                  : (enum object_state)state;
    return true;
}

static void settle(struct symbolizer_object *object)
{
    if (object->known_count > 0)
        qsort(object->known, object->known_count, sizeof(*object->known), compare_known);
}

/* Those that are asked now. */
struct round {
    struct asked {
        struct object_process process;
        struct symbolizer_object *object;
        size_t places;
    } * asked;
    struct pollfd *fds;
    size_t count, room;
    size_t next;   /* the object that comes next */
    unsigned part; /* and the part of it */
    size_t all;    /* places */
    size_t *done;  /* so many of them; NULL when nobody wants to know */
};

/* A process for each of many places, as far as there are processors. */
static unsigned parts_of(const struct symbolizer_object *object, size_t room)
{
    return (unsigned)ht_min(object->want_count / PART_MIN + 1, room);
}

static int start_next(struct symbolizer *symbolizer, const struct stat *profile,
                      struct round *round)
{
    struct symbolizer_object *object = symbolizer->objects[round->next];
    struct object_request request = {.path = object->path,
                                     .build_id = object->build_id,
                                     .segments = object->segments,
                                     .segment_count = object->segment_count,
                                     .wants = object->wants,
                                     .want_count = object->want_count,
                                     .part = round->part,
                                     .part_count = parts_of(object, round->room),
                                     .done = round->done};
    if (object->want_count == 0) {
        round->next++;
        return 0;
    }
    if (round->part == 0) {
        qsort(object->wants, object->want_count, sizeof(*object->wants), compare_wants);
        object->state = 0;
        if (!expect(object))
            return -ENOMEM;
    }
    struct asked *asked = &round->asked[round->count];
    int r = object_process_start(&symbolizer->search, &request, profile, &asked->process);
    if (r < 0)
        return r;
    asked->object = object;
    round->count++;
    if (++round->part == request.part_count) {
        round->part = 0;
        round->next++;
    }
    return 0;
}

static int finish(struct round *round, size_t i)
{
    struct asked asked = round->asked[i];
    struct edit answer;
    round->asked[i] = round->asked[--round->count];
    int r = object_process_finish(&asked.process, &answer);
    if (r == -EINTR)
        return r;
    if (r < 0) {
        struct symbolizer_object *object = asked.object;
        object->state =
            object->state ? state_of_both(object->state, OBJECT_IS_BROKEN) : OBJECT_IS_BROKEN;
        return 0;
    }
    if (learn(asked.object, &answer))
        return 0;
    edit_free(&answer);
    return -ENOMEM;
}

static int wait_for_any(struct symbolizer *symbolizer, struct round *round)
{
    for (size_t i = 0; i < round->count; i++)
        round->fds[i] = (struct pollfd){.fd = round->asked[i].process.fd, .events = POLLIN};
    poll(round->fds, round->count, round->done ? PROGRESS_MS : -1);
    int r = symbolizer->stop && *symbolizer->stop ? -EINTR : 0;
    for (size_t i = round->count; i-- > 0 && r == 0;)
        if (object_process_read(&round->asked[i].process))
            r = finish(round, i);
    if (round->done)
        symbolizer->progress(__atomic_load_n(round->done, __ATOMIC_RELAXED), round->all);
    return r;
}

/* Memory that stays the same in the processes that are started. */
static size_t *share_count(void)
{
    void *count =
        mmap(NULL, sizeof(size_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return count == MAP_FAILED ? NULL : count;
}

int symbolizer_ask(struct symbolizer *symbolizer, const struct stat *profile)
{
    size_t room = ht_max(symbolizer->processes, 1);
    struct round round = {.room = room,
                          .asked = calloc(room, sizeof(*round.asked)),
                          .fds = calloc(room, sizeof(*round.fds))};
    int r = round.asked && round.fds ? 0 : -ENOMEM;
    if (symbolizer->progress)
        round.done = share_count();
    for (size_t i = 0; i < symbolizer->object_count; i++)
        round.all += symbolizer->objects[i]->want_count;
    while (r == 0 && (round.count > 0 || round.next < symbolizer->object_count)) {
        while (r == 0 && round.count < room && round.next < symbolizer->object_count)
            r = start_next(symbolizer, profile, &round);
        if (r == 0 && round.count > 0)
            r = wait_for_any(symbolizer, &round);
    }
    for (size_t i = 0; i < symbolizer->object_count; i++)
        settle(symbolizer->objects[i]);
    for (size_t i = 0; i < round.count; i++)
        object_process_kill(&round.asked[i].process);
    if (round.done)
        munmap(round.done, sizeof(*round.done));
    free(round.asked);
    free(round.fds);
    return r;
}

void symbolizer_free(struct symbolizer *symbolizer)
{
    for (size_t i = 0; i < symbolizer->object_count; i++) {
        struct symbolizer_object *object = symbolizer->objects[i];
        for (size_t j = 0; j < object->answer_count; j++) {
            free(object->answers[j].ids);
            edit_free(&object->answers[j].edit);
        }
        free(object->answers);
        free(object->known);
        free(object->segments);
        free(object->wants);
        free(object->path);
        free(object);
    }
    free(symbolizer->objects);
    symbolizer->objects = NULL;
    symbolizer->object_count = symbolizer->object_room = 0;
}
