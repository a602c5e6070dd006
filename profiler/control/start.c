/* start.c: how the profiler comes to life.
 *
 * First the settings, at the first allocation of the process, which may come before any constructor
 * and before the C library has set `environ`. Then, in our constructor, all that needs the loader:
 * the allocator underneath, libunwind, fork handlers, the signal, the collector. What is sampled
 * before that has a stack of one frame. */
#include <string.h>
#include <unistd.h>

#include "control/alone.h"
#include "control/config.h"
#include "control/copies.h"
#include "control/dump.h"
#include "control/exit.h"
#include "control/fork.h"
#include "control/sandbox.h"
#include "control/locked.h"
#include "control/status.h"
#include "control/trigger.h"
#include "heaptap.h"
#include "hooks/next.h"
#include "report/xz.h"
#include "sample/budget.h"
#include "sample/hot.h"
#include "sample/record.h"
#include "sample/sampler.h"
#include "sample/unwind.h"
#include "sys/arena.h"
#include "sys/message.h"

#include "sys/poison.h"

/* pkg-config's link line asks for this name, so that a static libheaptap.a brings its constructor
 * along. */
HT_EXPORT extern const char heaptap_anchor[];
const char heaptap_anchor[] = "heaptap " HT_VERSION;

_Static_assert(HT_PARSE_AUTO == HT_INTERVAL_AUTO, "one value for auto");

static struct ht_config config;
static uint32_t settled; /* 1: somebody reads the settings; 2: they are in force */
static uint32_t started;

static void refused(const char *sentence)
{
    ht_message_warn("%s", sentence);
}

static void settle(void)
{
    uint32_t unsettled = 0;
    if (!__atomic_compare_exchange_n(&settled, &unsettled, 1, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    ht_message_start(false);
    ht_config_read(&config, refused);
    ht_message_start(config.verbose);
    ht_arena_set_limit(config.memory_bytes);
    ht_record_set_depth(config.depth);
    ht_sampler_set_seed(config.seed);
    ht_budget_set_share(config.budget_ppm);
    ht_budget_set_interval(config.interval_bytes);
    ht_os_no_huge_pages(ht_page_shadow, sizeof(ht_page_shadow));
    __atomic_store_n(&settled, 2, __ATOMIC_RELEASE);
}

/* Called by the allocation that finds ht_record_attention set. */
void ht_record_attend(void)
{
    __atomic_store_n(&ht_record_attention, 0, __ATOMIC_RELAXED);
    settle();
    if (__atomic_load_n(&started, __ATOMIC_ACQUIRE) != 0)
        ht_trigger_attend();
}

/* ---- LD_PRELOAD ---- */

static bool names_us(const char *entry, size_t length)
{
    static const char name[] = "libheaptap.so";
    const char *base = entry + length;
    while (base > entry && base[-1] != '/')
        base--;
    return length - (size_t)(base - entry) >= sizeof(name) - 1 &&
           memcmp(base, name, sizeof(name) - 1) == 0;
}

/* Takes our entry out of the list, in place. Entries are separated by blanks or colons. */
static void remove_us(char *list)
{
    char *to = list;
    const char *from = list;
    while (*from != 0) {
        size_t length = strcspn(from, " :");
        size_t separator = from[length] != 0;
        if (!names_us(from, length)) {
            memmove(to, from, length + separator);
            to += length + separator;
        }
        from += length + separator;
    }
    *to = 0;
}

/* Programs that this one starts are not profiled, unless HEAPTAP_FOLLOW asks for it. */
static void leave_children_alone(void)
{
    static const char name[] = "LD_PRELOAD=";
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, name, sizeof(name) - 1) != 0)
            continue;
        remove_us(*entry + sizeof(name) - 1);
        if ((*entry)[sizeof(name) - 1] == 0) {
            for (char **rest = entry; (rest[0] = rest[1]) != NULL; rest++)
                ;
        }
        return;
    }
}

/* ---- the constructor ---- */

/* It has no descriptors, signals, threads or files; its functions say -EEXIST. */
static void stand_back(const char *first)
{
    ht_sampler_set_interval(0);
    ht_message_tell("another copy of heaptap, in %s, is in front: this one samples nothing",
                    first[0] != 0 ? first : "the program");
}

/* Why there are no stacks; NULL: there are. */
static const char *start_unwinding(void)
{
    const char *reason = NULL;
    if (!ht_unwind_start(&reason))
        ht_message_warn("stacks have one frame only: %s", reason);
    else if (config.check_unwind && !ht_unwind_check_start())
        ht_message_warn("HEAPTAP_CHECK_UNWIND: libgcc_s.so.1 cannot be loaded");
    ht_xz_start(); /* with what has come along */
    return reason;
}

__attribute__((constructor)) static void start(void)
{
    struct ht_record_pause pause = ht_record_pause();
    ht_next_resolve();
    settle();
    ht_copies_start();
    if (ht_copies_in_front() != NULL) {
        stand_back(ht_copies_in_front());
    } else {
        ht_status_start(&config, start_unwinding());
        ht_dump_start(&config);
        ht_fork_start();
        ht_alone_start();
        ht_sandbox_start();
        ht_exit_start(config.at_exit);
        ht_locked_start();
        if (!config.follow)
            leave_children_alone();
        ht_trigger_start(&config);
        __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
        if (ht_budget_is_auto())
            ht_message_tell("%s, recording every allocation as long as that is cheap",
                            heaptap_anchor);
        else
            ht_message_tell("%s, sampling every %llu bytes", heaptap_anchor,
                            (unsigned long long)config.interval_bytes);
    }
    ht_record_resume(pause);
}
