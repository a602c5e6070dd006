#include "control/parse.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sys/poison.h"

/* Not the C library's parsers: they obey locales, skip spaces and take signs. */

#define KIB     (UINT64_C(1) << 10)
#define MIB     (UINT64_C(1) << 20)
#define GIB     (UINT64_C(1) << 30)
#define TIB     (UINT64_C(1) << 40)
#define MS      UINT64_C(1000000)
#define SECONDS (1000 * MS)
#define MINUTES (60 * SECONDS)
#define HOURS   (60 * MINUTES)

/* Reads digits; the rest is left at *text. -EINVAL when there is none or the number does not
 * fit. */
static int read_digits(const char **text, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return -EINVAL;
    }
    if (at == *text)
        return -EINVAL;
    *text = at;
    *ret_number = number;
    return 0;
}

int ht_parse_number(const char *text, uint64_t *ret_number)
{
    int r = read_digits(&text, ret_number);
    return r == 0 && *text ? -EINVAL : r;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static int parse_with_unit(const char *text, const struct unit *units, size_t unit_count,
                           uint64_t *ret_value)
{
    uint64_t number;
    int r = read_digits(&text, &number);
    if (r < 0)
        return r;
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(text, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].factor, &number))
            return -EINVAL;
        *ret_value = number;
        return 0;
    }
    return -EINVAL;
}

int ht_parse_size(const char *text, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        {"", 1},    {"K", KIB}, {"k", KIB},   {"KiB", KIB}, {"M", MIB}, {"m", MIB},   {"MiB", MIB},
        {"G", GIB}, {"g", GIB}, {"GiB", GIB}, {"T", TIB},   {"t", TIB}, {"TiB", TIB},
    };
    return parse_with_unit(text, units, HT_ARRAY_SIZE(units), ret_bytes);
}

int ht_parse_interval(const char *text, uint64_t *ret_bytes)
{
    uint64_t bytes = HT_PARSE_AUTO;
    int r = strcmp(text, "auto") != 0 ? ht_parse_size(text, &bytes) : 0;
    if (r == 0 && bytes == HT_PARSE_AUTO && *text != 'a')
        r = -EINVAL;
    if (r == 0)
        *ret_bytes = bytes;
    return r;
}

int ht_parse_percent(const char *text, uint64_t *ret_ppm)
{
    uint64_t whole, part = 0, unit = 10000;
    int r = read_digits(&text, &whole);
    if (r == 0 && *text == '.') {
        const char *digits = ++text;
        r = read_digits(&text, &part);
        for (; digits < text && unit > 1; digits++)
            unit /= 10;
        if (digits < text)
            return -EINVAL;
    }
    if (r < 0 || (*text && strcmp(text, "%") != 0) || whole > 100)
        return -EINVAL;
    *ret_ppm = whole * 10000 + part * unit;
    return 0;
}

int ht_parse_duration(const char *text, int64_t *ret_nanos)
{
    static const struct unit units[] = {{"ms", MS}, {"s", SECONDS}, {"m", MINUTES}, {"h", HOURS}};
    uint64_t nanos = 0;
    if (strcmp(text, "0") != 0) {
        int r = parse_with_unit(text, units, HT_ARRAY_SIZE(units), &nanos);
        if (r < 0)
            return r;
    }
    if (nanos > INT64_MAX)
        return -EINVAL;
    *ret_nanos = (int64_t)nanos;
    return 0;
}

/* Faults raise SEGV and its like, KILL and STOP cannot be caught, CHLD comes with every child, and
 * the C library keeps 32 and 33 to itself. None of them can ask for a profile. */
