#include "target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tool.h"

#define HEAD_SIZE           4096
#define PROGRAM_HEADERS_MAX 64
/* A script's interpreter may be a script; the kernel follows about as many. */
#define SCRIPTS_MAX 5

static int check_executable(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return errno == EACCES ? -EACCES : -ENOENT;
    return S_ISREG(status.st_mode) && access(path, X_OK) == 0 ? 0 : -EACCES;
}

int target_find(const char *name, char ret_path[PATH_MAX])
{
    if (strchr(name, '/')) {
        if (snprintf(ret_path, PATH_MAX, "%s", name) >= PATH_MAX)
            return -ENOENT;
        return check_executable(ret_path);
    }
    int result = -ENOENT;
    const char *directories = getenv("PATH");
    if (!directories)
        directories = "/bin:/usr/bin";
    while (*name && directories) {
        const char *end = strchrnul(directories, ':');
        int length = (int)(end - directories);
        int n =
            snprintf(ret_path, PATH_MAX, "%.*s%s%s", length, directories, length ? "/" : "", name);
        int r = n < PATH_MAX ? check_executable(ret_path) : -ENOENT;
        if (r == 0)
            return 0;
        if (r == -EACCES)
            result = r;
        directories = *end ? end + 1 : NULL;
    }
    return result;
}

/* The kernel takes the environment of such a program as hostile: the loader ignores LD_PRELOAD. */
static const char *privilege_obstacle(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return NULL;
    if ((status.st_mode & S_ISUID) && status.st_uid != getuid())
        return "is setuid, and the loader preloads nothing into such a program";
    if ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getgid())
        return "is setgid, and the loader preloads nothing into such a program";
    if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return "has file capabilities, and the loader preloads nothing into such a program";
    return NULL;
}

static const char *interpreter_obstacle(int fd, const Elf64_Phdr *header)
{
    char interpreter[PATH_MAX] = "";
    size_t size = ht_min(header->p_filesz, sizeof(interpreter) - 1);
    if (pread(fd, interpreter, size, (off_t)header->p_offset) < 0)
        return NULL;
    if (strstr(interpreter, "/ld-musl"))
        return "is linked against musl, and heaptap needs glibc";
    return NULL;
}

static const char *elf_obstacle(int fd, const char *head, size_t head_size)
{
    Elf64_Ehdr elf;
    if (head_size < sizeof(elf))
        return NULL;
    memcpy(&elf, head, sizeof(elf));
    if (elf.e_ident[EI_CLASS] != ELFCLASS64)
        return "is a 32-bit program, and heaptap profiles 64-bit ones";
    if (elf.e_machine != EM_X86_64)
        return "is not made for x86-64";

    Elf64_Phdr headers[PROGRAM_HEADERS_MAX];
    size_t count = ht_min(elf.e_phnum, PROGRAM_HEADERS_MAX);
    if (elf.e_phentsize != sizeof(headers[0]))
        return NULL;
    ssize_t size = pread(fd, headers, count * sizeof(headers[0]), (off_t)elf.e_phoff);
    if (size != (ssize_t)(count * sizeof(headers[0])))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type == PT_INTERP)
            return interpreter_obstacle(fd, &headers[i]);
    }
    return "is statically linked, and nothing can be preloaded into such a program";
}

/* The interpreter of a script, from its first line. For `#!/usr/bin/env NAME` it is the one that
 * env finds. False when there is none. */
static bool find_interpreter(char *head, char ret_path[PATH_MAX])
{
    char *line = head + 2, *rest = line;
    line[strcspn(line, "\n")] = 0;
    const char *interpreter = strsep(&rest, " \t");
    while (interpreter && !*interpreter)
        interpreter = strsep(&rest, " \t");
    if (!interpreter)
        return false;
    size_t length = strlen(interpreter);
    bool is_env = length > 4 && strcmp(interpreter + length - 4, "/env") == 0;
    for (const char *word; is_env && (word = strsep(&rest, " \t"));) {
        if (*word && *word != '-' && !strchr(word, '='))
            return target_find(word, ret_path) == 0;
    }
    return snprintf(ret_path, PATH_MAX, "%s", interpreter) < PATH_MAX;
}

const char *target_obstacle(const char *path, char ret_culprit[PATH_MAX])
{
    const char *obstacle = NULL;
    snprintf(ret_culprit, PATH_MAX, "%s", path);
    for (int scripts = 0; scripts <= SCRIPTS_MAX && !obstacle; scripts++) {
        char head[HEAD_SIZE + 1], interpreter[PATH_MAX];
        int fd = open(ret_culprit, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
            break; /* it may be executed, but not read */
        ssize_t size = pread(fd, head, HEAD_SIZE, 0);
        bool is_elf = size >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
        if (is_elf)
            obstacle = privilege_obstacle(fd);
        if (is_elf && !obstacle)
            obstacle = elf_obstacle(fd, head, (size_t)size);
        close(fd);
        if (is_elf || size < 3 || head[0] != '#' || head[1] != '!')
            break;
        head[size] = 0;
        if (!find_interpreter(head, interpreter))
            break;
        memcpy(ret_culprit, interpreter, sizeof(interpreter));
    }
    return obstacle;
}

const char *target_library_obstacle(const char *path)
{
    Elf64_Ehdr elf;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? "is not there" : "cannot be read";
    ssize_t size = pread(fd, &elf, sizeof(elf), 0);
    close(fd);
    if (size < SELFMAG || memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0)
        return "is no library";
    if (size < (ssize_t)sizeof(elf) || elf.e_ident[EI_CLASS] != ELFCLASS64)
        return "is a 32-bit library";
    if (elf.e_machine != EM_X86_64)
        return "is not made for x86-64";
    return elf.e_type == ET_DYN ? NULL : "is no shared library";
}

int target_find_library(char ret_path[PATH_MAX])
{
    static const char *const places[] = {
        "../profiler", "..", ".", "../lib/x86_64-linux-gnu", "../lib64", "../lib", HT_LIBDIR,
    };
    char own[PATH_MAX], candidate[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
    own[length < 0 ? 0 : length] = 0;
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = 0;
    for (size_t i = 0; i < HT_ARRAY_SIZE(places); i++) {
        const char *place = places[i];
        snprintf(candidate, sizeof(candidate), "%s%s%s/libheaptap.so", *place == '/' ? "" : own,
                 *place == '/' ? "" : "/", place);
        if (realpath(candidate, ret_path))
            return 0;
    }
    return -ENOENT;
}
