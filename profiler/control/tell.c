#include "control/tell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/request.h"
#include "sample/record.h"
#include "sample/stacks.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

#define LINE_SIZE (2 * HT_PATH_MAX + 256)

static int last_error;

int ht_tell_last_error(void)
{
    return __atomic_load_n(&last_error, __ATOMIC_RELAXED);
}

static char escape_of(char c)
{
    return c == '\t' ? 't' : c == '\n' ? 'n' : c == '\\' ? '\\' : 0;
}

size_t ht_tell_add_escaped(char *line, size_t size, size_t length, const char *text)
{
    for (; *text != 0 && length + 2 <= size; text++) {
        char escape = escape_of(*text);
        if (escape != 0)
            line[length++] = '\\';
        line[length++] = escape != 0 ? escape : *text;
    }
    return length;
}

static size_t make_line(char *line, const struct ht_telling *telling)
{
    size_t length = (size_t)snprintf(line, LINE_SIZE, "%d\t", (int)ht_os_pid());
    length = ht_tell_add_escaped(line, LINE_SIZE - 200, length, telling->path);
    const struct ht_totals *totals = &telling->totals;
    const char *error = telling->error == 0 ? "" : strerrordesc_np(telling->error);
    length +=
        (size_t)snprintf(line + length, LINE_SIZE - length, "\t%lld\t%lld\t%llu\t%llu\t%s\n",
                         (long long)totals->inuse_bytes, (long long)totals->inuse_objects,
                         (unsigned long long)ht_record_counts().samples,
                         (unsigned long long)ht_stacks_total(), error != NULL ? error : "error");
    return length;
}

/* Only into a plain file that belongs to us, or to root who asked us. */
static bool append_line(const char *path, const char *line, size_t length)
{
    int fd = ht_os_open_append(path);
    if (fd < 0)
        return false;
    struct stat status;
    bool told = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                (status.st_uid == geteuid() || status.st_uid == 0) &&
                ht_os_write_all(fd, line, length) == 0;
    ht_os_close(fd);
    return told;
}

bool ht_tell_answer(uint32_t nonce, const char *line, size_t length)
{
    char path[64];
    snprintf(path, sizeof(path), HT_REQUEST_FILE, (unsigned)nonce);
    return append_line(path, line, length);
}

/* A failure is said once, until it changes: HEAPTAP_EVERY on a full disk must not fill the log. */
static void say_failure(const struct ht_telling *telling)
{
    static int said;
    int error = telling->error;
    if (error != 0 && error != said) {
        const char *reason = strerrordesc_np(error);
        ht_message_warn("no profile: %s: %s", telling->path[0] != 0 ? telling->path : "its name",
                        reason != NULL ? reason : "error");
    }
    said = error;
}

void ht_tell(const struct ht_config *config, const struct ht_telling *telling,
             const uint32_t *nonces, unsigned nonce_count)
{
    char line[LINE_SIZE];
    size_t length = make_line(line, telling);
    bool told = config->report[0] != 0 && append_line(config->report, line, length);
    for (unsigned i = 0; i < nonce_count; i++)
        told |= ht_tell_answer(nonces[i], line, length);
    __atomic_store_n(&last_error, telling->error, __ATOMIC_RELAXED);
    if (!told)
        say_failure(telling);
    if (telling->error == 0)
        ht_message_tell("wrote %s: %lld bytes in use", telling->path,
                        (long long)telling->totals.inuse_bytes);
}
