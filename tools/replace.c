#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".XXXXXX"

/* The directory of a path, with its slash; "./" for none. */
static void directory_of(const char *path, char ret_directory[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(ret_directory, PATH_MAX, "%.*s", (int)(slash + 1 - path), path);
    else
        strcpy(ret_directory, "./");
}

static int open_temporary(struct replacement *replacement)
{
    char directory[PATH_MAX];
    directory_of(replacement->path, directory);
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    replacement->is_named = true;
    fd = mkostemp(replacement->temporary, O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int replacement_begin(const char *path, const struct stat *like, struct replacement *ret)
{
    struct replacement replacement = {.fd = -1};
    if (like)
        replacement.like = *like;
    /* What is no link, or is not there, is meant itself. */
    if (!realpath(path, replacement.path)) {
        if (errno != ENOENT)
            return -errno;
        if (strlen(path) >= sizeof(replacement.path))
            return -ENAMETOOLONG;
        strcpy(replacement.path, path);
    }
    int length = snprintf(replacement.temporary, sizeof(replacement.temporary), "%s" SUFFIX,
                          replacement.path);
    if (length < 0 || (size_t)length >= sizeof(replacement.temporary))
        return -ENAMETOOLONG;
    replacement.fd = open_temporary(&replacement);
    if (replacement.fd < 0)
        return replacement.fd;
    *ret = replacement;
    return 0;
}

/* Owner, mode and times: those who look after profiles by their time still know this one. */
static int take_properties(const struct replacement *replacement)
{
    const struct stat *like = &replacement->like;
    struct timespec times[2] = {like->st_atim, like->st_mtim};
    struct stat now;
    if (fstat(replacement->fd, &now) < 0)
        return -errno;
    if ((now.st_uid != like->st_uid || now.st_gid != like->st_gid) &&
        fchown(replacement->fd, like->st_uid, like->st_gid) < 0)
        return -errno;
    if (fchmod(replacement->fd, like->st_mode & 07777) < 0 || futimens(replacement->fd, times) < 0)
        return -errno;
    return 0;
}

static int give_name(struct replacement *replacement)
{
    char link[64];
    if (replacement->is_named)
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", replacement->fd);
    char *name = replacement->temporary;
    size_t length = strlen(name);
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(name + length - (sizeof(SUFFIX) - 1), sizeof(SUFFIX), ".%06x",
                 (unsigned)(getpid() * 100 + attempt) & 0xffffff);
        if (linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0) {
            replacement->is_named = true;
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/* Also not written to meanwhile. */
static bool is_same(const char *path, const struct stat *file)
{
    struct stat now;
    return lstat(path, &now) == 0 && now.st_dev == file->st_dev && now.st_ino == file->st_ino &&
           now.st_size == file->st_size && now.st_mtim.tv_sec == file->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == file->st_mtim.tv_nsec;
}

/* Changes places with the file that it is like, and with no other: one that came meanwhile gets its
 * place back, and one that was removed does not come back. */
static int take_place(const struct replacement *replacement)
{
    const char *old = replacement->path, *new = replacement->temporary;
    if (renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_EXCHANGE) == 0) {
        if (is_same(new, &replacement->like))
            return unlink(new) < 0 ? -errno : 0;
        renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_EXCHANGE);
        return -ESTALE;
    }
    if (errno == ENOENT)
        return -ESTALE;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (!is_same(old, &replacement->like))
        return -ESTALE;
    return rename(new, old) < 0 ? -errno : 0;
}

int replacement_finish(struct replacement *replacement)
{
    bool has_old = replacement->like.st_nlink > 0;
    int r = has_old ? take_properties(replacement) : 0;
    if (r == 0)
        r = give_name(replacement);
    if (r == 0 && has_old)
        r = take_place(replacement);
    else if (r == 0 && rename(replacement->temporary, replacement->path) < 0)
        r = -errno;
    if (r < 0 && replacement->is_named)
        unlink(replacement->temporary);
    close(replacement->fd);
    return r;
}

void replacement_abandon(struct replacement *replacement)
{
    if (replacement->is_named)
        unlink(replacement->temporary);
    close(replacement->fd);
}
