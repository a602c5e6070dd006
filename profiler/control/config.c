#include "control/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "control/spelling.h"
#include "sys/os.h"

#include "sys/poison.h"

#define KIB   (UINT64_C(1) << 10)
#define MIB   (UINT64_C(1) << 20)
#define GIB   (UINT64_C(1) << 30)
#define TIB   (UINT64_C(1) << 40)
#define MS    UINT64_C(1000000)
#define HOURS (3600 * UINT64_C(1000) * MS)

#define PREFIX          "HEAPTAP_"
#define NAME_MAX_LENGTH HT_SPELLING_MAX
/* How much of a refused value is repeated. */
#define SHOWN_MAX 160

#define FIELD(member) offsetof(struct ht_config, member)

/* The manual's texts follow the help, so neither repeats the other. */
const struct ht_setting ht_settings[HT_SETTING_COUNT] = {
    {
        .name = "HEAPTAP_INTERVAL",
        .option = "--interval",
        .argument = "SIZE",
        .in_run = "auto",
        .kind = HT_SETTING_INTERVAL,
        .offset = FIELD(interval_bytes),
        .least = 0,
        .most = TIB,
        .fallback = "512K",
        .allowed = "auto, or a size such as 512K, 4M or 1 (every allocation), at most 1T, 0 to "
                   "switch off",
        .help = "bytes between two samples on average, or auto",
        .manual =
            "A size is a number of bytes, or a number and one of K, M, G, T. 1 records every "
            "allocation exactly; 0 switches sampling off. With auto every allocation of a program "
            "that allocates little is recorded, and a busy one is sampled, at an interval that "
            "keeps to HEAPTAP_BUDGET. heaptap run sets auto unless --interval is given.",
    },
    {
        .name = "HEAPTAP_BUDGET",
        .option = "--budget",
        .argument = "PERCENT",
        .kind = HT_SETTING_PERCENT,
        .offset = FIELD(budget_ppm),
        .least = 100,
        .most = 500000,
        .fallback = "1",
        .allowed = "a percentage such as 1, 0.5 or 10, from 0.01 to 50",
        .help = "percent of the CPU time that samples may take, with an interval of auto",
        .manual = "Of the whole process's, since its start; the first 12 MiB that it allocates are "
                  "recorded exactly, whatever that takes.",
    },
    {
        .name = "HEAPTAP_OUTPUT",
        .option = "--output",
        .argument = "PATTERN",
        .kind = HT_SETTING_PATTERN,
        .offset = FIELD(output),
        .fallback = "heaptap.%e.%p.%n.pb.gz",
        .allowed = "a path of at most 1023 bytes in which %e is the program, %p its pid, %n the "
                   "profile's number, %t the time, %h the host, and %% a percent sign",
        .help = "name of the profiles",
        .manual =
            "%e is the name of the program, %p its process id, %n the number of the profile in "
            "this process, %t the time in seconds since 1970, %h the host, %% a percent sign. "
            "A relative path starts at the directory in which the program was started.",
    },
    {
        .name = "HEAPTAP_KEEP",
        .option = "--keep",
        .argument = "NUMBER",
        .kind = HT_SETTING_NUMBER,
        .offset = FIELD(keep),
        .least = 0,
        .most = HT_KEEP_MAX,
        .fallback = "0",
        .allowed = "a number up to 1000, 0 for all",
        .help = "newest profiles that each process keeps, 0 for all",
        .manual =
            "When a profile is complete, the oldest one that the same process wrote under such a "
            "name is removed, if it is still the file that was written. Nothing else ever is.",
    },
    {
        .name = "HEAPTAP_EVERY",
        .option = "--every",
        .argument = "TIME",
        .kind = HT_SETTING_DURATION,
        .offset = FIELD(every_nanos),
        .least = 10 * MS,
        .most = 8760 * HOURS,
        .fallback = "0",
        .allowed = "a time such as 10s, 200ms, 5m or 1h, at least 10ms, 0 for never",
        .help = "time between two profiles, 0 for none",
        .manual = "A time is a number and one of ms, s, m, h.",
    },
    {
        .name = "HEAPTAP_SIGNAL",
        .option = "--signal",
        .argument = "NAME",
        .kind = HT_SETTING_SIGNAL,
        .offset = FIELD(signal),
        .fallback = "USR1",
        .allowed =
            "a signal such as USR1, RTMIN+3 or 40, but none that a fault raises and not KILL, "
            "STOP, CHLD, 32 or 33; none for no signal",
        .help = "signal that has a profile written, or none",
        .manual =
            "It is used only while the program leaves it at its default; heaptap snapshot works "
            "all the same. With none, and no clock, there is no thread of the profiler.",
    },
    {
        .name = "HEAPTAP_AT_EXIT",
        .option = "--no-at-exit",
        .in_run = "1",
        .kind = HT_SETTING_BOOLEAN,
        .offset = FIELD(at_exit),
        .fallback = "0",
        .allowed = "1 or 0",
        .help = "write a profile when the program ends",
        .manual = "heaptap run sets 1 unless --no-at-exit is given.",
    },
    {
        .name = "HEAPTAP_LIFETIMES",
        .option = "--lifetimes",
        .kind = HT_SETTING_BOOLEAN,
        .offset = FIELD(lifetimes),
        .fallback = "0",
        .allowed = "1 or 0",
        .help = "write a profile of lifetimes beside each profile",
        .manual = "Its name ends in .lifetimes.pb.gz. heaptap churn reads it; heaptap snapshot "
                  "--lifetimes asks for one.",
    },
    {
        .name = "HEAPTAP_DEPTH",
        .option = "--depth",
        .argument = "NUMBER",
        .kind = HT_SETTING_NUMBER,
        .offset = FIELD(depth),
        .least = 1,
        .most = 1024,
        .fallback = "128",
        .allowed = "a number from 1 to 1024",
        .help = "frames kept of a stack",
        .manual = "A stack that is cut shows it by a last frame [truncated].",
    },
    {
        .name = "HEAPTAP_MEMORY",
        .option = "--memory",
        .argument = "SIZE",
        .kind = HT_SETTING_SIZE,
        .offset = FIELD(memory_bytes),
        .least = 4 * MIB,
        .most = TIB,
        .fallback = "64M",
        .allowed = "a size such as 64M or 1G, from 4M to 1T",
        .help = "memory the profiler may use",
        .manual = "What does not fit is dropped, and every profile says in its comments how much "
                  "that was.",
    },
    {
        .name = "HEAPTAP_FOLLOW",
        .option = "--no-follow",
        .in_run = "1",
        .kind = HT_SETTING_BOOLEAN,
        .offset = FIELD(follow),
        .fallback = "0",
        .allowed = "1 or 0",
        .help = "profile the programs that the program starts",
        .manual = "With 0 the library takes itself out of LD_PRELOAD. "
                  "heaptap run sets 1 unless --no-follow is given.",
    },
    {
        .name = "HEAPTAP_VERBOSE",
        .kind = HT_SETTING_BOOLEAN,
        .offset = FIELD(verbose),
        .fallback = "0",
        .allowed = "1 or 0",
        .help = "say on standard error what the library does",
        .manual =
            "Otherwise it speaks only when a setting is refused or a profile cannot be written.",
    },
    {
        .name = "HEAPTAP_REPORT",
        .kind = HT_SETTING_PATH,
        .offset = FIELD(report),
        .fallback = "",
        .allowed = "the path of a file, at most 1023 bytes",
        .help = "file that gets a line for each profile",
        .manual =
            "The file must exist. A line has seven fields with tabs between them: process id, "
            "path, bytes in use, objects in use, samples, stacks, and what went wrong (empty: "
            "nothing). heaptap run uses it.",
    },
    {
        .name = "HEAPTAP_SEED",
        .kind = HT_SETTING_NUMBER,
        .offset = FIELD(seed),
        .least = 0,
        .most = UINT32_MAX,
        .fallback = "0",
        .allowed = "a number up to 4294967295, 0 for one of the kernel's",
        .help = "seed of the random numbers, for tests",
        .manual = "With the same seed, a program whose threads first allocate in the same order "
                  "has the same allocations sampled in each run.",
    },
    {
        .name = "HEAPTAP_CHECK_UNWIND",
        .kind = HT_SETTING_BOOLEAN,
        .offset = FIELD(check_unwind),
        .fallback = "0",
        .allowed = "1 or 0",
        .help = "compare every stack with libgcc's (for heaptap's developers)",
        .manual = "Slow.",
    },
};

