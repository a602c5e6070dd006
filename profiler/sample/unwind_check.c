#include "sample/unwind_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unwind.h>

#include "sample/frames.h"
#include "sample/unwind.h"
#include "sys/message.h"

#include "sys/poison.h"

#define REPORTS_MAX 10

bool ht_unwind_check_on;

static typeof(_Unwind_Backtrace) *backtrace_of_libgcc;
static typeof(_Unwind_GetIPInfo) *get_ip_info;

static uint64_t compared, memos, mismatches, shorter;

/* libgcc starts in our own frames; they end where its pc is our first. */
struct comparison {
    const uintptr_t *pcs;
    unsigned depth, matched;
    bool inside, differs;
    uintptr_t theirs;
};

static _Unwind_Reason_Code compare_frame(struct _Unwind_Context *context, void *argument)
{
    struct comparison *comparison = argument;
    int before_instruction = 0;
    uintptr_t pc = get_ip_info(context, &before_instruction);
    if (pc == 0) /* what libgcc shows above the outermost frame of some threads */
        return _URC_END_OF_STACK;
    if (!before_instruction)
        pc--;
    if (!comparison->inside && pc == comparison->pcs[0])
        comparison->inside = true;
    if (!comparison->inside || ht_frames_are_ours(pc))
        return _URC_NO_REASON;
    if (comparison->matched == comparison->depth)
        comparison->differs = true; /* we ended before they did */
    else if (comparison->pcs[comparison->matched] == HT_PC_TRUNCATED)
        return _URC_END_OF_STACK; /* cut, and said so */
    else if (comparison->pcs[comparison->matched] != pc)
        comparison->differs = true;
    comparison->theirs = pc;
    if (comparison->differs)
        return _URC_END_OF_STACK;
    comparison->matched++;
    return _URC_NO_REASON;
}

void ht_unwind_check_compare(const uintptr_t *pcs, unsigned depth)
{
    int saved = errno;
    struct comparison comparison = {.pcs = pcs, .depth = depth};
    backtrace_of_libgcc(compare_frame, &comparison);
    errno = saved;
    __atomic_fetch_add(&compared, 1, __ATOMIC_RELAXED);
    if (comparison.differs || !comparison.inside) {
        uint64_t n = __atomic_add_fetch(&mismatches, 1, __ATOMIC_RELAXED);
        if (n <= REPORTS_MAX)
            ht_message_warn("unwind check: frame %u of %u is %#lx, libgcc says %#lx, after %#lx",
                            comparison.matched, depth,
                            comparison.matched < depth ? (long)pcs[comparison.matched] : 0,
                            (long)comparison.theirs,
                            comparison.matched > 0 ? (long)pcs[comparison.matched - 1] : 0);
    } else if (comparison.matched < depth && pcs[comparison.matched] != HT_PC_TRUNCATED) {
        __atomic_fetch_add(&shorter, 1, __ATOMIC_RELAXED);
    }
}

void ht_unwind_check_memo(bool is_same)
{
    __atomic_fetch_add(&memos, 1, __ATOMIC_RELAXED);
    if (!is_same && __atomic_add_fetch(&mismatches, 1, __ATOMIC_RELAXED) <= REPORTS_MAX)
        ht_message_warn("unwind check: the memo of the last walk is wrong");
}

bool ht_unwind_check_start(void)
{
    void *libgcc = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    void *backtrace = libgcc == NULL ? NULL : dlsym(libgcc, "_Unwind_Backtrace");
    void *ip_info = libgcc == NULL ? NULL : dlsym(libgcc, "_Unwind_GetIPInfo");
    if (backtrace == NULL || ip_info == NULL)
        return false;
    memcpy(&backtrace_of_libgcc, &backtrace, sizeof(backtrace));
    memcpy(&get_ip_info, &ip_info, sizeof(ip_info));
    ht_unwind_check_on = true;
    return true;
}

struct ht_unwind_check ht_unwind_check_result(void)
{
    return (struct ht_unwind_check){
        .compared = __atomic_load_n(&compared, __ATOMIC_RELAXED),
        .memos = __atomic_load_n(&memos, __ATOMIC_RELAXED),
        .mismatches = __atomic_load_n(&mismatches, __ATOMIC_RELAXED),
        .shorter = __atomic_load_n(&shorter, __ATOMIC_RELAXED),
    };
}
