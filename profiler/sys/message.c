#include "sys/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>

#include "sys/os.h"

#include "sys/poison.h"

#define LINE_MAX_BYTES 1024
#define STDERR         2

static bool verbose;
static bool know_stderr;
static dev_t stderr_device;
static ino_t stderr_inode;

void ht_message_start(bool be_verbose)
{
    verbose = be_verbose;
    struct stat status;
    int saved = errno;
    if (fstat(STDERR, &status) == 0) {
        know_stderr = true;
        stderr_device = status.st_dev;
        stderr_inode = status.st_ino;
    }
    errno = saved;
}

bool ht_message_is_verbose(void)
{
    return verbose;
}

static HT_THREAD_LOCAL bool has_own_descriptors;

void ht_message_speak_for_program(bool own)
{
    has_own_descriptors = own;
}

static bool is_stderr(int fd)
{
    struct stat status;
    return know_stderr && fd >= 0 && fstat(fd, &status) == 0 && status.st_dev == stderr_device &&
           status.st_ino == stderr_inode;
}

static void write_line(const char *line, size_t length)
{
    int fd = has_own_descriptors ? ht_os_borrow_descriptor(STDERR) : STDERR;
    if (is_stderr(fd))
        ht_os_write_all(fd, line, length);
    if (has_own_descriptors && fd >= 0)
        ht_os_close(fd);
}

HT_PRINTF(1, 0) static void say(const char *format, va_list arguments)
{
    int saved = errno;
    char line[LINE_MAX_BYTES] = "heaptap: ";
    size_t length = strlen(line);
    int n = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
    length += n < 0 ? 0 : ht_min((uint64_t)n, sizeof(line) - length - 2);
    line[length++] = '\n';
    write_line(line, length);
    errno = saved;
}

void ht_message_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void ht_message_tell(const char *format, ...)
{
    if (!verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}
