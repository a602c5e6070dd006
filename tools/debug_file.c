#include "debug_file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "debuginfod.h"

#define SYSTEM_DIRECTORY "/usr/lib/debug"

#define PAGE_MASK UINT64_C(0xfff)

static const struct debug_file none = {.fd = -1};

/* What is looked for. */
struct quest {
    const struct debug_search *search;
    const char *path;
    const struct ht_build_id *build_id;
    const struct debug_segment *segments;
    size_t segment_count;
    struct debug_files files;
};

static void close_file(struct debug_file *file)
{
    if (file->elf)
        elf_end(file->elf);
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    *file = none;
}

void debug_files_close(struct debug_files *files)
{
    close_file(&files->object);
    close_file(&files->debug);
}

/* ---- one file ---- */

/* Which of code and debug information it has. */
static void look_at_sections(struct debug_file *file)
{
    size_t names;
    if (elf_getshdrstrndx(file->elf, &names) != 0)
        return;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(file->elf, section));) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS)
            continue;
        const char *name = elf_strptr(file->elf, names, header.sh_name);
        file->has_code |= (header.sh_flags & SHF_EXECINSTR) != 0;
        if (name && (strcmp(name, ".debug_info") == 0 || strcmp(name, ".zdebug_info") == 0)) {
            file->has_lines = true;
            file->is_compressed = name[1] == 'z' || (header.sh_flags & SHF_COMPRESSED);
        }
    }
}

static bool take_fd(int fd, const char *path, struct debug_file *ret_file)
{
    struct debug_file file = {.fd = fd, .path = strdup(path)};
    struct stat status;
    if (fd >= 0 && file.path && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        file.elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!file.elf || elf_kind(file.elf) != ELF_K_ELF || gelf_getclass(file.elf) != ELFCLASS64) {
        close_file(&file);
        return false;
    }
    look_at_sections(&file);
    *ret_file = file;
    return true;
}

static bool open_file(const char *path, struct debug_file *ret_file)
{
    return take_fd(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), path, ret_file);
}

/* The part of a segment's address that readers may have rounded to pages. */
static bool has_segment(const struct debug_file *file, const struct debug_segment *segment,
                        GElf_Phdr *ret_header)
{
    size_t count;
    if (elf_getphdrnum(file->elf, &count) != 0)
        return false;
    for (size_t i = 0; i < count && i < INT_MAX; i++) {
        GElf_Phdr *header = gelf_getphdr(file->elf, (int)i, ret_header);
        if (!header || header->p_type != PT_LOAD || !(header->p_flags & PF_X))
            continue;
        /* What was made of a file to hold its debug information may have other offsets. */
        uint64_t in_page = header->p_vaddr & PAGE_MASK;
        bool is_exact = segment->size == header->p_memsz;
        bool is_rounded = segment->size == ((in_page + header->p_memsz + PAGE_MASK) & ~PAGE_MASK) &&
                          (segment->offset & PAGE_MASK) == 0;
        if (file->has_code && segment->offset <= header->p_offset + header->p_filesz &&
            segment->offset + segment->size > header->p_offset)
            return true;
        if (!file->has_code && (is_exact || is_rounded))
            return true;
    }
    return false;
}

bool debug_file_address(const struct debug_file *file, const struct debug_segment *segment,
                        uint64_t offset, uint64_t *ret_address)
{
    GElf_Phdr header;
    if (!has_segment(file, segment, &header))
        return false;
    uint64_t in_segment = offset - segment->offset;
    if (file->has_code)
        *ret_address = header.p_vaddr + (offset - header.p_offset);
    else if (segment->size == header.p_memsz)
        *ret_address = header.p_vaddr + in_segment;
    else
        *ret_address = (header.p_vaddr & ~PAGE_MASK) + in_segment;
    return true;
}

static bool is_wanted(const struct quest *quest, const struct debug_file *file)
{
    const void *id;
    ssize_t size = dwelf_elf_gnu_build_id(file->elf, &id);
    size_t cut = size > 0 ? ht_min((size_t)size, HT_BUILD_ID_MAX) : 0;
    if (cut != quest->build_id->size)
        return false;
    if (cut > 0)
        return memcmp(id, quest->build_id->bytes, cut) == 0;
    GElf_Phdr header;
    bool has_all = true;
    for (size_t i = 0; i < quest->segment_count; i++)
        has_all = has_all && has_segment(file, &quest->segments[i], &header);
    return has_all;
}

/* Takes what the file has of what is still missing; else closes it. */
static void offer(struct quest *quest, struct debug_file *file)
{
    struct debug_files *files = &quest->files;
    if (files->object.fd < 0 && file->has_code)
        files->object = *file;
    else if (files->debug.fd < 0 && !files->object.has_lines && file->has_lines)
        files->debug = *file;
    else
        close_file(file);
}

static bool is_missing_object(const struct quest *quest)
{
    return quest->files.object.fd < 0;
}

static bool is_missing_lines(const struct quest *quest)
{
    return !quest->files.object.has_lines && !quest->files.debug.has_lines;
}

/* ---- where they may be ---- */

static void try_file(struct quest *quest, const char *path)
{
    struct debug_file file;
    if (!open_file(path, &file))
        return;
    if (is_wanted(quest, &file))
        offer(quest, &file);
    else
        close_file(&file);
}

static HT_PRINTF(2, 3) void try_path(struct quest *quest, const char *format, ...)
{
    char path[2 * PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, sizeof(path), format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < sizeof(path))
        try_file(quest, path);
}

static const char *directory_at(const struct debug_search *search, size_t i)
{
    size_t count = 0;
    while (search->directories && search->directories[count])
        count++;
    return i < count ? search->directories[i] : i == count ? SYSTEM_DIRECTORY : NULL;
}