extern char **environ;

/* --- Texts to values. --- */

static bool is_pattern(const char *text)
{
    for (const char *at = strchr(text, '%'); at; at = strchr(at + 2, '%')) {
        if (!at[1] || !strchr("epnth%", at[1]))
            return false;
    }
    return true;
}

static int parse_boolean(const char *text, bool *ret_value)
{
    if (strcmp(text, "1") != 0 && strcmp(text, "0") != 0)
        return -EINVAL;
    *ret_value = *text == '1';
    return 0;
}

static bool is_within(const struct ht_setting *setting, uint64_t value)
{
    if ((setting->kind == HT_SETTING_DURATION && value == 0) ||
        (setting->kind == HT_SETTING_INTERVAL && value == HT_PARSE_AUTO))
        return true;
    return value >= setting->least && value <= setting->most;
}

/* Parses `text` and stores it where the setting says; 0 or -EINVAL. */
static int store(struct ht_config *config, const struct ht_setting *setting, const char *text)
{
    void *field = (char *)config + setting->offset;
    uint64_t value = 0;
    int r = -EINVAL;
    switch (setting->kind) {
    case HT_SETTING_SIZE:
        r = ht_parse_size(text, &value);
        break;
    case HT_SETTING_INTERVAL:
        r = ht_parse_interval(text, &value);
        break;
    case HT_SETTING_PERCENT:
        r = ht_parse_percent(text, &value);
        break;
    case HT_SETTING_DURATION:
        r = ht_parse_duration(text, (int64_t *)&value);
        break;
    case HT_SETTING_NUMBER:
        r = ht_parse_number(text, &value);
        break;
    case HT_SETTING_BOOLEAN:
        return parse_boolean(text, field);
    case HT_SETTING_SIGNAL:
        return ht_parse_signal(text, field);
    case HT_SETTING_PATTERN:
    case HT_SETTING_PATH:
        if (strlen(text) >= HT_CONFIG_TEXT_SIZE ||
            (setting->kind == HT_SETTING_PATTERN && !is_pattern(text)))
            return -EINVAL;
        memcpy(field, text, strlen(text) + 1);
        return 0;
    }
    if (r < 0 || !is_within(setting, value))
        return -EINVAL;
    if (setting->kind == HT_SETTING_NUMBER || setting->kind == HT_SETTING_PERCENT)
        *(unsigned *)field = (unsigned)value;
    else
        memcpy(field, &value, sizeof(value));
    return 0;
}

