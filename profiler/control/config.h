/* config.h: the settings. One table describes each of them once; the environment parser, `heaptap
 * run` and its help read it, and a test checks the manual and the README against it.
 *
 * The library reads its settings inside the first allocation of a program, perhaps before the C
 * library is set up: nothing here allocates, locks, uses getenv or a locale, or changes errno. */
#ifndef HT_CONTROL_CONFIG_H
#define HT_CONTROL_CONFIG_H

#include "sys/compiler.h"
#include "control/parse.h"

/* The longest path or pattern, with its NUL. */
#define HT_CONFIG_TEXT_SIZE 1024
/* Fits every sentence that this file makes. */
#define HT_CONFIG_ERROR_SIZE 768
/* The most that HEAPTAP_KEEP takes. */
#define HT_KEEP_MAX 1000u

struct ht_config {
    uint64_t interval_bytes; /* mean gap between two samples; 1: every allocation; 0: off; or
                                HT_PARSE_AUTO */
    uint64_t memory_bytes;   /* the most the profiler may map */
    int64_t every_nanos;     /* between two profiles; 0: never */
    int signal;              /* writes a profile; 0: none does */
    unsigned depth;          /* frames kept of a stack */
    unsigned keep;           /* profiles that stay, the newest; 0: all */
    unsigned budget_ppm;     /* share of CPU time, where the interval is HT_PARSE_AUTO */
    unsigned seed;           /* of the random gaps; 0: the kernel's */
    bool at_exit, lifetimes, follow, verbose, check_unwind;
    char output[HT_CONFIG_TEXT_SIZE]; /* a pattern, checked but not expanded */
    char report[HT_CONFIG_TEXT_SIZE]; /* "": none */
};

enum ht_setting_kind {
    HT_SETTING_SIZE,     /* uint64_t */
    HT_SETTING_INTERVAL, /* uint64_t: a size or HT_PARSE_AUTO */
    HT_SETTING_PERCENT,  /* unsigned, parts per million */
    HT_SETTING_DURATION, /* int64_t, nanoseconds */
    HT_SETTING_NUMBER,   /* unsigned */
    HT_SETTING_BOOLEAN,  /* bool */
    HT_SETTING_SIGNAL,   /* int */
    HT_SETTING_PATTERN,  /* char[HT_CONFIG_TEXT_SIZE], the name of a profile */
    HT_SETTING_PATH,     /* char[HT_CONFIG_TEXT_SIZE] */
};

struct ht_setting {
    const char *name; /* of the environment variable */
    /* Of `heaptap run`; NULL when there is none. With an argument it sets the value; without one
     * (then `argument` is NULL) it sets "0" in place of `in_run`, or "1" where that is NULL. */
    const char *option, *argument;
    const char *in_run; /* what `heaptap run` sets when nobody says anything; NULL: nothing */
    enum ht_setting_kind kind;
    size_t offset; /* in struct ht_config */
    uint64_t least,
        most; /* of sizes, percentages, durations and numbers; a duration of 0 is always allowed */
    const char *fallback; /* the default, as text */
    const char *allowed;  /* completes "... is refused: " */
    const char *help;     /* one line; of a boolean, what 1 does, as a command */
    const char *manual;   /* what the help adds in the manual; may be NULL */
};

#define HT_SETTING_COUNT 15
extern const struct ht_setting ht_settings[HT_SETTING_COUNT];

void ht_config_defaults(struct ht_config *config);

/* Sets one value; the empty text stands for the default. 0, or -EINVAL: the value stays as it was,
 * and the sentence in `ret_error` names the setting, the text, and what is allowed. */
int ht_config_set(struct ht_config *config, const struct ht_setting *setting, const char *text,
                  char *ret_error, size_t error_size);

/* Fills `config` from the environment: of `environ`, or of /proc/self/environ while the C library
 * has not set `environ` yet. `refused` gets a sentence for each value or name that is refused; the
 * default is kept then. A program that runs with more rights than its caller (setuid) gets the
 * defaults. Context: start, one thread at a time; needs 1 KiB of stack, 3 KiB when something is
 * refused. */
void ht_config_read(struct ht_config *config, void (*refused)(const char *message));

/* The setting of this environment name, or NULL. */
const struct ht_setting *ht_setting_find(const char *name);

#endif
