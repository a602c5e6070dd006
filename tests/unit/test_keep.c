#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config.h"
#include "control/keep.h"
#include "sys/arena.h"

static char directory[64];
static char path[512];

static const char *name(unsigned number)
{
    snprintf(path, sizeof(path), "%s/%u", directory, number);
    return path;
}

static void put(const char *to, const char *text)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void write_one(unsigned number)
{
    put(name(number), "profile");
    ht_keep_written(name(number));
}

static bool is_there(unsigned number)
{
    return access(name(number), F_OK) == 0;
}

static void start(unsigned count)
{
    strcpy(directory, "/tmp/heaptap-keep.XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    ht_keep_start(count);
}

static void end(void)
{
    for (unsigned i = 0; i < 2100; i++)
        unlink(name(i));
    CHECK_EQ(rmdir(directory), 0);
}

TEST(keep_all_by_default)
{
    start(0);
    for (unsigned i = 0; i < 20; i++)
        write_one(i);
    for (unsigned i = 0; i < 20; i++)
        CHECK(is_there(i));
    end();
}

TEST(keep_the_newest)
{
    for (unsigned count = 1; count <= 4; count++) {
        start(count);
        for (unsigned i = 0; i < 20; i++) {
            write_one(i);
            for (unsigned j = 0; j <= i; j++)
                CHECK_EQ(is_there(j), j + count > i);
        }
        end();
    }
}

TEST(keep_most)
{
    start(2 * HT_KEEP_MAX + 5);
    for (unsigned i = 0; i < 2 * HT_KEEP_MAX + 10; i++)
        write_one(i);
    CHECK(!is_there(9));
    CHECK(is_there(10));
    end();
}

TEST(keep_what_is_not_ours)
{
    char elsewhere[300];
    start(2);
    for (unsigned i = 0; i < 8; i++)
        write_one(i);
    /* 6 and 7 are remembered. One is replaced, and gets the inode of the other if the file system
     * is so inclined. */
    unlink(name(6));
    put(name(6), "another profile");
    write_one(8);
    CHECK(is_there(6));
    /* One is written on. */
    put(name(7), "notes on the profile");
    write_one(9);
    CHECK(is_there(7));
    /* One is a link to the very file. */
    snprintf(elsewhere, sizeof(elsewhere), "%s/moved", directory);
    CHECK_EQ(rename(name(8), elsewhere), 0);
    CHECK_EQ(symlink(elsewhere, name(8)), 0);
    write_one(10);
    CHECK(is_there(8));
    CHECK_EQ(access(elsewhere, F_OK), 0);
    unlink(elsewhere);
    /* One is gone. */
    unlink(name(9));
    write_one(11);
    /* What only changed its mode is still ours. */
    chmod(name(10), 0644);
    write_one(12);
    CHECK(!is_there(10));
    end();
}

TEST(keep_in_the_child_of_a_fork)
{
    start(2);
    write_one(1);
    write_one(2);
    ht_keep_fork_child();
    for (unsigned i = 3; i < 7; i++)
        write_one(i);
    CHECK(is_there(1));
    CHECK(is_there(2));
    CHECK(!is_there(4));
    CHECK(is_there(5));
    CHECK(is_there(6));
    end();
}

TEST(keep_long_names)
{
    start(2);
    write_one(1);
    snprintf(path, sizeof(path), "%s/%0200d", directory, 1);
    char long_name[512];
    strcpy(long_name, path);
    put(long_name, "profile");
    ht_keep_written(long_name);
    for (unsigned i = 2; i < 6; i++)
        write_one(i);
    CHECK_EQ(access(long_name, F_OK), 0);
    CHECK(!is_there(3));
    unlink(long_name);
    end();
}

TEST(keep_without_memory)
{
    start(2);
    ht_arena_fail_from(1);
    for (unsigned i = 0; i < 6; i++)
        write_one(i);
    ht_arena_fail_from(0);
    for (unsigned i = 0; i < 6; i++)
        CHECK(is_there(i));
    for (unsigned i = 6; i < 12; i++)
        write_one(i);
    CHECK(is_there(5));
    CHECK(!is_there(6));
    CHECK(is_there(11));
    end();
}