void ht_config_defaults(struct ht_config *config)
{
    for (size_t i = 0; i < HT_SETTING_COUNT; i++)
        HT_ASSERT(store(config, &ht_settings[i], ht_settings[i].fallback) == 0);
}

/* What is shown of a text from outside: one line, of bounded length. */
static void make_showable(const char *text, char ret_shown[SHOWN_MAX])
{
    size_t length = 0;
    for (; text[length] && length < SHOWN_MAX - 4; length++)
        ret_shown[length] =
            (unsigned char)text[length] < ' ' || text[length] == 127 ? '?' : text[length];
    memcpy(ret_shown + length, text[length] ? "..." : "", text[length] ? 4 : 1);
}

int ht_config_set(struct ht_config *config, const struct ht_setting *setting, const char *text,
                  char *ret_error, size_t error_size)
{
    int r = store(config, setting, *text ? text : setting->fallback);
    if (r < 0) {
        int saved = errno;
        char shown[SHOWN_MAX];
        make_showable(text, shown);
        snprintf(ret_error, error_size, "%s=%s is refused: %s; the default %s stays", setting->name,
                 shown, setting->allowed, *setting->fallback ? setting->fallback : "(none)");
        errno = saved;
    }
    return r;
}

const struct ht_setting *ht_setting_find(const char *name)
{
    for (size_t i = 0; i < HT_SETTING_COUNT; i++) {
        if (strcmp(ht_settings[i].name, name) == 0)
            return &ht_settings[i];
    }
    return NULL;
}

