#include "control/comments.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/allocator.h"
#include "report/confidence.h"
#include "sample/budget.h"
#include "sample/live.h"
#include "sample/lives.h"
#include "sample/record.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sample/unwind.h"
#include "sample/unwind_check.h"
#include "sample/unwind_rules.h"
#include "sample/variances.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

#define MIB    1048576.0
#define ULL(x) ((unsigned long long)(x))

/* pprof shows comments above every text report, but for those that begin with '#', which only
 * -comments shows: what every user should see is the version, and that something was dropped. */
HT_PRINTF(2, 3) static void add(struct ht_snapshot *snapshot, const char *text, ...)
{
    if (snapshot->comment_count == HT_COMMENTS_MAX)
        return;
    va_list arguments;
    va_start(arguments, text);
    vsnprintf(snapshot->comments[snapshot->comment_count++], HT_COMMENT_SIZE, text, arguments);
    va_end(arguments);
}

/* The line "NAME: 123 kB" of /proc/thread-self/status, in bytes; 0 when it is not there. */
static uint64_t status_bytes(const char *status, const char *name)
{
    const char *p = strstr(status, name);
    uint64_t kib = 0;
    if (p == NULL)
        return 0;
    for (p += strlen(name); *p == ' ' || *p == '\t'; p++)
        ;
    for (; *p >= '0' && *p <= '9'; p++)
        kib = kib * 10 + (unsigned)(*p - '0');
    return kib * 1024;
}

struct resident {
    uint64_t all, anonymous;
};

static struct resident read_resident(void)
{
    char status[4096];
    int fd = ht_os_open_read("/proc/thread-self/status");
    if (fd < 0)
        return (struct resident){0, 0};
    ssize_t length = ht_os_read(fd, status, sizeof(status) - 1);
    ht_os_close(fd);
    status[length > 0 ? length : 0] = 0;
    return (struct resident){status_bytes(status, "\nVmRSS:"), status_bytes(status, "\nRssAnon:")};
}

/* "-12.34": printf() would write it as the program's locale has it. */
struct decimal {
    char text[32];
};

static struct decimal decimal(double value, unsigned digits)
{
    struct decimal decimal;
    unsigned long long power = 1;
    for (unsigned i = 0; i < digits; i++)
        power *= 10;
    double size = value < 0 ? -value : value;
    size = size * (double)power < 1e18 ? size : 0; /* no such number is meant */
    unsigned long long number = (unsigned long long)(size * (double)power + 0.5);
    snprintf(decimal.text, sizeof(decimal.text), "%s%llu.%0*llu", value < 0 ? "-" : "",
             number / power, (int)digits, number % power);
    return decimal;
}

static void add_drops(struct ht_snapshot *snapshot, const struct ht_record_counts *counts)
{
    unsigned long long total = 0;
    for (unsigned i = 0; i < HT_DROPS; i++)
        total += counts->drops[i];
    if (total == 0) {
        add(snapshot, "# dropped: 0");
        return;
    }
    add(snapshot,
        "dropped: %llu (table of live blocks full %llu, stacks full %llu, no buffer %llu, "
        "frees missed %llu)",
        total, (unsigned long long)counts->drops[HT_DROP_LIVE_FULL],
        (unsigned long long)counts->drops[HT_DROP_OVERFLOW],
        (unsigned long long)counts->drops[HT_DROP_SCRATCH],
        (unsigned long long)counts->drops[HT_DROP_FREE]);
}

static void add_interval(struct ht_snapshot *snapshot, unsigned eased)
{
    uint64_t shortest, longest, now = ht_sampler_interval();
    ht_sampler_range(&shortest, &longest);
    if (shortest == longest)
        add(snapshot, "# interval: %llu bytes", ULL(now));
    else
        add(snapshot, "# interval: %llu bytes now, %llu to %llu so far%s", ULL(now), ULL(shortest),
            ULL(longest), ht_budget_is_auto() ? ", as the budget allowed" : "");
    if (eased != 0)
        add(snapshot, "interval doubled %u times: memory ran short (HEAPTAP_MEMORY)", eased);
}

/* ---- what it costs ---- */

static int64_t dump_nanos;

void ht_comments_count_dump(int64_t nanos)
{
    __atomic_fetch_add(&dump_nanos, nanos, __ATOMIC_RELAXED);
}

static void add_costs(struct ht_snapshot *snapshot)
{
    int64_t cpu = ht_os_cpu_nanos(), cost = ht_budget_nanos();
    int64_t dumps = __atomic_load_n(&dump_nanos, __ATOMIC_RELAXED);
    add(snapshot, "# time in samples: %s ms, %s %% of the process's %s s of CPU time",
        decimal((double)cost / 1e6, 3).text,
        decimal(cpu > 0 ? 100.0 * (double)cost / (double)cpu : 0, 2).text,
        decimal((double)cpu / 1e9, 3).text);
    add(snapshot, "# time in earlier profiles: %s ms", decimal((double)dumps / 1e6, 3).text);
    add(snapshot, "# profiler memory: %zu bytes now, %zu at most, of %zu", ht_arena_used(),
        ht_arena_peak(), ht_arena_limit());
}

