#include "../../tools/replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "test.h"

static char directory[] = "/tmp/heaptap-replace.XXXXXX";

static const char *path(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    if (strstr(directory, "XXXXXX"))
        CHECK(mkdtemp(directory));
    char *text = paths[next++ % 4];
    snprintf(text, PATH_MAX, "%s/%s", directory, name);
    return text;
}

static void put(const char *name, const char *text, mode_t mode)
{
    int fd = open(path(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, mode);
    close(fd);
}

static const char *get(const char *name)
{
    static char text[64];
    int fd = open(path(name), O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* How many names there are; also removes them all. */
static int clean(void)
{
    DIR *entries = opendir(path(""));
    int count = 0;
    for (struct dirent *entry; (entry = readdir(entries));)
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) {
            unlink(path(entry->d_name));
            count++;
        }
    closedir(entries);
    return count;
}

TEST(a_file_is_replaced_and_keeps_what_it_is)
{
    struct replacement replacement;
    struct timespec times[2] = {{1000, 5}, {2000, 123456789}};
    struct stat before, after;
    put("a", "old", 0640);
    CHECK_EQ(utimensat(AT_FDCWD, path("a"), times, 0), 0);
    CHECK_EQ(symlink("a", path("link")), 0);
    CHECK_EQ(stat(path("link"), &before), 0);
    CHECK_EQ(replacement_begin(path("link"), &before, &replacement), 0);
    CHECK_EQ(write(replacement.fd, "new!", 4), 4);
    CHECK_STR_EQ(get("a"), "old"); /* until the end */
    CHECK_EQ(replacement_finish(&replacement), 0);
    CHECK_STR_EQ(get("a"), "new!");
    CHECK_EQ(lstat(path("link"), &after), 0);
    CHECK(S_ISLNK(after.st_mode));
    CHECK_EQ(stat(path("a"), &after), 0);
    CHECK_EQ(after.st_mode & 07777, 0640);
    CHECK_EQ(after.st_mtim.tv_sec, 2000);
    CHECK_EQ(after.st_mtim.tv_nsec, 123456789);
    CHECK(after.st_ino != before.st_ino);
    CHECK_EQ(clean(), 2);
}

TEST(what_was_removed_does_not_come_back)
{
    struct replacement replacement;
    struct stat before;
    put("a", "old", 0600);
    CHECK_EQ(stat(path("a"), &before), 0);
    CHECK_EQ(replacement_begin(path("a"), &before, &replacement), 0);
    unlink(path("a"));
    CHECK_EQ(replacement_finish(&replacement), -ESTALE);
    CHECK_EQ(clean(), 0);
}

TEST(what_came_meanwhile_stays)
{
    struct replacement replacement;
    struct stat before;
    put("a", "old", 0600);
    CHECK_EQ(stat(path("a"), &before), 0);
    CHECK_EQ(replacement_begin(path("a"), &before, &replacement), 0);
    put("b", "newer", 0600);
    CHECK_EQ(rename(path("b"), path("a")), 0);
    CHECK_EQ(replacement_finish(&replacement), -ESTALE);
    CHECK_STR_EQ(get("a"), "newer");
    CHECK_EQ(clean(), 1);
}

TEST(a_new_one_is_made)
{
    struct replacement replacement;
    CHECK_EQ(replacement_begin(path("c"), NULL, &replacement), 0);
    CHECK_EQ(write(replacement.fd, "text", 4), 4);
    CHECK_EQ(replacement_finish(&replacement), 0);
    CHECK_STR_EQ(get("c"), "text");
    CHECK_EQ(clean(), 1);
}

TEST(an_abandoned_one_leaves_nothing)
{
    struct replacement replacement;
    CHECK_EQ(replacement_begin(path("c"), NULL, &replacement), 0);
    replacement_abandon(&replacement);
    CHECK_EQ(clean(), 0);
    CHECK_EQ(replacement_begin(path("no/c"), NULL, &replacement), -ENOENT);
    rmdir(directory);
}
