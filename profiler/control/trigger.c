#include "control/trigger.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "control/dump.h"
#include "control/request.h"
#include "control/retune.h"
#include "control/sandbox.h"
#include "control/signals.h"
#include "control/status.h"
#include "sample/record.h"
#include "sys/arch.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

/* The collector's own stack; profiles are encoded on another one. */
#define COLLECTOR_STACK      ((size_t)128 * 1024)
#define COLLECTOR_STACK_MOST (COLLECTOR_STACK * 256)
#define REQUESTS             16u
#define NANOS                INT64_C(1000000000)
#define LOOK_EVERY_NANOS     (NANOS / 5)

static const struct ht_config *config;
enum { NO_COLLECTOR, BEING_MADE, AT_WORK, GIVEN_UP };

static uint32_t profiles_asked;    /* by our signal's handler */
static uint32_t profiles_answered; /* the collector's, and the next one's */
static uint32_t collecting;
static pthread_t collector; /* while it is AT_WORK */
static pid_t collector_tid; /* while it looks at what is asked of it; 0 */
static uint32_t is_woken;   /* 1: a wake-up is under way */
static uint32_t leaving;    /* 1: it is to end */
static bool has_to_look;    /* cannot be woken: the limit of queued signals is 0 */
static bool stepped_aside;  /* at least once */

/* ---- from handlers and other threads ---- */

/* False when there is nobody to wake, or the kernel has no room for a signal more. */
static bool wake_collector(void)
{
    pid_t tid = __atomic_load_n(&collector_tid, __ATOMIC_SEQ_CST);
    if (tid == 0 || ht_sandbox_is_closed())
        return false;
    if (__atomic_exchange_n(&is_woken, 1, __ATOMIC_SEQ_CST) != 0)
        return true;
    if (ht_arch_syscall(SYS_tgkill, (uintptr_t)ht_os_pid(), (uintptr_t)tid, HT_REQUEST_SIGNAL, 0, 0,
                        0) == 0)
        return true;
    __atomic_store_n(&is_woken, 0, __ATOMIC_SEQ_CST);
    return has_to_look;
}

static bool is_behind(void)
{
    return __atomic_load_n(&profiles_asked, __ATOMIC_SEQ_CST) !=
           __atomic_load_n(&profiles_answered, __ATOMIC_RELAXED);
}

void ht_trigger_ask(void)
{
    __atomic_fetch_add(&profiles_asked, 1, __ATOMIC_SEQ_CST);
    /* No thread can be made in a handler: the next allocation will. */
    if (!wake_collector())
        ht_record_ask_attention();
}

/* ---- the collector ---- */

/* What the tools ask for. */
struct requests {
    unsigned profiles, states;
    bool lifetimes; /* with the profiles */
    uint32_t profile_nonces[REQUESTS], state_nonces[REQUESTS];
    bool sets_interval[REQUESTS]; /* which of state_nonces */
};

static void keep_request(struct requests *requests, const siginfo_t *info)
{
    uint64_t value = (uintptr_t)info->si_value.sival_ptr;
    uint64_t magic = value >> 48;
    if (info->si_code != SI_QUEUE || (uint32_t)value == 0)
        return;
    bool lifetimes = magic == HT_REQUEST_LIFETIMES;
    if ((magic == HT_REQUEST_PROFILE || lifetimes) && requests->profiles < REQUESTS) {
        requests->profile_nonces[requests->profiles++] = (uint32_t)value;
        requests->lifetimes |= lifetimes;
    }
    if ((magic == HT_REQUEST_STATUS || magic == HT_REQUEST_INTERVAL) &&
        requests->states < REQUESTS) {
        requests->sets_interval[requests->states] = magic == HT_REQUEST_INTERVAL;
        requests->state_nonces[requests->states++] = (uint32_t)value;
    }
}

static void answer_states(const struct requests *requests)
{
    for (unsigned i = 0; i < requests->states; i++) {
        if (requests->sets_interval[i])
            ht_retune(requests->state_nonces[i]);
    }
    if (requests->states != 0)
        ht_status_answer(config->signal, requests->state_nonces, requests->states);
}