static void add_lives(struct ht_snapshot *snapshot)
{
    add(snapshot, "# followed: one block for each %llu bytes, or each interval if that is longer",
        ULL(HT_LIVES_INTERVAL));
    if (ht_lives_lost() != 0)
        add(snapshot, "# ends not counted: %llu", ULL(ht_lives_lost()));
}

/* ---- what needs the sums ---- */

static void add_in_use(struct ht_snapshot *snapshot, const struct ht_totals *totals)
{
    double bytes = (double)totals->inuse_bytes;
    struct ht_range range = ht_confidence_range(bytes, totals->inuse_bytes_variance, 0);
    bool is_large = range.high >= MIB;
    double unit = is_large ? MIB : 1024;
    const char *name = is_large ? "MiB" : "KiB";
    if (totals->inuse_bytes_variance > 0)
        add(snapshot, "in use: %s %s, with 95 %% confidence %s to %s %s",
            decimal(bytes / unit, 1).text, name, decimal(range.low / unit, 1).text,
            decimal(range.high / unit, 1).text, name);
    else
        add(snapshot, "in use: %s %s, exactly", decimal(bytes / unit, 1).text, name);
}

static double percent_more(uint64_t bytes, uint64_t than)
{
    return than != 0 ? 100.0 * ((double)bytes / (double)than - 1) : 0;
}

/* Why the process has more memory than the program asked for. */
static void add_memory(struct ht_snapshot *snapshot, const struct ht_totals *totals,
                       bool ask_allocator)
{
    struct resident resident = read_resident();
    uint64_t asked = (uint64_t)totals->inuse_bytes, profiler = ht_arena_used();
    add(snapshot, "# process: %llu bytes resident, %llu of them anonymous", ULL(resident.all),
        ULL(resident.anonymous));
    uint64_t known = asked + profiler;
    uint64_t rest = resident.anonymous > known ? resident.anonymous - known : 0;
    struct ht_allocator allocator;
    if (!ask_allocator || !ht_allocator_ask(rest, &allocator)) {
        add(snapshot,
            "# fragmentation: of the anonymous memory %llu bytes are neither asked for nor the "
            "profiler's",
            ULL(rest));
        return;
    }
    add(snapshot, "# allocator: %s, %llu bytes from the system, %llu in blocks", allocator.name,
        ULL(allocator.system), ULL(allocator.in_use));
    if (allocator.in_use != 0)
        add(snapshot,
            "# fragmentation: %llu bytes asked for; blocks take %s %% more, the system gave %s %% "
            "more",
            ULL(asked), decimal(percent_more(allocator.in_use, asked), 1).text,
            decimal(percent_more(allocator.system, asked), 1).text);
}

static void conclude(struct ht_snapshot *snapshot, const struct ht_totals *totals)
{
    if (snapshot->has_lives)
        return;
    add_in_use(snapshot, totals);
    add_memory(snapshot, totals, snapshot->asks_allocator);
}

void ht_comments_add(struct ht_snapshot *snapshot, bool ask_allocator)
{
    struct ht_record_counts counts = ht_record_counts();
    snapshot->conclude = conclude;
    snapshot->asks_allocator = ask_allocator;
    add(snapshot, "heaptap %s%s", HT_VERSION, snapshot->has_lives ? ", lifetimes" : "");
    if (snapshot->has_lives)
        add_lives(snapshot);
    add_interval(snapshot, ht_budget_eased());
    add(snapshot, "# samples taken: %llu", ULL(counts.samples));
    add(snapshot, "# live samples: %llu", ULL(ht_live_count()));
    add(snapshot, "# stacks: %llu", ULL(ht_stacks_total()));
    add_drops(snapshot, &counts);
    if (ht_live_missed_frees() != 0)
        add(snapshot, "# frees not seen: %llu", ULL(ht_live_missed_frees()));
    if (ht_variances_lost() != 0)
        add(snapshot, "errors are understated: %llu samples found no memory for theirs",
            ULL(ht_variances_lost()));
    add_costs(snapshot);
    add(snapshot, "# unwind rules: %llu", ULL(ht_rules_count()));
    if (ht_unwind_check_is_on()) {
        struct ht_unwind_check check = ht_unwind_check_result();
        add(snapshot,
            "# unwind check: %llu stacks compared, %llu mismatches, %llu longer than libgcc's, "
            "%llu by memo",
            ULL(check.compared), ULL(check.mismatches), ULL(check.shorter), ULL(check.memos));
    }
}
