#include "control/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

#include "control/config.h"
#include "sys/os.h"

#include "sys/poison.h"

#define NAME_SIZE 256

static char pattern[HT_CONFIG_TEXT_SIZE];
static char directory[HT_PATH_MAX]; /* "." when it has no name that we can see */
static char program[NAME_SIZE];

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The name the program was started by: /usr/bin/redis-server may be a link to another name, and a
 * script's interpreter says nothing. */
static void find_program_name(void)
{
    const char *started = (const char *)getauxval(AT_EXECFN);
    char link[HT_PATH_MAX];
    if ((started == NULL || *base_name(started) == 0 || strncmp(started, "/dev/fd/", 8) == 0) &&
        ht_os_read_link("/proc/thread-self/exe", link, sizeof(link)) > 0)
        started = link;
    snprintf(program, sizeof(program), "%.*s", NAME_SIZE - 1,
             started != NULL ? base_name(started) : "program");
}

void ht_names_start(const char *new_pattern)
{
    snprintf(pattern, sizeof(pattern), "%s", new_pattern);
    if (ht_os_current_directory(directory, sizeof(directory)) < 0)
        memcpy(directory, ".", sizeof("."));
    find_program_name();
}

bool ht_names_have_number(void)
{
    for (const char *p = pattern; *p != 0; p++) {
        if (*p == '%' && *++p == 'n')
            return true;
        if (*p == 0)
            break;
    }
    return false;
}

struct text {
    char *to;
    size_t size, length;
};

static void append(struct text *text, const char *string)
{
    size_t length = strlen(string);
    if (text->length + length < text->size)
        memcpy(text->to + text->length, string, length + 1);
    text->length += length; /* too long is noticed at the end */
}

static void append_number(struct text *text, uint64_t number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    append(text, digits);
}

static void append_host(struct text *text)
{
    struct utsname host;
    append(text, uname(&host) == 0 && host.nodename[0] != 0 ? host.nodename : "localhost");
}

static void append_field(struct text *text, char field, uint64_t number)
{
    char literal[2] = {field, 0};
    switch (field) {
    case 'e':
        append(text, program);
        break;
    case 'p':
        append_number(text, (uint64_t)ht_os_pid());
        break;
    case 'n':
        append_number(text, number);
        break;
    case 't':
        append_number(text, (uint64_t)(ht_os_wall_nanos() / 1000000000));
        break;
    case 'h':
        append_host(text);
        break;
    default: /* '%'; config.c refuses all others */
        append(text, literal);
    }
}

/* "x.pb.gz" becomes "x-2.pb.gz", "x" becomes "x-2". */
static void add_attempt(struct text *text, unsigned attempt)
{
    char addition[16], ending[NAME_SIZE];
    if (text->length >= text->size)
        return;
    char *dot = strchr(base_name(text->to), '.');
    char *gz = strstr(base_name(text->to), ".pb.gz");
    char *at = gz != NULL                                  ? gz
               : dot != NULL && dot != base_name(text->to) ? dot
                                                           : text->to + text->length;
    snprintf(ending, sizeof(ending), "%.*s", NAME_SIZE - 1, at);
    snprintf(addition, sizeof(addition), "-%u", attempt + 1);
    text->length = (size_t)(at - text->to);
    append(text, addition);
    append(text, ending);
}

int ht_names_profile(uint64_t number, unsigned attempt, char *ret_path, size_t size)
{
    struct text text = {.to = ret_path, .size = size};
    ret_path[0] = 0;
    if (pattern[0] != '/') {
        append(&text, directory);
        if (strcmp(directory, "/") != 0)
            append(&text, "/");
    }
    for (const char *p = pattern; *p != 0; p++) {
        char literal[2] = {*p, 0};
        if (*p == '%' && p[1] != 0)
            append_field(&text, *++p, number);
        else
            append(&text, literal);
    }
    if (attempt > 0)
        add_attempt(&text, attempt);
    return text.length < size ? 0 : -ENAMETOOLONG;
}

int ht_names_lifetimes(char *path, size_t size)
{
    static const char ending[] = ".pb.gz", addition[] = ".lifetimes";
    size_t length = strlen(path);
    if (length + sizeof(addition) > size)
        return -ENAMETOOLONG;
    bool has_ending =
        length >= sizeof(ending) - 1 && strcmp(path + length - (sizeof(ending) - 1), ending) == 0;
    size_t at = has_ending ? length - (sizeof(ending) - 1) : length;
    memmove(path + at + sizeof(addition) - 1, path + at, length - at + 1);
    memcpy(path + at, addition, sizeof(addition) - 1);
    return 0;
}

int ht_names_temporary(const char *path, uint64_t number, char *ret_path, size_t size)
{
    int length = (int)(base_name(path) - path);
    int n = snprintf(ret_path, size, "%.*s.heaptap.%d.%llu.part", length, path, (int)ht_os_pid(),
                     (unsigned long long)number);
    return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}