/* Waits for one of our own signals, at most so long (< 0: for ever). */
static bool wait_for_signal(siginfo_t *ret_info, int64_t nanos)
{
    const uint64_t set = UINT64_C(1) << (HT_REQUEST_SIGNAL - 1);
    struct timespec timeout = {nanos / NANOS, nanos % NANOS};
    intptr_t r = ht_arch_syscall(SYS_rt_sigtimedwait, (uintptr_t)&set, (uintptr_t)ret_info,
                                 nanos < 0 ? 0 : (uintptr_t)&timeout, sizeof(set), 0, 0);
    if (r == HT_REQUEST_SIGNAL)
        return true;
    if (r != -EAGAIN && r != -EINTR)
        ht_arch_syscall(SYS_nanosleep, (uintptr_t) & (struct timespec){0, LOOK_EVERY_NANOS}, 0, 0,
                        0, 0, 0);
    return false;
}

/* Sleeps until something may be asked, and takes all that has come. */
static void take_requests(struct requests *ret_requests, int64_t nanos)
{
    siginfo_t info;
    *ret_requests = (struct requests){0};
    if (has_to_look && (nanos < 0 || nanos > LOOK_EVERY_NANOS))
        nanos = LOOK_EVERY_NANOS;
    while (ret_requests->profiles < REQUESTS && ret_requests->states < REQUESTS &&
           wait_for_signal(&info, nanos)) {
        keep_request(ret_requests, &info);
        nanos = 0;
    }
    /* What is counted before the next wake-up is sent is seen after this. */
    __atomic_store_n(&is_woken, 0, __ATOMIC_SEQ_CST);
}

/* Tools recognise the collector by its name, which tells the signal that it serves:
 * "heaptap-sig10". */
static void name_thread(void)
{
    char name[16];
    int signal = ht_signals_served();
    if (signal != 0)
        snprintf(name, sizeof(name), "heaptap-sig%d", signal);
    else
        snprintf(name, sizeof(name), "heaptap-none");
    ht_arch_syscall(SYS_prctl, PR_SET_NAME, (uintptr_t)name, 0, 0, 0, 0);
}

/* An empty descriptor table of this thread's own. Before Linux 5.9 there is no way to get one
 * without holding the program's files open for a moment: then the collector shares the table. */
static bool leave_descriptors(void)
{
    const unsigned unshare = 1u << 1; /* CLOSE_RANGE_UNSHARE */
    return ht_arch_syscall(SYS_close_range, 0, ~0u, unshare, 0, 0, 0) == 0;
}

/* Time left until `due`; -1 when there is no clock to keep. */
static int64_t until(int64_t due)
{
    if (due == 0)
        return -1;
    int64_t left = due - ht_os_steady_nanos();
    return left > 0 ? left : 0;
}

/* The C library's count of threads. When the last thread of a program ends (main by pthread_exit(),
 * say) it calls exit(0); with the collector in the count the process would stay for ever, with
 * nobody in it. The name is private to the C library, and there for debuggers; NULL where it is
 * not. */
static uint32_t *count_of_threads(void)
{
    return dlvsym(RTLD_DEFAULT, "__nptl_nthreads", "GLIBC_PRIVATE");
}

/* From here on it can be woken, by the tools too, who know it by its name. */
static void start_listening(void)
{
    siginfo_t info;
    uint64_t before;
    pid_t tid = ht_os_tid();
    ht_os_block_signals(&before); /* the C library lets its own in again in each new thread */
    has_to_look = ht_arch_syscall(SYS_tgkill, (uintptr_t)ht_os_pid(), (uintptr_t)tid,
                                  HT_REQUEST_SIGNAL, 0, 0, 0) != 0;
    if (!has_to_look)
        wait_for_signal(&info, 0);
    __atomic_store_n(&is_woken, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&collector_tid, tid, __ATOMIC_SEQ_CST);
    name_thread();
}