/* "xx/yyyy", or "" when there is none. */
static void name_by_id(const uint8_t *id, size_t size, char ret_name[2 * HT_BUILD_ID_MAX + 2])
{
    char *at = ret_name;
    *at = 0;
    for (size_t i = 0; i < size && i < HT_BUILD_ID_MAX; i++)
        at += sprintf(at, i == 1 ? "/%02x" : "%02x", id[i]);
}

static void try_object(struct quest *quest)
{
    struct debug_file file;
    if (open_file(quest->path, &file)) {
        bool is_wanted_ = is_wanted(quest, &file);
        quest->files.is_stale = !is_wanted_;
        if (is_wanted_)
            offer(quest, &file);
        else
            close_file(&file);
    }
}

static void try_directories(struct quest *quest)
{
    char by_id[2 * HT_BUILD_ID_MAX + 2];
    const char *slash = strrchr(quest->path, '/');
    const char *base = slash ? slash + 1 : quest->path;
    name_by_id(quest->build_id->bytes, quest->build_id->size, by_id);
    for (size_t i = 0; directory_at(quest->search, i) && is_missing_lines(quest); i++) {
        const char *directory = directory_at(quest->search, i);
        if (*by_id)
            try_path(quest, "%s/.build-id/%s.debug", directory, by_id);
    }
    /* These are the user's own: as they come. */
    for (size_t i = 0; quest->search->directories && quest->search->directories[i]; i++) {
        const char *directory = quest->search->directories[i];
        if (is_missing_object(quest) && *by_id)
            try_path(quest, "%s/.build-id/%s", directory, by_id);
        if (is_missing_object(quest) || is_missing_lines(quest)) {
            try_path(quest, "%s/%s", directory, quest->path);
            try_path(quest, "%s/%s", directory, base);
        }
        if (is_missing_lines(quest)) {
            try_path(quest, "%s/%s.debug", directory, quest->path);
            try_path(quest, "%s/%s.debug", directory, base);
        }
    }
}

static bool has_checksum(int fd, GElf_Word wanted)
{
    static uint8_t buffer[1 << 16];
    uLong sum = crc32(0, NULL, 0);
    off_t at = 0;
    for (ssize_t n; (n = pread(fd, buffer, sizeof(buffer), at)) > 0; at += n)
        sum = crc32(sum, buffer, (uInt)n);
    return sum == wanted;
}

/* The debug file that the object names, when it has no build id: then a checksum must do. */
static void try_unidentified(struct quest *quest, const char *path, GElf_Word checksum)
{
    struct debug_file file;
    if (!open_file(path, &file))
        return;
    if (file.has_lines && has_checksum(file.fd, checksum))
        offer(quest, &file);
    else
        close_file(&file);
}

static void try_link(struct quest *quest)
{
    GElf_Word checksum;
    const char *path = quest->files.object.path;
    const char *name = is_missing_object(quest)
                           ? NULL
                           : dwelf_elf_gnu_debuglink(quest->files.object.elf, &checksum);
    if (!name || strchr(name, '/'))
        return;
    int length = (int)(strrchr(path, '/') ? strrchr(path, '/') - path : 0);
    static const char *const places[] = {"", "/.debug"};
    for (size_t i = 0; is_missing_lines(quest); i++) {
        char beside[2 * PATH_MAX];
        const char *directory = NULL;
        if (i < HT_ARRAY_SIZE(places))
            snprintf(beside, sizeof(beside), "%.*s%s/%s", length, path, places[i], name);
        else if ((directory = directory_at(quest->search, i - HT_ARRAY_SIZE(places))))
            snprintf(beside, sizeof(beside), "%s%.*s/%s", directory, length, path, name);
        else
            break;
        if (quest->build_id->size > 0)
            try_file(quest, beside);
        else
            try_unidentified(quest, beside, checksum);
        if (directory && is_missing_lines(quest) && quest->build_id->size > 0)
            try_path(quest, "%s/%s", directory, name);
    }
}

static void try_debuginfod(struct quest *quest)
{
    char *path;
    struct debug_file file;
    int fd = debuginfod_find(quest->build_id->bytes, quest->build_id->size, &path);
    if (fd < 0)
        return;
    if (take_fd(fd, path, &file)) {
        if (is_wanted(quest, &file))
            offer(quest, &file);
        else
            close_file(&file);
    }
    free(path);
}

void debug_files_find(const struct debug_search *search, const char *path,
                      const struct ht_build_id *build_id, const struct debug_segment *segments,
                      size_t segment_count, struct debug_files *ret_files)
{
    struct quest quest = {.search = search,
                          .path = path,
                          .build_id = build_id,
                          .segments = segments,
                          .segment_count = segment_count,
                          .files = {.object = none, .debug = none}};
    elf_version(EV_CURRENT);
    try_object(&quest);
    if (is_missing_lines(&quest))
        try_directories(&quest);
    if (is_missing_lines(&quest))
        try_link(&quest);
    if (is_missing_lines(&quest) && search->ask_debuginfod && build_id->size > 0)
        try_debuginfod(&quest);
    *ret_files = quest.files;
}

int debug_file_open_by_id(const struct debug_search *search, const uint8_t *id, size_t size)
{
    char by_id[2 * HT_BUILD_ID_MAX + 2], path[2 * PATH_MAX];
    name_by_id(id, size, by_id);
    int fd = -1;
    for (size_t i = 0; *by_id && directory_at(search, i) && fd < 0; i++) {
        snprintf(path, sizeof(path), "%s/.build-id/%s.debug", directory_at(search, i), by_id);
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    return fd;
}
