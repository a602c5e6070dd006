#include "../../tools/profile.h"

#include <math.h>
#include <zlib.h>

#include "profile.pb-c.h"
#include "test.h"

typedef Perftools__Profiles__Function Function;
typedef Perftools__Profiles__Label Label;
typedef Perftools__Profiles__Line Line;
typedef Perftools__Profiles__Location Location;
typedef Perftools__Profiles__Mapping Mapping;
typedef Perftools__Profiles__Profile Message;
typedef Perftools__Profiles__Sample Sample;
typedef Perftools__Profiles__ValueType ValueType;

static char *strings[] = {"",        "alloc_objects", "alloc_space", "inuse_objects", "inuse_space",
                          "count",   "bytes",         "/bin/prog",   "main",          "work",
                          "xmalloc", "work.c",        "x.*|unused",  "heaptap 1",     "lifetime",
                          "<1ms",    "inlined",       "x[",          "xm.*"};
enum {
    COUNT = 5,
    BYTES,
    PROGRAM,
    MAIN,
    WORK,
    XMALLOC,
    WORK_C,
    DROP,
    COMMENT,
    LIFETIME,
    MILLISECOND,
    INLINED,
    BAD_REGEX,
    KEEP,
};

/* A profile with one sample, whose stack is xmalloc < work (inlined into main) < 0x1234 of prog;
 * and everything in it can be changed. The columns stand in a strange order, with a fifth one. */
struct file {
    Message message;
    ValueType types[5], *type_list[5];
    Sample sample, *sample_list[1];
    uint64_t stack[3];
    int64_t values[5], comment;
    float variances[5];
    Label labels[2], *label_list[2];
    Mapping mapping, *mapping_list[1];
    Location locations[3], *location_list[3];
    Line lines[3], *line_list[3];
    Function functions[4], *function_list[4];
};

