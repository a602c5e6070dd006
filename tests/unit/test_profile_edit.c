#include "../../tools/profile_edit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "test.h"

typedef Perftools__Profiles__Function Function;
typedef Perftools__Profiles__Location Location;

/* A profile by hand: a sample type, a sample with a field that nobody knows, two functions, two
 * locations, a mapping, three strings, and a field of the profile that nobody knows. */
static const uint8_t plain[] = {
    0x0a, 4, 0x08, 1,    0x10, 2, /* sample_type {type 1, unit 2} */
    0x12, 8, 0x0a, 1,    9,    0x12, 1,    5,    0x78,
    7, /* sample {location 9, value 5, field 15: 7} */
    0x1a, 8, 0x08, 3,    0x10, 16,   0x18, 32,   0x28,
    1,                                        /* mapping {id 3, 16 to 32, filename 1} */
    0x2a, 4, 0x08, 20,   0x10, 1,             /* function {id 20, name 1} */
    0x2a, 6, 0x08, 30,   0x10, 2,    0x78, 1, /* function {id 30, name 2, field 15: 1} */
    0x22, 8, 0x08, 9,    0x10, 3,    0x22, 2,    0x08,
    30,                                        /* location {id 9, mapping 3, line {function 30}} */
    0x22, 6, 0x08, 8,    0x22, 2,    0x08, 20, /* location {id 8, line {function 20}} */
    0x32, 0,                                   /* strings: "", "a", "b" */
    0x32, 1, 'a',  0x32, 1,    'b',  0xf8, 0x7f, 1, /* field 2047: 1 */
};

static const char *decode(const void *data, size_t size, struct edit *ret_edit)
{
    struct bytes file = {.data = malloc(size + 1), .size = size};
    memcpy(file.data, data, size);
    return edit_decode(&file, ret_edit);
}

/* Writes it and reads it again. */
static void write_and_read(struct edit *edit, struct edit *ret_edit)
{
    char path[] = "/tmp/heaptap-edit.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    int r = edit_write(edit, fd, 6);
    close(fd);
    const char *problem = edit_read(path, ret_edit);
    unlink(path);
    CHECK_EQ(r, 0);
    CHECK(!problem);
}

static bool contains(const struct edit *edit, const uint8_t *bytes, size_t size)
{
    return memmem(edit->data, edit->size, bytes, size) != NULL;
}

TEST(what_is_not_changed_stays_as_it_is)
{
    struct edit edit, again;
    CHECK(!decode(plain, sizeof(plain), &edit));
    CHECK_EQ(edit.mapping_count, 1);
    CHECK_EQ(edit.location_count, 2);
    CHECK_EQ(edit.function_count, 2);
    write_and_read(&edit, &again);
    CHECK(contains(&again, plain, 16));                      /* type and sample */
    CHECK(contains(&again, plain + sizeof(plain) - 3, 3));   /* the field nobody knows */
    CHECK(contains(&again, (const uint8_t *)"\x78\x01", 2)); /* that of the function */
    CHECK_EQ(again.mappings[0]->memory_limit, 32);
    CHECK_EQ(again.locations[0]->id, 9); /* in their order */
    CHECK_EQ(again.locations[1]->id, 8);
    CHECK_EQ(again.locations[0]->line[0]->function_id, 2); /* numbered from 1 */
    CHECK_EQ(again.locations[1]->line[0]->function_id, 1);
    CHECK_STR_EQ(edit_string(&again, edit_function(&again, 2)->name), "b");
    edit_free(&edit);
    edit_free(&again);
}