static const struct signal_name {
    const char *name;
    int signal;
    bool usable;
} signal_names[] = {
    {"HUP", SIGHUP, true},    {"INT", SIGINT, true},       {"QUIT", SIGQUIT, true},
    {"ILL", SIGILL, false},   {"TRAP", SIGTRAP, false},    {"ABRT", SIGABRT, false},
    {"IOT", SIGABRT, false},  {"BUS", SIGBUS, false},      {"FPE", SIGFPE, false},
    {"KILL", SIGKILL, false}, {"USR1", SIGUSR1, true},     {"SEGV", SIGSEGV, false},
    {"USR2", SIGUSR2, true},  {"PIPE", SIGPIPE, true},     {"ALRM", SIGALRM, true},
    {"TERM", SIGTERM, true},  {"STKFLT", SIGSTKFLT, true}, {"CHLD", SIGCHLD, false},
    {"CONT", SIGCONT, true},  {"STOP", SIGSTOP, false},    {"TSTP", SIGTSTP, true},
    {"TTIN", SIGTTIN, true},  {"TTOU", SIGTTOU, true},     {"URG", SIGURG, true},
    {"XCPU", SIGXCPU, true},  {"XFSZ", SIGXFSZ, true},     {"VTALRM", SIGVTALRM, true},
    {"PROF", SIGPROF, true},  {"WINCH", SIGWINCH, true},   {"IO", SIGIO, true},
    {"POLL", SIGIO, true},    {"PWR", SIGPWR, true},       {"SYS", SIGSYS, false},
};

static bool is_usable_signal(uint64_t number)
{
    if (number >= 1 && number < 32) {
        for (size_t i = 0; i < HT_ARRAY_SIZE(signal_names); i++) {
            if ((uint64_t)signal_names[i].signal == number)
                return signal_names[i].usable;
        }
    }
    return number >= (uint64_t)SIGRTMIN && number <= (uint64_t)SIGRTMAX;
}

/* "RTMIN", "RTMIN+n", "RTMAX", "RTMAX-n". */
static int parse_real_time_signal(const char *text, uint64_t *ret_number)
{
    bool from_least = strncmp(text, "RTMIN", 5) == 0;
    if (!from_least && strncmp(text, "RTMAX", 5) != 0)
        return -EINVAL;
    text += 5;
    uint64_t distance = 0;
    if (*text) {
        if (*text++ != (from_least ? '+' : '-'))
            return -EINVAL;
        int r = read_digits(&text, &distance);
        if (r < 0 || *text || distance > (uint64_t)(SIGRTMAX - SIGRTMIN))
            return -EINVAL;
    }
    *ret_number = from_least ? (uint64_t)SIGRTMIN + distance : (uint64_t)SIGRTMAX - distance;
    return 0;
}

int ht_parse_signal(const char *text, int *ret_signal)
{
    uint64_t number = 0;
    if (strcmp(text, "none") != 0 && strcmp(text, "0") != 0) {
        if (strncmp(text, "SIG", 3) == 0)
            text += 3;
        for (size_t i = 0; i < HT_ARRAY_SIZE(signal_names); i++) {
            if (strcmp(text, signal_names[i].name) == 0)
                number = (uint64_t)signal_names[i].signal;
        }
        if (number == 0 && parse_real_time_signal(text, &number) < 0 &&
            (read_digits(&text, &number) < 0 || *text))
            return -EINVAL;
        if (!is_usable_signal(number))
            return -EINVAL;
    }
    *ret_signal = (int)number;
    return 0;
}

void ht_signal_name(int signal, char ret_name[HT_SIGNAL_NAME_SIZE])
{
    const char *known = signal == 0 ? "none" : NULL;
    for (size_t i = 0; i < HT_ARRAY_SIZE(signal_names) && !known; i++) {
        if (signal_names[i].signal == signal)
            known = signal_names[i].name;
    }
    if (known)
        snprintf(ret_name, HT_SIGNAL_NAME_SIZE, "%s", known);
    else if (signal >= SIGRTMIN && signal <= SIGRTMAX)
        snprintf(ret_name, HT_SIGNAL_NAME_SIZE, "RTMIN+%d", signal - SIGRTMIN);
    else
        snprintf(ret_name, HT_SIGNAL_NAME_SIZE, "%d", signal);
}
