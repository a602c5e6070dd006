/* The samples of a profile: values, labels, and stacks of frames. */
#include <math.h>
#include <string.h>

#include "profile_model.h"

typedef Perftools__Profiles__Label Label;
typedef Perftools__Profiles__Sample Sample;

/* As the format has it: seen from the root, behind the first frame that stays, the first one that
 * is dropped takes along all that is nearer to the leaf. The location that the stack begins with. */
static size_t first_kept(const struct model *model, const uint32_t *places, size_t count)
{
    bool stayed = false;
    for (size_t i = count; i-- > 0;) {
        const struct place *place = &model->places[places[i]];
        if (!place->drops_below)
            stayed = true;
        else if (stayed)
            return place->is_dropped ? i + 1 : i;
    }
    return 0;
}

/* Where the stack of a free left that of the allocation. */
static bool take_freed(struct model *model, const Sample *message, struct profile_sample *sample,
                       const uint32_t *places, size_t first)
{
    sample->freed_frame = FRAMES_NONE;
    if (message->heaptap_freed_location == 0)
        return true;
    uint32_t freed = ids_find(&model->locations, message->heaptap_freed_location);
    size_t at = message->heaptap_freed_frame;
    if (freed == UINT32_MAX || at >= message->n_location_id)
        return model_refuse(model, "damaged: a free at frame %zu of %zu, in location %llu", at,
                            message->n_location_id,
                            (unsigned long long)message->heaptap_freed_location);
    const struct frame *all = model->frames->all;
    const struct place *place = &model->places[places[at]];
    sample->freed_frame = model->places[freed].outermost;
    sample->is_freed_by_same =
        all[sample->freed_frame].function_id == all[place->outermost].function_id;
    if (at < first)
        return true;
    for (size_t i = first; i <= at; i++)
        sample->freed_index += model->places[places[i]].count;
    sample->freed_index--;
    return true;
}

static bool take_stack(struct model *model, const Sample *message, struct profile_sample *sample,
                       uint32_t *places)
{
    for (size_t i = 0; i < message->n_location_id; i++) {
        places[i] = ids_find(&model->locations, message->location_id[i]);
        if (places[i] == UINT32_MAX)
            return model_refuse(model, "damaged: a sample in location %llu, which is not there",
                                (unsigned long long)message->location_id[i]);
    }
    size_t first = first_kept(model, places, message->n_location_id);
    size_t count = 0;
    for (size_t i = first; i < message->n_location_id; i++)
        count += model->places[places[i]].count;
    uint32_t *frames =
        count < UINT32_MAX ? pool_take(&model->profile->pool, count * sizeof(*frames)) : NULL;
    if (!frames)
        return false;
    sample->frames = frames;
    sample->frame_count = (uint32_t)count;
    for (size_t i = first; i < message->n_location_id; i++) {
        const struct place *place = &model->places[places[i]];
        memcpy(frames, model->place_frames + place->first, place->count * sizeof(*frames));
        frames += place->count;
    }
    return take_freed(model, message, sample, places, first);
}

static bool take_values(struct model *model, const Sample *message, struct profile_sample *sample)
{
    size_t columns = model->message->n_sample_type;
    if (message->n_value != columns)
        return model_refuse(model, "damaged: a sample has %zu values, not %zu", message->n_value,
                            columns);
    if (message->n_heaptap_variance != 0 && message->n_heaptap_variance != columns)
        return model_refuse(model, "damaged: a sample has %zu variances, not %zu",
                            message->n_heaptap_variance, columns);
    for (size_t i = 0; i < PROFILE_COLUMNS; i++) {
        size_t at = model->columns[i];
        sample->values[i] = message->value[at];
        if (message->n_heaptap_variance == 0)
            continue;
        sample->variances[i] = (double)message->heaptap_variance[at];
        if (!(sample->variances[i] >= 0) || !isfinite(sample->variances[i]))
            return model_refuse(model, "damaged: a variance of %g", sample->variances[i]);
    }
    sample->oldest_nanos = message->heaptap_oldest_nanos;
    return true;
}

static const char *copy_string(struct model *model, int64_t index)
{
    const char *text = model_string(model, index);
    return *text ? pool_copy_text(&model->profile->pool, text, strlen(text)) : "";
}

static bool take_labels(struct model *model, const Sample *message, struct profile_sample *sample)
{
    struct profile_label *labels =
        pool_take_array(&model->profile->pool, message->n_label, sizeof(*labels));
    if (!labels || message->n_label >= UINT32_MAX)
        return false;
    for (size_t i = 0; i < message->n_label; i++) {
        const Label *label = message->label[i];
        labels[i].key = copy_string(model, label->key);
        labels[i].text = label->str != 0 ? copy_string(model, label->str) : NULL;
        labels[i].number = label->num;
        labels[i].unit = copy_string(model, label->num_unit);
        if (!labels[i].key || !labels[i].unit || (label->str != 0 && !labels[i].text))
            return false;
    }
    sample->labels = labels;
    sample->label_count = (uint32_t)message->n_label;
    return !*model->problem;
}

bool model_make_samples(struct model *model)
{
    const Perftools__Profiles__Profile *message = model->message;
    struct profile *profile = model->profile;
    size_t depth_max = 0;
    for (size_t i = 0; i < message->n_sample; i++)
        depth_max = ht_max(depth_max, message->sample[i]->n_location_id);
    uint32_t *places = pool_take_array(model->scratch, depth_max, sizeof(*places));
    profile->samples =
        pool_take_array(&profile->pool, message->n_sample, sizeof(*profile->samples));
    if (!places || !profile->samples)
        return false;
    for (size_t i = 0; i < message->n_sample; i++) {
        struct profile_sample *sample = &profile->samples[i];
        if (!take_values(model, message->sample[i], sample) ||
            !take_stack(model, message->sample[i], sample, places) ||
            !take_labels(model, message->sample[i], sample))
            return false;
    }
    profile->sample_count = message->n_sample;
    return true;
}
