/* profile_model.h: from the messages of a profile to what profile.h promises. */
#ifndef HT_TOOL_PROFILE_MODEL_H
#define HT_TOOL_PROFILE_MODEL_H

#include "profile.h"
#include "profile.pb-c.h"

/* Where an id stands in its list. Ids are any numbers but 0, each once. */
struct id_place {
    uint64_t id;
    uint32_t place;
};

struct ids {
    struct id_place *sorted;
    size_t count;
};

/* The frames of a location, innermost first, and what drop_frames does to stacks that have it. */
struct place {
    uint32_t first, count; /* in model.place_frames */
    uint32_t outermost;    /* its last frame, dropped or not */
    bool drops_below;      /* all that is nearer to the leaf goes */
    bool is_dropped;       /* and the location itself */
};

struct model {
    const Perftools__Profiles__Profile *message;
    struct frames *frames;
    struct profile *profile;
    struct pool *scratch; /* for what is needed only until the model is made */
    struct ids mappings, functions, locations;
    struct place *places; /* of the locations, in their order */
    uint32_t *place_frames;
    size_t columns[PROFILE_COLUMNS]; /* where each is among the values of a sample */
    char *problem;                   /* PROFILE_PROBLEM_SIZE bytes, "" while all is well */
};

/* Notes what is wrong, if nothing was yet; always false. */
bool model_refuse(struct model *model, const char *format, ...) HT_PRINTF(2, 3);

/* A string of the table; "", and a problem, for an index beyond it. */
const char *model_string(struct model *model, int64_t index);

/* Where an id stands, or UINT32_MAX. */
uint32_t ids_find(const struct ids *ids, uint64_t id);

/* Each makes its part; false when there was a problem. In this order. */
bool model_make_places(struct model *model);
bool model_make_samples(struct model *model);

#endif
