#include "report/pprof.h"

#include <errno.h>
#include <float.h>
#include <string.h>

#include "profile.pb-c.h"
#include "report/functions.h"
#include "report/gzip.h"
#include "report/locations.h"
#include "report/mappings.h"
#include "report/messages.h"
#include "sample/frames.h"
#include "sample/lives.h"
#include "sys/arena.h"

#include "sys/poison.h"

/* Frames that allocate for others: their bytes belong to the caller. Matched against whole names in
 * the short form of demangle.h. Words that users also give their functions ("allocate", "free") are
 * not in it: a match takes everything below it away. */
#define C_ALLOCATORS                                                                               \
    "(__libc_|__GI___libc_)?(malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|"           \
    "posix_memalign|valloc|pvalloc)"
#define CXX_ALLOCATORS                                                                             \
    "operator new(\\[\\])?|(std::__new_allocator|__gnu_cxx::new_allocator|std::allocator|"         \
    "std::allocator_traits)::allocate|_M_allocate"
#define RUST_ALLOCATORS "__rust_(alloc|alloc_zeroed|realloc)|__rdl_.*|alloc::alloc::.*"
#define DROP_FRAMES     C_ALLOCATORS "|" CXX_ALLOCATORS "|" RUST_ALLOCATORS "|_?heaptap_.*"

/* The strings that are written first have fixed numbers. */
enum {
    STRING_NONE,
    STRING_ALLOC_OBJECTS,
    STRING_COUNT,
    STRING_ALLOC_SPACE,
    STRING_BYTES,
    STRING_INUSE_OBJECTS,
    STRING_INUSE_SPACE,
    STRING_SPACE,
    STRING_DROP_FRAMES,
    STRINGS,
    /* Of profiles of lifetimes alone. */
    STRING_LIFETIME = STRINGS,
    STRING_FREED_BY,
    STRING_SAME_THREAD,
    STRING_OTHER_THREAD,
    STRING_AGES,
};

static const char *const fixed_strings[STRINGS] = {
    [STRING_ALLOC_OBJECTS] = "alloc_objects",
    [STRING_COUNT] = "count",
    [STRING_ALLOC_SPACE] = "alloc_space",
    [STRING_BYTES] = "bytes",
    [STRING_INUSE_OBJECTS] = "inuse_objects",
    [STRING_INUSE_SPACE] = "inuse_space",
    [STRING_SPACE] = "space",
    [STRING_DROP_FRAMES] = DROP_FRAMES,
};

static const char *const lives_strings[STRING_AGES - STRINGS] = {"lifetime", "freed_by",
                                                                 "same thread", "other thread"};

/* Exactly these, whatever the settings: a scraper that has room for four values fails at a fifth,
 * and profiles are only compared when their types are the same. */
enum { SAMPLE_TYPES = 4 };
static const int64_t sample_types[SAMPLE_TYPES][2] = {
    {STRING_ALLOC_OBJECTS, STRING_COUNT},
    {STRING_ALLOC_SPACE, STRING_BYTES},
    {STRING_INUSE_OBJECTS, STRING_COUNT},
    {STRING_INUSE_SPACE, STRING_BYTES},
};

struct encoder {
    struct ht_snapshot *snapshot;
    struct ht_totals totals;
    struct ht_mappings mappings;
    struct ht_jit jit;
    struct ht_messages messages;
    struct ht_locations locations;
    uint64_t ids[HT_DEPTH_MAX + 1];
};

/* Those from `first` on. */
static void write_comments(struct encoder *encoder, unsigned first)
{
    const struct ht_snapshot *snapshot = encoder->snapshot;
    int64_t comments[HT_COMMENTS_MAX];
    size_t count = 0;
    for (unsigned i = first; i < ht_min(snapshot->comment_count, HT_COMMENTS_MAX); i++) {
        int64_t comment = ht_messages_string(&encoder->messages, snapshot->comments[i]);
        if (comment != 0)
            comments[count++] = comment;
    }
    Perftools__Profiles__Profile profile = PERFTOOLS__PROFILES__PROFILE__INIT;
    profile.n_comment = count;
    profile.comment = comments;
    ht_messages_put_fields(&encoder->messages, &profile.base);
}

