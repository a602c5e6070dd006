/* stress.c: `stress SEED SECONDS [PLUGIN_A.so PLUGIN_B.so]` does at random, in six threads, all
 * that has ever broken a heap profiler, and everything at the same time: blocks that pass between
 * threads, failing requests, forks whose children snapshot themselves and fork again, execs,
 * spawns, libraries that come and go at one address, handlers that allocate, coroutines, threads
 * that are cancelled, longjmp, limits, snapshots.
 *
 * Every block has a pattern in it, which is checked before the block is resized or freed. At the
 * end all are freed: `balance ok`, and the truth about each site, with nothing in use. The seed
 * makes each thread's choices the same again, not the order in which the threads make them.
 * RLIMIT_AS is lowered now and then if the seed is odd. */
#include "truth.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

extern char **environ;

#define WORKERS     6u
#define SLOTS       1024u
#define SIGNAL_SLOT 16u
#define TOO_MUCH    ((size_t)1 << 62)
#define STACK_SIZE  ((size_t)64 * 1024)

static uint32_t stop, in_child;
static bool lowers_memory, has_snapshots;
static const char *plugins[2];
static const char *spawned = "/bin/true";

/* ---- the truth: [site], counted by any thread ---- */

enum { MALLOC, CALLOC, REALLOC, ALIGNED, COROUTINE, DEEP, PLUGIN_A, PLUGIN_B, SITES };
static const char *const site_names[SITES] = {
    "site_malloc",    "site_calloc", "site_realloc",  "site_aligned",
    "site_coroutine", "site_deep",   "plugin_a_site", "plugin_b_site",
};
static uint64_t made[SITES], made_bytes[SITES];

static void *count(unsigned site, void *block, size_t size)
{
    if (block != NULL) {
        __atomic_fetch_add(&made[site], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&made_bytes[site], size, __ATOMIC_RELAXED);
    }
    return block;
}

NOINLINE static void *site_malloc(size_t size)
{
    return count(MALLOC, malloc(size), size);
}

NOINLINE static void *site_calloc(size_t size)
{
    char *block = count(CALLOC, calloc(1, size), size);
    for (size_t i = 0; block != NULL && i < size; i++)
        if (block[i] != 0)
            die("calloc gave a block that is not zero");
    return block;
}

NOINLINE static void *site_realloc(void *block, size_t size)
{
    return count(REALLOC, realloc(block, size), size);
}

NOINLINE static void *site_aligned(size_t size, size_t alignment)
{
    void *block = NULL;
    int r = posix_memalign(&block, alignment, size);
    if (r == 0 && (uintptr_t)block % alignment != 0)
        die("posix_memalign gave %p for %zu", block, alignment);
    return count(ALIGNED, r == 0 ? block : NULL, size);
}

NOINLINE static void *site_coroutine(size_t size)
{
    return count(COROUTINE, malloc(size), size);
}

NOINLINE static void *site_deep(size_t size)
{
    return count(DEEP, malloc(size), size);
}

/* In handlers alone, whose stacks lead through whatever they interrupted: through the other sites,
 * too. What interrupts the profiler at work is not recorded; what interrupts the program always is.
 * So of the truth two bounds are known, and that nothing stays. */
NOINLINE static void *site_in_handler(size_t size)
{
    void *block = malloc(size);
    STAY();
    return block;
}

/* ---- blocks with a pattern, in slots that all threads share ---- */

struct slot {
    uint32_t taken;
    uint32_t size;
    uint8_t *block;
};
static struct slot slots[SLOTS];

static uint8_t mark_of(const void *block, size_t i)
{
    return (uint8_t)(((uintptr_t)block >> 4) * 31 + i * 7);
}

/* The first and the last bytes: a large block need not be touched as a whole. */
static void mark(uint8_t *block, size_t size)
{
    for (size_t i = 0; i < size && i < 64; i++)
        block[i] = mark_of(block, i);
    for (size_t i = size < 64 ? 0 : size - 64; i < size; i++)
        block[i] = mark_of(block, i);
}

static void check_as(const uint8_t *block, const void *marked_at, size_t size, size_t marked_size)
{
    size_t tail = marked_size < 64 ? 0 : marked_size - 64;
    for (size_t i = 0; i < size; i++)
        if ((i < 64 || i >= tail) && block[i] != mark_of(marked_at, i))
            die("byte %zu of %zu at %p is %u, not %u", i, size, (const void *)block, block[i],
                mark_of(marked_at, i));
        else if (i == 64 && tail > 64)
            i = tail - 1;
}