#define SET(message, field, list)                                                                  \
    ((message).field = (list), (message).n_##field = HT_ARRAY_SIZE(list))

static void set_function(struct file *file, int i, int name)
{
    perftools__profiles__function__init(&file->functions[i]);
    file->functions[i].id = (uint64_t)i + 1;
    file->functions[i].name = name;
    file->functions[i].filename = name == WORK ? WORK_C : 0;
    file->function_list[i] = &file->functions[i];
}

static void set_line(struct file *file, int i, uint64_t function, int64_t line)
{
    perftools__profiles__line__init(&file->lines[i]);
    file->lines[i].function_id = function;
    file->lines[i].line = line;
    file->line_list[i] = &file->lines[i];
}

static void set_location(struct file *file, int i, uint64_t id, int first_line, size_t line_count)
{
    perftools__profiles__location__init(&file->locations[i]);
    file->locations[i].id = id;
    file->locations[i].mapping_id = 7;
    file->locations[i].address = 0x10234;
    file->locations[i].line = &file->line_list[first_line];
    file->locations[i].n_line = line_count;
    file->location_list[i] = &file->locations[i];
}

static struct file *make(void)
{
    static struct file file;
    static const int types[] = {4, WORK, 2, 3, 1};
    memset(&file, 0, sizeof(file));
    perftools__profiles__profile__init(&file.message);
    for (int i = 0; i < 5; i++) {
        perftools__profiles__value_type__init(&file.types[i]);
        file.types[i].type = types[i];
        file.types[i].unit = types[i] == 2 || types[i] == 4 ? BYTES : COUNT;
        file.type_list[i] = &file.types[i];
        file.values[i] = types[i] * 100;
        file.variances[i] = (float)types[i] * 10;
    }
    set_function(&file, 0, XMALLOC);
    set_function(&file, 1, WORK);
    set_function(&file, 2, MAIN);
    set_function(&file, 3, INLINED);
    set_line(&file, 0, 1, 0);
    set_line(&file, 1, 2, 42);
    set_line(&file, 2, 3, 0);
    set_location(&file, 0, 0x1000, 0, 1);
    set_location(&file, 1, 5, 1, 2);
    set_location(&file, 2, 20, 0, 0);
    perftools__profiles__mapping__init(&file.mapping);
    file.mapping.id = 7;
    file.mapping.memory_start = 0x10000;
    file.mapping.file_offset = 0x1000;
    file.mapping.filename = PROGRAM;
    file.mapping_list[0] = &file.mapping;
    for (int i = 0; i < 2; i++) {
        perftools__profiles__label__init(&file.labels[i]);
        file.label_list[i] = &file.labels[i];
    }
    file.labels[0].key = LIFETIME;
    file.labels[0].str = MILLISECOND;
    file.labels[1].key = BYTES;
    file.labels[1].num = 64;
    file.labels[1].num_unit = BYTES;
    perftools__profiles__sample__init(&file.sample);
    memcpy(file.stack, (uint64_t[]){0x1000, 5, 20}, sizeof(file.stack));
    SET(file.sample, location_id, file.stack);
    SET(file.sample, value, file.values);
    SET(file.sample, heaptap_variance, file.variances);
    SET(file.sample, label, file.label_list);
    file.sample.heaptap_oldest_nanos = 99;
    file.sample_list[0] = &file.sample;
    file.comment = COMMENT;
    SET(file.message, sample_type, file.type_list);
    SET(file.message, sample, file.sample_list);
    SET(file.message, mapping, file.mapping_list);
    SET(file.message, location, file.location_list);
    SET(file.message, function, file.function_list);
    SET(file.message, string_table, strings);
    file.message.n_comment = 1;
    file.message.comment = &file.comment;
    file.message.heaptap_version = 1;
    file.message.heaptap_process = 12345;
    file.message.period = 524288;
    file.message.time_nanos = 1700000000;
    return &file;
}

static uint8_t bytes[1 << 16];

static size_t pack(const struct file *file)
{
    CHECK(perftools__profiles__profile__get_packed_size(&file->message) < sizeof(bytes));
    return perftools__profiles__profile__pack(&file->message, bytes);
}

static struct frames frames;
static struct profile profile;
static char problem[PROFILE_PROBLEM_SIZE];

static bool decode(const struct file *file)
{
    return profile_decode(bytes, pack(file), &frames, &profile, problem);
}

static const struct frame *frame(uint32_t i)
{
    CHECK(i < profile.samples[0].frame_count);
    return &frames.all[profile.samples[0].frames[i]];
}

static void forget(void)
{
    profile_free(&profile);
    frames_free(&frames);
}

TEST(all_of_it)
{
    frames = frames_empty();
    CHECK(decode(make()));
    CHECK(profile.has_errors);
    CHECK_EQ(profile.process, 12345);
    CHECK_EQ(profile.period, 524288);
    CHECK_EQ(profile.comment_count, 1);
    CHECK_STR_EQ(profile.comments[0], "heaptap 1");
    CHECK_EQ(profile.sample_count, 1);
    const struct profile_sample *sample = &profile.samples[0];
    for (int i = 0; i < PROFILE_COLUMNS; i++) {
        CHECK_EQ(sample->values[i], (i + 1) * 100);
        CHECK(sample->variances[i] == (i + 1) * 10);
    }
    CHECK_EQ(sample->oldest_nanos, 99);
    CHECK_EQ(sample->label_count, 2);
    CHECK_STR_EQ(profile_label(sample, "lifetime"), "<1ms");
    CHECK(profile_label(sample, "bytes") == NULL && sample->labels[1].number == 64);
    CHECK_EQ(sample->frame_count, 4);
    CHECK_STR_EQ(frame(0)->function, "xmalloc");
    CHECK_STR_EQ(frame(1)->function, "work");
    CHECK_STR_EQ(frame(1)->file, "work.c");
    CHECK_EQ(frame(1)->line, 42);
    CHECK_STR_EQ(frame(2)->function, "main");
    CHECK_STR_EQ(frame(2)->mapping, "prog");
    CHECK_STR_EQ(frame(3)->function, "[prog+0x1234]");
    CHECK_EQ(sample->freed_frame, FRAMES_NONE);
    forget();
}

TEST(the_same_frames_in_another_profile)
{
    frames = frames_empty();
    struct profile first;
    size_t size = pack(make());
    CHECK(profile_decode(bytes, size, &frames, &first, problem));
    uint32_t count = frames.count;
    CHECK(profile_decode(bytes, size, &frames, &profile, problem));
    CHECK_EQ(frames.count, count);
    CHECK(memcmp(first.samples[0].frames, profile.samples[0].frames, 4 * sizeof(uint32_t)) == 0);
    profile_free(&first);
    CHECK_STR_EQ(frame(1)->function, "work");
    forget();
}

TEST(dropped_frames)
{
    static const struct {
        int64_t drop, keep;
        uint64_t stack[3];
        const char *leaf;
        uint32_t count;
    } cases[] = {
        {DROP, 0, {0x1000, 5, 20}, "work", 3},
        {DROP, KEEP, {0x1000, 5, 20}, "xmalloc", 4},    /* which has the last word */
        {DROP, 0, {20, 0x1000, 5}, "work", 2},          /* and all below it */
        {DROP, 0, {20, 5, 0x1000}, "[prog+0x1234]", 4}, /* not at the root */
        {WORK, 0, {0x1000, 5, 20}, "main", 2},          /* an inlined call */
        {WORK, 0, {20, 0x1000, 5}, "[prog+0x1234]", 3}, /* the same at the root: its lines only */
        {BAD_REGEX, 0, {0x1000, 5, 20}, "xmalloc", 4},
        {DROP, BAD_REGEX, {0x1000, 5, 20}, "xmalloc", 4},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(cases); i++) {
        struct file *file = make();
        frames = frames_empty();
        file->message.drop_frames = cases[i].drop;
        file->message.keep_frames = cases[i].keep;
        memcpy(file->stack, cases[i].stack, sizeof(file->stack));
        CHECK(decode(file));
        CHECK_STR_EQ(frame(0)->function, cases[i].leaf);
        CHECK_EQ(profile.samples[0].frame_count, cases[i].count);
        forget();
    }
}

TEST(the_stack_of_a_free)
{
    static const struct {
        uint64_t location;
        uint32_t at;
        int64_t drop;
        uint32_t index;
        const char *function;
        bool is_same;
    } cases[] = {
        {20, 2, 0, 3, "[prog+0x1234]", true},  {5, 1, 0, 2, "main", true},
        {5, 1, DROP, 1, "main", true},         {0x1000, 1, 0, 2, "xmalloc", false},
        {0x1000, 0, DROP, 0, "xmalloc", true}, /* both are dropped */
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(cases); i++) {
        struct file *file = make();
        frames = frames_empty();
        file->message.drop_frames = cases[i].drop;
        file->sample.heaptap_freed_location = cases[i].location;
        file->sample.heaptap_freed_frame = cases[i].at;
        CHECK(decode(file));
        const struct profile_sample *sample = &profile.samples[0];
        CHECK_EQ(sample->freed_index, cases[i].index);
        CHECK_STR_EQ(frames.all[sample->freed_frame].function, cases[i].function);
        CHECK_EQ(sample->is_freed_by_same, cases[i].is_same);
        forget();
    }
}

TEST(no_errors_known)
{
    struct file *file = make();
    frames = frames_empty();
    file->message.heaptap_version = 0;
    file->sample.n_heaptap_variance = 0;
    CHECK(decode(file));
    CHECK(!profile.has_errors);
    forget();
}

/* What is wrong, in words; the frames stay usable. */
static void check_refused(const struct file *file, const char *words)
{
    frames = frames_empty();
    bool done = decode(file);
    if (done || strstr(problem, words) == NULL)
        printf("  %s: %s\n", words, done ? "taken" : problem);
    CHECK(!done && strstr(problem, words) != NULL);
    frames_free(&frames);
}

TEST(refused)
{
    struct file *file;
#define REFUSED(words, change)                                                                     \
    do {                                                                                           \
        file = make();                                                                             \
        change;                                                                                    \
        check_refused(file, words);                                                                \
    } while (0)
    REFUSED("not a profile", file->message.n_sample_type = 0);
    REFUSED("not a profile", file->message.n_string_table = 0);
    REFUSED("not a profile", file->message.string_table++; file->message.n_string_table--);
    REFUSED("of inuse_space/bytes and work/count, not of a heap", file->message.n_sample_type = 2);
    REFUSED("inuse_space/count", file->types[0].unit = COUNT);
    REFUSED("string 77 of 19", file->types[0].type = 77);
    REFUSED("string -1 of", file->functions[1].name = -1);
    REFUSED("string 77 of", file->functions[1].filename = 77);
    REFUSED("string 77 of", file->mapping.filename = 77);
    REFUSED("string 77 of", file->labels[0].str = 77);
    REFUSED("string 77 of", file->comment = 77);
    REFUSED("string 77 of", file->message.drop_frames = 77);
    REFUSED("4 values, not 5", file->sample.n_value = 4);
    REFUSED("4 variances, not 5", file->sample.n_heaptap_variance = 4);
    REFUSED("a variance of -1", file->variances[0] = -1);
    REFUSED("a variance of inf", file->variances[0] = (float)INFINITY);
    REFUSED("nan", file->variances[0] = (float)NAN);
    REFUSED("in location 4096, which is not there", file->locations[0].id = 1);
    REFUSED("location 5 is there twice", file->locations[0].id = 5);
    REFUSED("function 2 is there twice", file->functions[0].id = 2);
    REFUSED("a mapping without an id", file->mapping.id = 0);
    REFUSED("mapping 7, which is not there", file->mapping.id = 8);
    REFUSED("function 9, which is not there", file->lines[1].function_id = 9);
    REFUSED("a free at frame 3 of 3", file->sample.heaptap_freed_location = 5;
            file->sample.heaptap_freed_frame = 3);
    REFUSED("location 6", file->sample.heaptap_freed_location = 6);
}

TEST(every_length_of_a_gzipped_file)
{
    static uint8_t packed[1 << 16];
    size_t size = pack(make());
    z_stream stream = {.next_in = bytes, .avail_in = (uInt)size};
    stream.next_out = packed;
    stream.avail_out = sizeof(packed);
    CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    size_t packed_size = stream.total_out;
    deflateEnd(&stream);
    frames = frames_empty();
    for (size_t length = 2; length < packed_size; length++) {
        CHECK(!profile_decode(packed, length, &frames, &profile, problem));
        CHECK(strstr(problem, "cut off") != NULL);
    }
    CHECK(profile_decode(packed, packed_size, &frames, &profile, problem));
    profile_free(&profile);
    CHECK(!profile_decode(packed, packed_size + 1, &frames, &profile, problem));
    CHECK(strstr(problem, "follows") != NULL);
    packed[packed_size - 8] ^= 1; /* the check sum */
    CHECK(!profile_decode(packed, packed_size, &frames, &profile, problem));
    CHECK(strstr(problem, "damaged") != NULL);
    frames_free(&frames);
}

TEST(no_profile)
{
    static const char *const texts[] = {"hello, world\n", "", "\n", "{\"a\": 1}",
                                        "--- heap\n12: 34 [56: 78] @ 0x9\n"};
    frames = frames_empty();
    for (size_t i = 0; i < HT_ARRAY_SIZE(texts); i++) {
        CHECK(!profile_decode((const uint8_t *)texts[i], strlen(texts[i]), &frames, &profile,
                              problem));
        CHECK_STR_EQ(problem, "not a profile in pprof's format");
    }
    const char *old = "heap profile: 1: 2 [3: 4] @ heap_v2/524288\n";
    CHECK(!profile_decode((const uint8_t *)old, strlen(old), &frames, &profile, problem));
    CHECK(strstr(problem, "old text format") != NULL);
    frames_free(&frames);
}
