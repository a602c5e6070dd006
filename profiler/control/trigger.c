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
#include "control/status.h"
#include "control/tell.h"
#include "sample/record.h"
#include "sys/arch.h"
#include "sys/message.h"
#include "sys/os.h"

#include "sys/poison.h"

/* The collector's own stack; profiles are encoded on another one. */
#define COLLECTOR_STACK      ((size_t)128 * 1024)
#define COLLECTOR_STACK_MOST (COLLECTOR_STACK * 256)
#define REQUESTS             16u

static const struct ht_config *config;
enum { NO_COLLECTOR, BEING_MADE, AT_WORK, GIVEN_UP };

static int served_signal;           /* 0: none is ours */
static uint32_t asked;              /* bumped to wake the collector, which sleeps on it */
static uint32_t profiles_asked;     /* by signal */
static uint32_t profiles_answered;  /* the collector's, and the next one's */
static uint64_t requests[REQUESTS]; /* marks and nonces that came with signals; 0: free */
static uint32_t collecting;
static pthread_t collector; /* while it is AT_WORK */
static uint32_t leaving;    /* 1: it is to end */
static bool stepped_aside;  /* at least once */

/* ---- the signal ---- */

/* Keeps what came with the signal for the collector. False when no profile is wanted: it was the
 * doctor. */
static bool take_request(const siginfo_t *info)
{
    uint64_t value = (uintptr_t)info->si_value.sival_ptr;
    uint64_t magic = value >> 48;
    if (info->si_code != SI_QUEUE || (magic != HT_TELL_MAGIC && magic != HT_STATUS_MAGIC) ||
        (uint32_t)value == 0)
        return true;
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint64_t none = 0;
        if (__atomic_compare_exchange_n(&requests[i], &none, value, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            break;
    }
    return magic == HT_TELL_MAGIC;
}

/* Nothing here touches errno: the system calls are made directly. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    if (take_request(info))
        __atomic_fetch_add(&profiles_asked, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&asked, 1, __ATOMIC_RELEASE);
    ht_os_futex_wake(&asked, 1);
    /* No thread can be made in a handler: the next allocation will. */
    if (__atomic_load_n(&collecting, __ATOMIC_RELAXED) == NO_COLLECTOR)
        ht_record_ask_attention();
}

static bool take_signal(int signal)
{
    struct sigaction now;
    if (signal == 0 || sigaction(signal, NULL, &now) != 0)
        return false;
    if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) {
        ht_message_tell("signal %d is %s by the program: it does not write profiles; name another "
                        "with HEAPTAP_SIGNAL, or use HEAPTAP_EVERY",
                        signal, now.sa_handler == SIG_IGN ? "ignored" : "handled");
        return false;
    }
    struct sigaction ours = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    return sigaction(signal, &ours, NULL) == 0;
}

/* ---- the collector ---- */

/* The nonces of those who asked with this mark. */
static unsigned take_nonces(uint64_t magic, uint32_t *to)
{
    unsigned count = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint64_t request = __atomic_load_n(&requests[i], __ATOMIC_RELAXED);
        if (request >> 48 != magic)
            continue;
        to[count++] = (uint32_t)request;
        __atomic_store_n(&requests[i], 0, __ATOMIC_RELAXED);
    }
    return count;
}

static void write_one(void)
{
    uint32_t nonces[REQUESTS];
    unsigned count = take_nonces(HT_TELL_MAGIC, nonces);
    ht_dump_next(nonces, count);
}

static void answer_doctor(void)
{
    uint32_t nonces[REQUESTS];
    unsigned count = take_nonces(HT_STATUS_MAGIC, nonces);
    if (count != 0)
        ht_status_answer(served_signal, nonces, count);
}

/* Tools recognise the collector by its name, which tells the signal that it serves:
 * "heaptap-sig10". */
static void name_thread(void)
{
    char name[16];
    if (served_signal != 0)
        snprintf(name, sizeof(name), "heaptap-sig%d", served_signal);
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

static void *collect(void *argument)
{
    uint32_t *threads = argument;
    if (threads != NULL)
        __atomic_fetch_sub(threads, 1, __ATOMIC_SEQ_CST);
    ht_record_pause(); /* for ever: what libc allocates for this thread is not the program's */
    name_thread();
    bool is_private = leave_descriptors();
    ht_dump_set_private(is_private);
    ht_message_speak_for_program(is_private);
    int64_t every = config->every_nanos;
    int64_t due = every != 0 ? ht_os_steady_nanos() + every : 0;
    while (__atomic_load_n(&leaving, __ATOMIC_ACQUIRE) == 0) {
        uint32_t seen = __atomic_load_n(&asked, __ATOMIC_ACQUIRE);
        uint32_t profiles = __atomic_load_n(&profiles_asked, __ATOMIC_RELAXED);
        answer_doctor();
        if (profiles != profiles_answered) {
            profiles_answered = profiles;
            write_one();
        } else if (due != 0 && until(due) == 0) {
            /* Late ones are left out, not made up for. */
            int64_t late = ht_os_steady_nanos() - due;
            due += every * (1 + late / every);
            write_one();
        } else {
            ht_os_futex_wait(&asked, seen, until(due));
        }
    }
    if (threads != NULL)
        __atomic_fetch_add(threads, 1, __ATOMIC_SEQ_CST);
    return NULL;
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
    __atomic_fetch_add(&asked, 1, __ATOMIC_RELEASE);
    ht_os_futex_wake(&asked, 1);
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

void ht_trigger_start(const struct ht_config *new_config)
{
    config = new_config;
    served_signal = take_signal(config->signal) ? config->signal : 0;
    if (served_signal != 0 || config->every_nanos != 0)
        make_collector();
}

void ht_trigger_attend(void)
{
    if (config != NULL && (served_signal != 0 || config->every_nanos != 0))
        make_collector();
}

void ht_trigger_fork_child(void)
{
    collecting = NO_COLLECTOR;
    leaving = 0;
    asked = 0;
    profiles_asked = 0;
    profiles_answered = 0;
    memset(requests, 0, sizeof(requests));
    if (config != NULL && (served_signal != 0 || config->every_nanos != 0))
        ht_record_ask_attention();
}