static void release(uint8_t *block, size_t size)
{
    check_as(block, block, size, size);
    errno = 4711;
    free(block);
    if (errno != 4711)
        die("free set errno to %d", errno);
}

static bool take(struct slot *slot)
{
    return __atomic_exchange_n(&slot->taken, 1, __ATOMIC_ACQUIRE) == 0;
}

static void give(struct slot *slot)
{
    __atomic_store_n(&slot->taken, 0, __ATOMIC_RELEASE);
}

/* ---- a thread ---- */

struct worker {
    uint64_t random;
    unsigned depth; /* of forks */
    uint64_t done[24];
    jmp_buf out;
    ucontext_t here, coroutine;
    uint8_t *alternate_stack;
};

/* 1 while this thread is in none of libc's functions, which a handler must not enter again. */
static __thread volatile sig_atomic_t is_own_code __attribute__((tls_model("initial-exec")));

static uint32_t below(struct worker *w, uint32_t limit)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(((w->random >> 32) * limit) >> 32);
}

static size_t some_size(struct worker *w)
{
    uint32_t kind = below(w, 1000);
    return 1 + below(w, kind < 900 ? 300 : kind < 995 ? 9000 : 400000);
}

/* Puts a block into a slot; what was there is freed, whoever made it. */
static void put(struct worker *w, uint8_t *block, size_t size)
{
    if (block == NULL)
        return;
    mark(block, size);
    is_own_code = 1;
    struct slot *slot = &slots[below(w, SLOTS)];
    while (!take(slot))
        slot = &slots[below(w, SLOTS)];
    uint8_t *old = slot->block;
    size_t old_size = slot->size;
    slot->block = block;
    slot->size = (uint32_t)size;
    is_own_code = 0;
    give(slot);
    if (old != NULL)
        release(old, old_size);
}

/* ---- what the threads do ---- */

static void do_malloc(struct worker *w)
{
    size_t size = some_size(w);
    put(w, site_malloc(size), size);
}

static void do_calloc(struct worker *w)
{
    size_t size = some_size(w);
    put(w, site_calloc(size), size);
}

static void do_aligned(struct worker *w)
{
    size_t size = some_size(w);
    put(w, site_aligned(size, (size_t)16 << below(w, 9)), size);
}

static void do_free(struct worker *w)
{
    struct slot *slot = &slots[below(w, SLOTS)];
    if (!take(slot))
        return;
    uint8_t *block = slot->block;
    slot->block = NULL;
    size_t size = slot->size;
    give(slot);
    if (block != NULL)
        release(block, size);
}

static void do_realloc(struct worker *w)
{
    struct slot *slot = &slots[below(w, SLOTS)];
    if (!take(slot))
        return;
    size_t size = some_size(w), old_size = slot->size;
    uint8_t *old = slot->block;
    const void *marked_at = old;
    if (old != NULL && below(w, 8) == 0 && again(realloc(old, TOO_MUCH)) != NULL)
        die("realloc gave %zu bytes", TOO_MUCH);
    if (old == NULL)
        old_size = 0;
    uint8_t *block = site_realloc(old, size);
    if (block != NULL) {
        if (old_size != 0)
            check_as(block, marked_at, size < old_size ? size : old_size, old_size);
        mark(block, size);
        slot->block = block;
        slot->size = (uint32_t)size;
    }
    give(slot);
}

static void do_fail(struct worker *w)
{
    void *untouched = w;
    errno = 0;
    if (again(malloc(TOO_MUCH)) != NULL || errno != ENOMEM)
        die("malloc of too much: errno %d", errno);
    if (again(calloc(TOO_MUCH, 1)) != NULL || again(reallocarray(NULL, TOO_MUCH, 1)) != NULL ||
        again(aligned_alloc(4096, TOO_MUCH)) != NULL)
        die("a request for too much succeeded");
    if (posix_memalign(&untouched, 64, TOO_MUCH) != ENOMEM || untouched != w)
        die("posix_memalign of too much");
}

static void do_own_code(struct worker *w)
{
    is_own_code = 1;
    for (volatile uint32_t i = below(w, 3000); i > 0; i--)
        ;
    is_own_code = 0;
}