static void write_header(struct encoder *encoder)
{
    const struct ht_snapshot *snapshot = encoder->snapshot;
    struct ht_messages *messages = &encoder->messages;
    ht_messages_start(messages);
    for (int i = 1; i < STRINGS; i++)
        ht_messages_string(messages, fixed_strings[i]);
    for (size_t i = 0; snapshot->has_lives && i < HT_ARRAY_SIZE(lives_strings); i++)
        ht_messages_string(messages, lives_strings[i]);
    for (size_t i = 0; snapshot->has_lives && i < HT_LIVES_AGES; i++)
        ht_messages_string(messages, ht_lives_age_names[i]);

    Perftools__Profiles__ValueType types[SAMPLE_TYPES], *type_list[SAMPLE_TYPES];
    for (int i = 0; i < SAMPLE_TYPES; i++) {
        perftools__profiles__value_type__init(&types[i]);
        types[i].type = sample_types[i][0];
        types[i].unit = sample_types[i][1];
        type_list[i] = &types[i];
    }
    Perftools__Profiles__ValueType period_type = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;
    period_type.type = STRING_SPACE;
    period_type.unit = STRING_BYTES;

    Perftools__Profiles__Profile profile = PERFTOOLS__PROFILES__PROFILE__INIT;
    profile.n_sample_type = SAMPLE_TYPES;
    profile.sample_type = type_list;
    profile.drop_frames = STRING_DROP_FRAMES;
    profile.time_nanos = snapshot->time_nanos;
    profile.period_type = &period_type;
    profile.period = (int64_t)snapshot->interval_bytes;
    profile.default_sample_type = snapshot->has_lives ? STRING_ALLOC_SPACE : STRING_INUSE_SPACE;
    profile.heaptap_version = 1;
    profile.heaptap_process = snapshot->process;
    ht_messages_put_fields(messages, &profile.base);
}

/* None when all are exact. */
static size_t variances_of(const struct ht_sample *sample, float ret_variances[SAMPLE_TYPES])
{
    bool exact = true;
    for (int i = 0; i < SAMPLE_TYPES; i++) {
        double variance = sample->variances[i];
        ret_variances[i] = variance < (double)FLT_MAX ? (float)variance : FLT_MAX;
        exact &= variance == 0;
    }
    return exact ? 0 : SAMPLE_TYPES;
}

struct labels {
    Perftools__Profiles__Label labels[3], *list[3];
    size_t count;
};

static Perftools__Profiles__Label *add_label(struct labels *labels, int64_t key)
{
    Perftools__Profiles__Label *label = &labels->labels[labels->count];
    perftools__profiles__label__init(label);
    label->key = key;
    labels->list[labels->count++] = label;
    return label;
}

static void make_labels(struct labels *ret_labels, const struct ht_sample *sample)
{
    const struct ht_sample_life *life = sample->life;
    ret_labels->count = 0;
    Perftools__Profiles__Label *bytes = add_label(ret_labels, STRING_BYTES);
    bytes->num = sample->block_bytes;
    bytes->num_unit = STRING_BYTES;
    if (life == NULL)
        return;
    add_label(ret_labels, STRING_LIFETIME)->str = STRING_AGES + life->age;
    if (life->end != HT_LIFE_GOES_ON)
        add_label(ret_labels, STRING_FREED_BY)->str =
            life->end == HT_LIFE_SAME_THREAD ? STRING_SAME_THREAD : STRING_OTHER_THREAD;
}

static int write_sample(void *context, const struct ht_sample *sample)
{
    struct encoder *encoder = context;
    if ((sample->alloc_objects | sample->alloc_bytes | sample->inuse_objects |
         sample->inuse_bytes) == 0)
        return 0;

    /* A sample without a stack would be seen in totals only. */
    static const uintptr_t no_stack = HT_PC_TRUNCATED;
    const uintptr_t *pcs = sample->depth > 0 ? sample->pcs : &no_stack;
    size_t depth = ht_min(ht_max(sample->depth, 1), HT_ARRAY_SIZE(encoder->ids));
    for (size_t i = 0; i < depth; i++) {
        encoder->ids[i] = ht_locations_add(&encoder->locations, pcs[i]);
        if (encoder->ids[i] == 0)
            return -ENOMEM;
    }

    struct labels labels;
    make_labels(&labels, sample);
    int64_t values[SAMPLE_TYPES] = {sample->alloc_objects, sample->alloc_bytes,
                                    sample->inuse_objects, sample->inuse_bytes};
    Perftools__Profiles__Sample message = PERFTOOLS__PROFILES__SAMPLE__INIT;
    message.n_location_id = depth;
    message.location_id = encoder->ids;
    message.n_value = SAMPLE_TYPES;
    message.value = values;
    message.n_label = labels.count;
    message.label = labels.list;
    float variances[SAMPLE_TYPES];
    message.n_heaptap_variance = variances_of(sample, variances);
    message.heaptap_variance = variances;
    message.heaptap_oldest_nanos = sample->oldest_nanos;
    if (sample->life != NULL && sample->life->freed_pc != 0) {
        message.heaptap_freed_location =
            ht_locations_add(&encoder->locations, sample->life->freed_pc);
        message.heaptap_freed_frame = sample->life->freed_frame;
    }
    ht_messages_put(&encoder->messages, HT_FIELD_SAMPLE, &message.base);

    encoder->totals.alloc_objects += sample->alloc_objects;
    encoder->totals.alloc_bytes += sample->alloc_bytes;
    encoder->totals.inuse_objects += sample->inuse_objects;
    encoder->totals.inuse_bytes += sample->inuse_bytes;
    encoder->totals.inuse_bytes_variance += sample->variances[3];
    encoder->totals.samples++;
    return ht_gzip_error(encoder->messages.gzip);
}

