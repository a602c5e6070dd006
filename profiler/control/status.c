#include "control/status.h"

#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/allocator.h"
#include "control/dump.h"
#include "control/retune.h"
#include "control/sandbox.h"
#include "control/signals.h"
#include "control/tell.h"
#include "heaptap.h"
#include "hooks/next.h"
#include "sample/budget.h"
#include "sample/live.h"
#include "sample/record.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sys/arena.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

#define OBJECT_SIZE 1024
#define LINE_SIZE   (2 * HT_PATH_MAX + 4 * OBJECT_SIZE + 1024)

extern const char heaptap_anchor[];

static const struct ht_config *config;
static const char *stacks_problem;
/* Files, as the loader has them: copied, because the program's own name lies where setproctitle()
 * writes. */
static char allocator[OBJECT_SIZE]; /* whose malloc we call */
static char in_front[OBJECT_SIZE];  /* whose malloc the program calls, if not ours */

/* NULL too for the entry by which a program that is not position-independent names a function of
 * another object. */
static void *object_of(const void *address, char ret_name[OBJECT_SIZE])
{
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    if (address == NULL || dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 ||
        (symbol != NULL && symbol->st_shndx == SHN_UNDEF))
        return NULL;
    snprintf(ret_name, OBJECT_SIZE, "%s", info.dli_fname);
    return info.dli_fbase;
}

void ht_status_start(const struct ht_config *new_config, const char *problem)
{
    char ours[OBJECT_SIZE];
    config = new_config;
    stacks_problem = problem;
    object_of(ht_next_address(), allocator);
    ht_allocator_start(allocator);
    const void *first = object_of(dlsym(RTLD_DEFAULT, "malloc"), in_front);
    if (first == NULL || first == object_of(heaptap_anchor, ours)) {
        in_front[0] = 0;
        return;
    }
    ht_message_tell("the program's malloc is that of %s, in front of heaptap: nothing is sampled",
                    in_front);
}

/* ---- the line ---- */

struct line {
    size_t length;
    char text[LINE_SIZE];
};

HT_PRINTF(2, 3) static void add(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = LINE_SIZE - line->length;
    int n = vsnprintf(line->text + line->length, room, format, arguments);
    va_end(arguments);
    line->length += n < 0 ? 0 : ht_min((uint64_t)n, room - 1);
}

static void add_number(struct line *line, const char *key, uint64_t value)
{
    add(line, "%s=%llu\t", key, (unsigned long long)value);
}

static void add_text(struct line *line, const char *key, const char *value)
{
    add(line, "%s=", key);
    line->length = ht_tell_add_escaped(line->text, LINE_SIZE - 1, line->length, value);
    add(line, "\t");
}

static void add_counts(struct line *line)
{
    struct ht_record_counts counts = ht_record_counts();
    add_number(line, "interval", ht_sampler_interval());
    add_number(line, "auto", ht_budget_is_auto());
    add_number(line, "interval_error", (uint64_t)ht_retune_error());
    add_number(line, "eased", ht_budget_eased());
    add_number(line, "samples", counts.samples);
    add_number(line, "live", ht_live_count());
    add_number(line, "stacks", ht_stacks_total());
    add_number(line, "dropped_live", counts.drops[HT_DROP_LIVE_FULL]);
    add_number(line, "dropped_stacks", counts.drops[HT_DROP_OVERFLOW]);
    add_number(line, "dropped_scratch", counts.drops[HT_DROP_SCRATCH]);
    add_number(line, "dropped_frees", counts.drops[HT_DROP_FREE]);
    add_number(line, "memory", ht_arena_used());
    add_number(line, "memory_limit", ht_arena_limit());
}

static void add_profiles(struct line *line)
{
    char path[HT_PATH_MAX];
    int error = ht_tell_last_error();
    const char *reason = error != 0 ? strerrordesc_np(error) : "";
    add_number(line, "profiles", ht_dump_count());
    add_text(line, "error", reason != NULL ? reason : "error");
    if (ht_dump_next_name(path, sizeof(path)) == 0)
        add_text(line, "output", path);
}

void ht_status_answer(int signal, const uint32_t *nonces, unsigned nonce_count)
{
    struct line line = {0};
    add_text(&line, "version", HT_VERSION);
    add_counts(&line);
    add_profiles(&line);
    add_text(&line, "allocator", allocator);
    add_text(&line, "in_front", in_front);
    add_text(&line, "stacks_problem", stacks_problem != NULL ? stacks_problem : "");
    add_number(&line, "every_ms", (uint64_t)config->every_nanos / 1000000);
    add_number(&line, "at_exit", config->at_exit);
    add_number(&line, "signal", (uint64_t)signal);
    add_text(&line, "sandbox", ht_sandbox_reason() != NULL ? ht_sandbox_reason() : "");
    add_text(&line, "signal_owner", ht_signals_owner(signal));
    line.text[line.length - 1] = '\n';
    for (unsigned i = 0; i < nonce_count; i++)
        ht_tell_answer(nonces[i], line.text, line.length);
}