TEST(functions_and_strings_are_there_once)
{
    struct edit edit, again;
    CHECK(!decode(plain, sizeof(plain), &edit));
    CHECK_EQ(edit_add_string(&edit, "b"), 2);
    CHECK_EQ(edit_add_string(&edit, "new"), 3);
    CHECK_EQ(edit_add_string(&edit, "new"), 3);
    CHECK_EQ(edit_add_string(&edit, ""), 0);
    CHECK_EQ(edit_add_function(&edit, "a", "", "", 0), 20);
    uint64_t id = edit_add_function(&edit, "new", "_Z3newv", "/new.cc", 12);
    CHECK_EQ(id, 31);
    CHECK_EQ(edit_add_function(&edit, "new", "_Z3newv", "/new.cc", 12), id);
    CHECK(edit_add_function(&edit, "new", "_Z3newv", "/new.cc", 13) != id);
    CHECK(edit_set_lines(&edit, edit.locations[0], 2));
    edit.locations[0]->line[0]->function_id = id;
    edit.locations[0]->line[0]->line = 14;
    edit.locations[0]->line[1]->function_id = 20;
    write_and_read(&edit, &again);
    CHECK_EQ(again.function_count, 2); /* "b" and line 13 are gone: nobody needs them */
    const Location *location = again.locations[0];
    CHECK_EQ(location->n_line, 2);
    CHECK_EQ(location->line[0]->line, 14);
    const Function *function = edit_function(&again, location->line[0]->function_id);
    CHECK_STR_EQ(edit_string(&again, function->name), "new");
    CHECK_STR_EQ(edit_string(&again, function->filename), "/new.cc");
    CHECK_EQ(function->start_line, 12);
    edit_free(&edit);
    edit_free(&again);
}

TEST(an_empty_one_can_be_filled)
{
    struct edit edit, again;
    CHECK(edit_begin(&edit));
    CHECK(edit_add_mapping(&edit, 4, "/bin/x"));
    for (uint64_t id = 1; id <= 1000; id++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", (int)id % 300);
        Location *location = edit_add_location(&edit, 1);
        CHECK(location);
        location->id = id;
        location->line[0]->function_id = edit_add_function(&edit, name, name, "", 0);
    }
    write_and_read(&edit, &again);
    CHECK_EQ(again.location_count, 1000);
    CHECK_EQ(again.function_count, 300);
    CHECK_EQ(again.mappings[0]->id, 4);
    const Function *function = edit_function(&again, again.locations[776]->line[0]->function_id);
    CHECK_STR_EQ(edit_string(&again, function->name), "f177");
    edit_free(&edit);
    edit_free(&again);
}

static void refuse(const uint8_t *data, size_t size)
{
    struct edit edit;
    CHECK(decode(data, size, &edit));
}

TEST(what_is_damaged_is_refused)
{
    static const uint8_t no_type[] = {0x32, 0}, no_string[] = {0x0a, 0},
                         first_string[] = {0x0a, 0, 0x32, 1, 'x'},
                         group[] = {0x0a, 0, 0x32, 0, 0x0b},
                         long_length[] = {0x0a, 0, 0x32, 0, 0x32, 0xff, 0xff, 0xff, 0xff, 0x0f},
                         no_function[] = {0x0a, 0, 0x32, 0, 0x22, 4, 0x22, 2, 0x08, 1},
                         zero_function[] = {0x0a, 0, 0x32, 0, 0x2a, 0},
                         twice[] = {0x0a, 0, 0x32, 0, 0x2a, 2, 0x08, 1, 0x2a, 2, 0x08, 1},
                         bad_name[] = {0x0a, 0, 0x32, 0, 0x2a, 4, 0x08, 1, 0x10, 9},
                         bad_path[] = {0x0a, 0, 0x32, 0, 0x1a, 2, 0x28, 9};
    refuse(no_type, sizeof(no_type));
    refuse(no_string, sizeof(no_string));
    refuse(first_string, sizeof(first_string));
    refuse(group, sizeof(group));
    refuse(long_length, sizeof(long_length));
    refuse(no_function, sizeof(no_function));
    refuse(zero_function, sizeof(zero_function));
    refuse(twice, sizeof(twice));
    refuse(bad_name, sizeof(bad_name));
    refuse(bad_path, sizeof(bad_path));
    refuse((const uint8_t *)"heap profile: 1: 2", 18);
}

/* Every profile that is cut or has a wrong byte is refused, or can be written. */
TEST(any_damage_is_survived)
{
    for (size_t at = 0; at < sizeof(plain); at++) {
        for (unsigned value = 0; value < 256; value += 5) {
            uint8_t bytes[sizeof(plain)];
            memcpy(bytes, plain, sizeof(plain));
            bytes[at] = (uint8_t)value;
            struct edit edit, again;
            if (decode(bytes, sizeof(bytes), &edit))
                continue;
            edit_add_function(&edit, "x", "y", "z", 1);
            write_and_read(&edit, &again);
            edit_free(&edit);
            edit_free(&again);
        }
        struct edit edit;
        if (!decode(plain, at, &edit))
            edit_free(&edit);
    }
}