NOINLINE static void go_down(struct worker *w, unsigned depth)
{
    if (depth > 0) {
        go_down(w, depth - 1);
        STAY();
        return;
    }
    put(w, site_deep(100), 100);
    if (below(w, 2) != 0)
        longjmp(w->out, 1);
}

static void do_longjmp(struct worker *w)
{
    if (setjmp(w->out) == 0)
        go_down(w, below(w, 200));
}

static void coroutine_main(unsigned low, unsigned high)
{
    struct worker *w = (struct worker *)((uintptr_t)high << 32 | low);
    for (;;) {
        size_t size = some_size(w);
        put(w, site_coroutine(size), size);
        swapcontext(&w->coroutine, &w->here);
    }
}

static void do_coroutine(struct worker *w)
{
    size_t size = (size_t)16 * 1024 << below(w, 3);
    void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return;
    getcontext(&w->coroutine);
    w->coroutine.uc_stack.ss_sp = stack;
    w->coroutine.uc_stack.ss_size = size;
    w->coroutine.uc_link = NULL;
    makecontext(&w->coroutine, (void (*)(void))coroutine_main, 2, (unsigned)(uintptr_t)w,
                (unsigned)((uintptr_t)w >> 32));
    for (unsigned i = below(w, 5) + 1; i > 0; i--)
        swapcontext(&w->here, &w->coroutine);
    munmap(stack, size);
}

static void do_plugin(struct worker *w)
{
    unsigned which = below(w, 2);
    void *library = plugins[which] ? dlopen(plugins[which], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL)
        return;
    void *(*run)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_run");
    for (unsigned i = below(w, 5) + 1; i > 0; i--) {
        size_t size = some_size(w);
        put(w, count(PLUGIN_A + which, run(size), size), size);
    }
    dlclose(library);
}

static void do_snapshot(struct worker *w)
{
    (void)w;
    if (has_snapshots)
        kill(getpid(), SIGUSR1);
}

/* ---- handlers ---- */

static uint8_t *signal_blocks[SIGNAL_SLOT];
static uint64_t handled, handled_inside;
static uint64_t made_outside, made_inside; /* in site_in_handler */
static struct {
    uintptr_t start, end;
} tolerant
    [4]; /* the code of heaptap and libunwind: a handler may allocate when it interrupted that */

static int find_tolerant(struct dl_phdr_info *info, size_t size, void *data)
{
    unsigned *used = data;
    (void)size;
    if (!strstr(info->dlpi_name, "/libheaptap") && !strstr(info->dlpi_name, "/libunwind"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && *used < 4; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) != 0) {
            tolerant[*used].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            tolerant[*used].end = tolerant[*used].start + info->dlpi_phdr[i].p_memsz;
            ++*used;
        }
    return 0;
}

/* No handler interrupts another one here: threads that take SIGPROF block SIGUSR1. */
static void on_clock(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    int saved = errno;
    uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    bool is_inside = false;
    for (unsigned i = 0; i < 4; i++)
        is_inside |= pc >= tolerant[i].start && pc < tolerant[i].end;
    if (is_inside || is_own_code) {
        uint64_t turn = __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&handled_inside, is_inside, __ATOMIC_RELAXED);
        uint8_t *block = turn % 3 != 0 ? site_in_handler(200) : NULL;
        if (block != NULL) {
            __atomic_fetch_add(is_inside ? &made_inside : &made_outside, 1, __ATOMIC_RELAXED);
            mark(block, 200);
        }
        block = __atomic_exchange_n(&signal_blocks[turn % SIGNAL_SLOT], block, __ATOMIC_ACQ_REL);
        if (block != NULL)
            release(block, 200);
    }
    errno = saved;
}

static void choose_signals(bool takes_clock, bool takes_snapshots)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPROF);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sigemptyset(&set);
    if (!takes_clock)
        sigaddset(&set, SIGPROF);
    if (!takes_snapshots)
        sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void begin_alternate_stack(struct worker *w)
{
    w->alternate_stack =
        mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = w->alternate_stack, .ss_size = 32768};
    if (w->alternate_stack != MAP_FAILED)
        sigaltstack(&stack, NULL);
}

static void end_alternate_stack(struct worker *w)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    if (w->alternate_stack != MAP_FAILED && sigaltstack(&none, NULL) == 0)
        munmap(w->alternate_stack, 32768);
}

