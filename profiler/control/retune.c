#include "control/retune.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/copies.h"
#include "control/parse.h"
#include "control/request.h"
#include "control/sandbox.h"
#include "sample/budget.h"
#include "sys/os.h"

#include "sys/poison.h"

static int last_error;

int ht_retune_error(void)
{
    return last_error;
}

/* Only of a plain file that belongs to us, or to root who asked us. */
static int read_line(uint32_t nonce, char *ret_line, size_t size)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof(path), HT_REQUEST_FILE, (unsigned)nonce);
    int fd = ht_os_open_read(path);
    if (fd < 0)
        return fd;
    bool is_ours = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                   (status.st_uid == geteuid() || status.st_uid == 0);
    ssize_t length = is_ours ? ht_os_read_at(fd, ret_line, size - 1, 0) : -EPERM;
    ht_os_close(fd);
    if (length < 0)
        return (int)length;
    ret_line[length] = 0;
    ret_line[strcspn(ret_line, "\n")] = 0;
    return 0;
}

void ht_retune(uint32_t nonce)
{
    char line[64];
    uint64_t interval;
    int r = read_line(nonce, line, sizeof(line));
    if (r == 0)
        r = ht_parse_interval(line, &interval);
    if (r == 0 && ht_copies_in_front() != NULL)
        r = -EEXIST;
    if (r == 0 && ht_sandbox_is_closed())
        r = -EPERM;
    if (r == 0)
        r = ht_budget_set_interval(interval);
    last_error = -r;
}