/* --- The environment. --- */

/* Says that there is no such setting, and which one may have been meant. */
static void refuse_name(const char *name, void (*refused)(const char *message))
{
    unsigned nearest = UINT32_MAX;
    for (size_t i = 0; i < HT_SETTING_COUNT; i++)
        nearest = (unsigned)ht_min(nearest, ht_spelling_distance(name, ht_settings[i].name));

    char message[HT_CONFIG_ERROR_SIZE], shown[SHOWN_MAX];
    make_showable(name, shown);
    int n =
        snprintf(message, sizeof(message), "%s is not a setting of heaptap; the nearest is", shown);
    const char *separator = " ";
    for (size_t i = 0; i < HT_SETTING_COUNT; i++) {
        if (ht_spelling_distance(name, ht_settings[i].name) != nearest)
            continue;
        n += snprintf(message + n, sizeof(message) - (size_t)n, "%s%s", separator,
                      ht_settings[i].name);
        separator = " or ";
    }
    refused(message);
}

struct reader {
    struct ht_config *config;
    void (*refused)(const char *message);
    uint32_t seen; /* bit i: ht_settings[i] was there; as with getenv, the first one counts */
};

/* One entry NAME=VALUE of the environment whose name begins with PREFIX. */
static void read_entry(struct reader *reader, const char *entry)
{
    char name[NAME_MAX_LENGTH * 2] = "";
    const char *equals = strchr(entry, '=');
    if (!equals)
        return;
    memcpy(name, entry, ht_min((uint64_t)(equals - entry), sizeof(name) - 1));

    const struct ht_setting *setting = ht_setting_find(name);
    if (!setting) {
        refuse_name(name, reader->refused);
        return;
    }
    uint32_t bit = UINT32_C(1) << (setting - ht_settings);
    char error[HT_CONFIG_ERROR_SIZE];
    if (!(reader->seen & bit) &&
        ht_config_set(reader->config, setting, equals + 1, error, sizeof(error)) < 0)
        reader->refused(error);
    reader->seen |= bit;
}

/* The environment as the kernel gave it to the program, a piece at a time. An entry is put together
 * in a static buffer: it is longer than a stack should hold. What is longer still is cut, and is
 * too long for every setting then. */
static void read_kernel_environment(struct reader *reader)
{
    static char entry[NAME_MAX_LENGTH * 2 + HT_CONFIG_TEXT_SIZE + 1];
    char piece[512];
    size_t length = 0;
    int fd = ht_os_open_read("/proc/self/environ");
    if (fd < 0)
        return;
    ssize_t size;
    while ((size = ht_os_read(fd, piece, sizeof(piece))) > 0) {
        for (ssize_t i = 0; i < size; i++) {
            if (length < sizeof(entry) - 1)
                entry[length++] = piece[i];
            if (piece[i])
                continue;
            entry[length] = 0;
            if (strncmp(entry, PREFIX, strlen(PREFIX)) == 0)
                read_entry(reader, entry);
            length = 0;
        }
    }
    ht_os_close(fd);
}

void ht_config_read(struct ht_config *config, void (*refused)(const char *message))
{
    ht_config_defaults(config);
    if (getauxval(AT_SECURE))
        return;
    int saved = errno;
    struct reader reader = {.config = config, .refused = refused};
    if (environ) {
        for (char **entry = environ; *entry; entry++) {
            if (strncmp(*entry, PREFIX, strlen(PREFIX)) == 0)
                read_entry(&reader, *entry);
        }
    } else {
        read_kernel_environment(&reader);
    }
    errno = saved;
}