/* ---- threads ---- */

static void *short_thread(void *argument)
{
    struct worker w = {.random = (uintptr_t)argument};
    bool takes_clock = below(&w, 2) != 0;
    begin_alternate_stack(&w);
    choose_signals(takes_clock, !takes_clock);
    for (unsigned i = below(&w, 50); i > 0; i--) {
        do_malloc(&w);
        do_free(&w);
    }
    choose_signals(false, false);
    end_alternate_stack(&w);
    return NULL;
}

static void do_thread(struct worker *w)
{
    pthread_t thread;
    pthread_attr_t attributes;
    void *argument = (void *)(uintptr_t)below(w, UINT32_MAX);
    size_t size = STACK_SIZE + below(w, 4) * STACK_SIZE;
    void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return;
    pthread_attr_init(&attributes);
    if (below(w, 2) != 0)
        pthread_attr_setstack(&attributes, stack, size);
    if (pthread_create(&thread, &attributes, short_thread, argument) == 0)
        pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    munmap(stack, size);
}

static void free_block(void *block)
{
    free(block);
}

static void *cancelled_thread(void *argument)
{
    choose_signals(false, false);
    for (size_t i = 0;; i++) {
        void *volatile block = site_malloc(100 + i % 100);
        pthread_cleanup_push(free_block, block);
        if (i % 4 == 0)
            pthread_testcancel();
        pthread_cleanup_pop(1);
    }
    return argument;
}

static void do_cancel(struct worker *w)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, cancelled_thread, NULL) != 0)
        return;
    usleep(below(w, 1000));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

/* ---- processes and limits ---- */

static pthread_mutex_t limits_lock = PTHREAD_MUTEX_INITIALIZER;

static void raise_limits(void)
{
    static const int kinds[] = {RLIMIT_AS, RLIMIT_NOFILE, RLIMIT_FSIZE};
    for (unsigned i = 0; i < 3; i++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)kinds[i], &limit) == 0) {
            limit.rlim_cur = limit.rlim_max;
            setrlimit((__rlimit_resource_t)kinds[i], &limit);
        }
    }
}

static void do_limits(struct worker *w)
{
    if (pthread_mutex_trylock(&limits_lock) != 0)
        return;
    uint32_t kind = below(w, lowers_memory ? 3 : 2);
    __rlimit_resource_t which = kind == 0 ? RLIMIT_NOFILE : kind == 1 ? RLIMIT_FSIZE : RLIMIT_AS;
    struct rlimit limit;
    if (getrlimit(which, &limit) == 0) {
        struct rlimit low = {.rlim_cur = kind == 2 ? 1 << 20 : below(w, 4),
                             .rlim_max = limit.rlim_max};
        setrlimit(which, &low);
        usleep(below(w, 2000));
        setrlimit(which, &limit);
    }
    pthread_mutex_unlock(&limits_lock);
}

static void check_end(pid_t pid, const char *what)
{
    int status;
    while (waitpid(pid, &status, 0) != pid)
        if (errno != EINTR)
            die("waitpid: %s", strerror(errno));
    if (status != 0)
        die("%s %d ended with %#x", what, (int)pid, (unsigned)status);
}

static void do_spawn(struct worker *w)
{
    pid_t pid;
    (void)w;
    if (pthread_mutex_trylock(&limits_lock) != 0)
        return;
    if (posix_spawn(&pid, spawned, NULL, NULL, (char *[]){"true", NULL}, environ) == 0)
        check_end(pid, "a spawned process");
    pthread_mutex_unlock(&limits_lock);
}

static void do_something(struct worker *w);
static void do_fork(struct worker *w);

/* The loader's locks and the mutexes may be held for ever by threads that are not here. */
static void child(struct worker *w)
{
    in_child = 1;
    w->depth++;
    w->random ^= (uint64_t)w->depth << 40;
    raise_limits();
    choose_signals(false, true);
    for (unsigned i = below(w, 300); i > 0; i--)
        do_something(w);
    if (below(w, 2) != 0) {
        do_snapshot(w);
        do_malloc(w);
        usleep(below(w, 3000));
    }
    if (w->depth < 3 && below(w, 3) == 0)
        do_fork(w);
    if (below(w, 3) == 0) {
        execl(spawned, "true", (char *)NULL);
        die("execl: %s", strerror(errno));
    }
    _exit(0);
}

