#include "control/comments.h"

#include <stdarg.h>
#include <stdio.h>

#include "sample/live.h"
#include "sample/record.h"
#include "sample/sampler.h"
#include "sample/stacks.h"
#include "sample/unwind.h"
#include "sample/unwind_check.h"
#include "sample/unwind_rules.h"
#include "sys/arena.h"
#include "sys/os.h"

#include "sys/poison.h"

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

/* The second number of /proc/thread-self/statm, in pages; 0 when it cannot be read. */
static unsigned long long resident_bytes(void)
{
    char text[128];
    int fd = ht_os_open_read("/proc/thread-self/statm");
    if (fd < 0)
        return 0;
    ssize_t length = ht_os_read(fd, text, sizeof(text) - 1);
    ht_os_close(fd);
    unsigned long long pages = 0;
    const char *p = text;
    const char *end = text + (length > 0 ? length : 0);
    while (p < end && *p != ' ')
        p++;
    for (p++; p < end && *p >= '0' && *p <= '9'; p++)
        pages = pages * 10 + (unsigned)(*p - '0');
    return pages * HT_PAGE;
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

void ht_comments_add(struct ht_snapshot *snapshot)
{
    struct ht_record_counts counts = ht_record_counts();
    add(snapshot, "heaptap %s", HT_VERSION);
    add(snapshot, "# interval: %llu bytes", (unsigned long long)ht_sampler_interval());
    if (counts.eased != 0)
        add(snapshot, "interval doubled %u times: memory ran short (HEAPTAP_MEMORY)", counts.eased);
    add(snapshot, "# samples taken: %llu", (unsigned long long)counts.samples);
    add(snapshot, "# live samples: %llu", (unsigned long long)ht_live_count());
    add(snapshot, "# stacks: %llu", (unsigned long long)ht_stacks_total());
    add_drops(snapshot, &counts);
    if (ht_live_missed_frees() != 0)
        add(snapshot, "# frees not seen: %llu", (unsigned long long)ht_live_missed_frees());
    add(snapshot, "# profiler memory: %zu bytes now, %zu at most, of %zu", ht_arena_used(),
        ht_arena_peak(), ht_arena_limit());
    add(snapshot, "# unwind rules: %llu", (unsigned long long)ht_rules_count());
    if (ht_unwind_check_is_on()) {
        struct ht_unwind_check check = ht_unwind_check_result();
        add(snapshot,
            "# unwind check: %llu stacks compared, %llu mismatches, %llu longer than libgcc's, "
            "%llu by memo",
            (unsigned long long)check.compared, (unsigned long long)check.mismatches,
            (unsigned long long)check.shorter, (unsigned long long)check.memos);
    }
    add(snapshot, "# process: %llu bytes resident", resident_bytes());
}