static void *collect(void *threads)
{
    ht_record_pause(); /* for ever: what libc allocates for this thread is not the program's */
    bool is_private = leave_descriptors();
    ht_dump_set_private(is_private);
    ht_message_speak_for_program(is_private);
    int64_t every = config->every_nanos;
    int64_t due = every != 0 ? ht_os_steady_nanos() + every : 0;
    start_listening();
    while (__atomic_load_n(&leaving, __ATOMIC_SEQ_CST) == 0) {
        struct requests requests;
        take_requests(&requests, is_behind() ? 0 : until(due));
        answer_states(&requests);
        uint32_t asked = __atomic_load_n(&profiles_asked, __ATOMIC_SEQ_CST);
        if (asked != __atomic_load_n(&profiles_answered, __ATOMIC_RELAXED) ||
            requests.profiles != 0) {
            __atomic_store_n(&profiles_answered, asked, __ATOMIC_RELAXED);
            ht_dump_next(requests.profile_nonces, requests.profiles, requests.lifetimes);
        } else if (due != 0 && until(due) == 0) {
            /* Late ones are left out, not made up for. */
            int64_t late = ht_os_steady_nanos() - due;
            due += every * (1 + late / every);
            ht_dump_next(NULL, 0, false);
        }
    }
    __atomic_store_n(&collector_tid, 0, __ATOMIC_SEQ_CST);
    if (threads != NULL)
        __atomic_fetch_add((uint32_t *)threads, 1, __ATOMIC_SEQ_CST);
    return NULL; /* who joins it is in the count */
}

static void make_collector(void)
{
    uint32_t none = NO_COLLECTOR;
    if (!__atomic_compare_exchange_n(&collecting, &none, BEING_MADE, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    pthread_attr_t attributes;
    uint64_t signals;
    struct ht_record_pause pause = ht_record_pause();
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, COLLECTOR_STACK);
    uint32_t *threads = count_of_threads();
    ht_os_block_signals(&signals);
    int r = pthread_create(&collector, &attributes, collect, threads);
    /* The thread-local variables of the whole program lie on a thread's stack, and may be larger
     * than it. */
    for (size_t size = COLLECTOR_STACK; r == EINVAL && size < COLLECTOR_STACK_MOST;) {
        size *= 4;
        pthread_attr_setstacksize(&attributes, size);
        r = pthread_create(&collector, &attributes, collect, threads);
    }
    /* Not left to the collector: this thread may be the last one, and end before it runs. */
    if (r == 0 && threads != NULL)
        __atomic_fetch_sub(threads, 1, __ATOMIC_SEQ_CST);
    ht_os_restore_signals(&signals);
    pthread_attr_destroy(&attributes);
    ht_record_resume(pause);
    /* After unshare(CLONE_NEWPID) the kernel makes no threads: leave it at that. */
    bool give_up = r != 0 && stepped_aside;
    __atomic_store_n(&collecting,
                     r == 0    ? AT_WORK
                     : give_up ? GIVEN_UP
                               : NO_COLLECTOR,
                     __ATOMIC_RELEASE);
    if (give_up)
        ht_message_tell("no profiles on signals or by the clock any more: %s", strerrordesc_np(r));
    else if (r != 0)
        ht_message_warn("no profiles on signals or by the clock: cannot make a thread: %s",
                        strerrordesc_np(r));
}

bool ht_trigger_step_aside(void)
{
    if (config == NULL || __atomic_load_n(&collecting, __ATOMIC_ACQUIRE) != AT_WORK ||
        __atomic_exchange_n(&leaving, 1, __ATOMIC_ACQ_REL) != 0)
        return false;
    struct ht_record_pause pause = ht_record_pause();
    /* One that has just been made looks at `leaving` before it sleeps. */
    if (__atomic_load_n(&collector_tid, __ATOMIC_SEQ_CST) != 0 && !wake_collector()) {
        __atomic_store_n(&leaving, 0, __ATOMIC_SEQ_CST);
        ht_record_resume(pause);
        return false;
    }
    pthread_join(collector, NULL);
    stepped_aside = true;
    ht_record_resume(pause);
    return true;
}

void ht_trigger_come_back(void)
{
    __atomic_store_n(&leaving, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&collecting, NO_COLLECTOR, __ATOMIC_RELEASE);
    ht_record_ask_attention();
}

static bool is_wanted(void)
{
    return !ht_sandbox_is_closed() && config != NULL &&
           (config->signal != 0 || config->every_nanos != 0);
}

void ht_trigger_start(const struct ht_config *new_config)
{
    config = new_config;
    ht_signals_start(config->signal);
    if (is_wanted())
        make_collector();
}

void ht_trigger_attend(void)
{
    if (!is_wanted())
        return;
    make_collector();
    if (is_behind())
        wake_collector();
}

void ht_trigger_fork_child(void)
{
    collecting = NO_COLLECTOR;
    collector_tid = 0;
    is_woken = 0;
    leaving = 0;
    profiles_asked = 0;
    profiles_answered = 0;
    if (is_wanted())
        ht_record_ask_attention();
}
