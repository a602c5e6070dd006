#include "sample/span.h"

#include <string.h>
#include <sys/auxv.h>

#include "sys/os.h"

#include "sys/poison.h"

/* As far as one walk reaches above what is known; deeper stacks are cut. */
#define STEP_MAX ((uintptr_t)16 << 20)

static uintptr_t main_stack_top;
static uintptr_t main_thread; /* its thread pointer; 0 if not known */

bool ht_span_grow(struct ht_span *span, uintptr_t to)
{
    if (to < span->high)
        return true;
    if (to - span->high > STEP_MAX)
        return false;
    while (span->high <= to) {
        if (!ht_os_readable(span->high))
            return false;
        span->high += HT_PAGE;
    }
    return true;
}

static uintptr_t thread_pointer(void)
{
    uintptr_t thread;
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    return thread;
}

static bool is_on_main_stack(uintptr_t sp)
{
    return sp < main_stack_top && main_stack_top - sp < STEP_MAX;
}

/* Where the stack that holds `sp` must end if it is this thread's own: the main thread's ends above
 * the strings that the kernel put there; glibc lays any other thread's control block, which the
 * thread pointer names, at the top of its stack. The main thread's block is above no stack, but
 * often above coroutines' stacks. */
static uintptr_t own_stack_top(uintptr_t sp)
{
    if (is_on_main_stack(sp))
        return main_stack_top;
    uintptr_t thread = thread_pointer();
    if (thread == main_thread || sp >= thread || thread - sp >= STEP_MAX)
        return 0;
    return ht_round_down(thread, HT_PAGE);
}

struct ht_span ht_span_of(uintptr_t sp)
{
    struct ht_thread *thread = &ht_thread;
    if (HT_LIKELY(ht_span_is_own(sp)))
        return (struct ht_span){.low = sp, .high = thread->stack_high};
    struct ht_span span = {.low = sp, .high = ht_round_down(sp, HT_PAGE) + HT_PAGE};
    /* Deeper than we have been on this stack: only the pages in between are new. */
    if (sp < thread->stack_low && thread->stack_low - sp < STEP_MAX &&
        ht_span_grow(&span, thread->stack_low - 1)) {
        thread->stack_low = ht_round_down(sp, HT_PAGE);
        return (struct ht_span){.low = sp, .high = thread->stack_high};
    }
    uintptr_t top = own_stack_top(sp);
    if (top != 0 && ht_span_grow(&span, top - 1)) {
        thread->stack_low = ht_round_down(sp, HT_PAGE);
        thread->stack_high = span.high;
    }
    return span;
}

void ht_span_start(void)
{
    /* The program's file name is the last string on the main thread's stack, 8 bytes before its
     * end. */
    const char *last = (const char *)getauxval(AT_EXECFN);
    if (last != NULL)
        main_stack_top = ht_round_up((uintptr_t)last + strlen(last) + 1 + 8, HT_PAGE);
    if (is_on_main_stack((uintptr_t)__builtin_frame_address(0)))
        main_thread = thread_pointer();
}