static void do_fork(struct worker *w)
{
    pid_t pid = fork();
    if (pid == 0)
        child(w);
    if (pid > 0)
        check_end(pid, "a child");
}

/* ---- the mixture ---- */

static const struct {
    const char *name;
    void (*run)(struct worker *w);
    uint32_t weight;
    bool also_in_child;
} deeds[] = {
    {"malloc", do_malloc, 30000, true},     {"free", do_free, 20000, true},
    {"realloc", do_realloc, 20000, true},   {"calloc", do_calloc, 8000, true},
    {"aligned", do_aligned, 8000, true},    {"own_code", do_own_code, 2000, true},
    {"longjmp", do_longjmp, 500, true},     {"fail", do_fail, 300, true},
    {"coroutine", do_coroutine, 300, true}, {"thread", do_thread, 30, true},
    {"plugin", do_plugin, 100, false},      {"cancel", do_cancel, 10, false},
    {"limits", do_limits, 10, false},       {"snapshot", do_snapshot, 8, true},
    {"fork", do_fork, 20, false},           {"spawn", do_spawn, 3, false},
};
#define DEEDS (sizeof(deeds) / sizeof(deeds[0]))

static void do_something(struct worker *w)
{
    uint32_t all = 0, i = 0;
    for (; i < DEEDS; i++)
        all += deeds[i].weight;
    uint32_t choice = below(w, all);
    for (i = 0; choice >= deeds[i].weight; i++)
        choice -= deeds[i].weight;
    if (in_child && !deeds[i].also_in_child)
        return;
    deeds[i].run(w);
    w->done[i]++;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    bool takes_clock = w->random % 2 != 0;
    begin_alternate_stack(w);
    choose_signals(takes_clock, !takes_clock);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        do_something(w);
    choose_signals(false, false);
    end_alternate_stack(w);
    return NULL;
}

static void start_clock(void)
{
    struct sigaction action = {.sa_sigaction = on_clock,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    unsigned used = 0;
    dl_iterate_phdr(find_tolerant, &used);
    struct itimerval every = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};
    if (sigaction(SIGPROF, &action, NULL) != 0 || setitimer(ITIMER_PROF, &every, NULL) != 0)
        die("no clock");
}

static void free_all(void)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].taken)
            die("slot %u was not given back", i);
        if (slots[i].block != NULL)
            release(slots[i].block, slots[i].size);
    }
    for (unsigned i = 0; i < SIGNAL_SLOT; i++)
        if (signal_blocks[i] != NULL)
            release(signal_blocks[i], 200);
    say("balance ok\n");
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 5)
        die("usage: stress SEED SECONDS [PLUGIN_A.so PLUGIN_B.so]");
    uint64_t seed = strtoull(argv[1], NULL, 10);
    say("seed %llu\n", (unsigned long long)seed);
    for (int i = 3; i < argc; i++)
        plugins[i - 3] = argv[i];
    lowers_memory = seed % 2 != 0;
    struct sigaction now;
    has_snapshots = sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler != SIG_DFL;

    static struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    do_cancel(&workers[0]); /* the first one loads libgcc, which may fail no more */
    start_clock();
    choose_signals(false, false);
    pthread_mutex_lock(&limits_lock); /* or the first ones leave no memory for the last */
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) * 2 + i;
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            die("no thread");
    }
    pthread_mutex_unlock(&limits_lock);
    double seconds = strtod(argv[2], NULL);
    usleep((useconds_t)(seconds * 1e6));
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);

    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_PROF, &never, NULL);
    free_all();
    for (unsigned i = 0; i < DEEDS; i++) {
        uint64_t times = 0;
        for (unsigned j = 0; j < WORKERS; j++)
            times += workers[j].done[i];
        say("did %s %llu\n", deeds[i].name, (unsigned long long)times);
    }
    say("did handle %llu inside %llu\n", (unsigned long long)handled,
        (unsigned long long)handled_inside);
    say("in handlers %llu to %llu\n", (unsigned long long)made_outside,
        (unsigned long long)(made_outside + made_inside));
    for (unsigned i = 0; i < SITES; i++) {
        struct truth truth = {made[i], made_bytes[i], 0, 0};
        truth_say(site_names[i], "leaf", &truth);
    }
    return 0;
}