/* Without has_functions, readers would look up again what we found, and lose it. */
static void write_mapping(struct encoder *encoder, Perftools__Profiles__Mapping *mapping,
                          const char *path, const char *build_id)
{
    mapping->filename = ht_messages_string(&encoder->messages, path);
    mapping->build_id = ht_messages_string(&encoder->messages, build_id);
    mapping->has_functions = true;
    ht_messages_put(&encoder->messages, HT_FIELD_MAPPING, &mapping->base);
}

/* Modules, and after them what a JIT compiler has made. */
static void write_mappings(struct encoder *encoder)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < encoder->mappings.count; i++) {
        const struct ht_mapping *mapping = &encoder->mappings.items[i];
        const struct ht_build_id *build_id = &mapping->identity.build_id;
        char hex[2 * HT_BUILD_ID_MAX + 1] = "";
        for (size_t j = 0; j < build_id->size; j++) {
            hex[2 * j] = digits[build_id->bytes[j] >> 4];
            hex[2 * j + 1] = digits[build_id->bytes[j] & 15];
        }
        Perftools__Profiles__Mapping message = PERFTOOLS__PROFILES__MAPPING__INIT;
        message.id = i + 1;
        message.memory_start = mapping->start;
        message.memory_limit = mapping->limit;
        message.file_offset = mapping->offset;
        write_mapping(encoder, &message, mapping->path, hex);
    }
    for (uint32_t i = 0; i < encoder->jit.region_count; i++) {
        Perftools__Profiles__Mapping message = PERFTOOLS__PROFILES__MAPPING__INIT;
        message.id = encoder->mappings.count + i + 1;
        message.memory_start = encoder->jit.regions[i].start;
        message.memory_limit = encoder->jit.regions[i].limit;
        write_mapping(encoder, &message, "[jit]", "");
    }
}

/* The number of the mapping of a pc; 0: it is in none. */
static uint64_t mapping_of(const struct encoder *encoder, uintptr_t pc)
{
    const struct ht_mapping *mapping = ht_mappings_find(&encoder->mappings, pc);
    if (mapping != NULL)
        return (uint64_t)(mapping - encoder->mappings.items) + 1;
    uint32_t region = ht_jit_region_of(&encoder->jit, pc);
    return region != 0 ? encoder->mappings.count + region : 0;
}

static void write_locations(struct encoder *encoder)
{
    for (uint32_t id = 1; id <= encoder->locations.count; id++) {
        uintptr_t pc = ht_locations_pc(&encoder->locations, id);
        Perftools__Profiles__Line line = PERFTOOLS__PROFILES__LINE__INIT, *line_list[] = {&line};
        line.function_id = *ht_locations_function(&encoder->locations, id);
        Perftools__Profiles__Location message = PERFTOOLS__PROFILES__LOCATION__INIT;
        message.id = id;
        message.mapping_id = mapping_of(encoder, pc);
        message.address = pc;
        message.n_line = 1;
        message.line = line_list;
        ht_messages_put(&encoder->messages, HT_FIELD_LOCATION, &message.base);
    }
}

/* Functions come before the locations that refer to them: each is written when its symbol has just
 * been found, and nothing but its number is kept. The order of fields is free. */
static int write_profile(struct encoder *encoder)
{
    struct ht_snapshot *snapshot = encoder->snapshot;
    write_header(encoder);
    write_comments(encoder, 0);
    int r = snapshot->each_sample(snapshot, write_sample, encoder);
    if (r != 0)
        return r;
    unsigned written = snapshot->comment_count;
    if (snapshot->conclude != NULL)
        snapshot->conclude(snapshot, &encoder->totals);
    write_comments(encoder, written);
    r = ht_locations_sort(&encoder->locations);
    if (r < 0)
        return r;
    ht_jit_open(&encoder->jit, &encoder->locations, &encoder->mappings);
    write_mappings(encoder);
    r = ht_functions_write(&encoder->locations, &encoder->mappings, &encoder->jit,
                           &encoder->messages);
    if (r == 0)
        write_locations(encoder);
    ht_jit_close(&encoder->jit);
    return r;
}

int ht_pprof_encode(struct ht_snapshot *snapshot, int fd, struct ht_totals *ret_totals)
{
    struct encoder *encoder = ht_arena_map(sizeof(*encoder));
    if (encoder == NULL)
        return -ENOMEM;
    encoder->snapshot = snapshot;
    int r = ht_mappings_load(&encoder->mappings);
    if (r == 0)
        r = ht_gzip_open(&encoder->messages.gzip, fd);
    if (r == 0) {
        r = write_profile(encoder);
        int closed = ht_gzip_close(encoder->messages.gzip, r != 0);
        if (r == 0)
            r = closed;
    }
    if (r == 0)
        *ret_totals = encoder->totals;
    ht_locations_free(&encoder->locations);
    ht_mappings_free(&encoder->mappings);
    ht_arena_unmap(encoder, sizeof(*encoder));
    return r;
}
