#include "test.h"

#include <errno.h>

#include "control/names.h"

static char path[4096], expected[4096];

static void make(const char *pattern, uint64_t number, unsigned attempt)
{
    ht_names_start(pattern);
    CHECK_EQ(ht_names_profile(number, attempt, path, sizeof(path)), 0);
}

TEST(names_default_pattern)
{
    char directory[1024];
    CHECK(getcwd(directory, sizeof(directory)) != NULL);
    make("heaptap.%e.%p.%n.pb.gz", 3, 0);
    snprintf(expected, sizeof(expected), "%s/heaptap.test_names.%d.3.pb.gz", directory,
             (int)getpid());
    CHECK_STR_EQ(path, expected);
    CHECK(ht_names_have_number());
}

TEST(names_absolute_and_percent)
{
    make("/var/tmp/a%%b.%n", 12, 0);
    CHECK_STR_EQ(path, "/var/tmp/a%b.12");
    make("/x/%%n", 1, 0);
    CHECK_STR_EQ(path, "/x/%n");
    CHECK(!ht_names_have_number());
}

TEST(names_that_are_taken_get_another_ending)
{
    make("/d.d/heap.pb.gz", 1, 1);
    CHECK_STR_EQ(path, "/d.d/heap-2.pb.gz");
    make("/d.d/heap", 1, 2);
    CHECK_STR_EQ(path, "/d.d/heap-3");
    make("/d/heap.prof", 1, 1);
    CHECK_STR_EQ(path, "/d/heap-2.prof");
    make("/d/.hidden", 1, 1);
    CHECK_STR_EQ(path, "/d/.hidden-2");
}

TEST(names_stay_where_the_program_started)
{
    char directory[1024];
    CHECK(getcwd(directory, sizeof(directory)) != NULL);
    ht_names_start("x");
    CHECK_EQ(chdir("/"), 0);
    CHECK_EQ(ht_names_profile(1, 0, path, sizeof(path)), 0);
    CHECK_EQ(chdir(directory), 0);
    snprintf(expected, sizeof(expected), "%s/x", directory);
    CHECK_STR_EQ(path, expected);
}

/* A profile without a directory in its name once ended the program. */
TEST(names_have_a_directory_where_the_current_one_has_none)
{
    char directory[1024], gone[] = "/tmp/heaptap-test-names.XXXXXX";
    CHECK(getcwd(directory, sizeof(directory)) != NULL);
    CHECK(mkdtemp(gone) != NULL);
    CHECK_EQ(chdir(gone), 0);
    CHECK_EQ(rmdir(gone), 0);
    make("x.pb.gz", 1, 1);
    CHECK_STR_EQ(path, "./x-2.pb.gz");
    CHECK_EQ(chdir(directory), 0);
}

TEST(names_too_long_are_refused)
{
    char small[16];
    ht_names_start("/a-name-that-does-not-fit");
    CHECK_EQ(ht_names_profile(1, 0, small, sizeof(small)), -ENAMETOOLONG);
    CHECK_EQ(ht_names_temporary("/a-directory-that-does/x", 1, small, sizeof(small)),
             -ENAMETOOLONG);
}

TEST(names_temporary_is_a_neighbour)
{
    CHECK_EQ(ht_names_temporary("/var/tmp/heap.pb.gz", 5, path, sizeof(path)), 0);
    snprintf(expected, sizeof(expected), "/var/tmp/.heaptap.%d.5.part", (int)getpid());
    CHECK_STR_EQ(path, expected);
}
