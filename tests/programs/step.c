/* step.c: `step alloc|redraw|fork` interrupts the allocation functions at each of their instructions:
 * calls are executed step by step, and a signal handler does something at each step, then at each
 * seventh, beginning with each of the first seven. It allocates and frees, or makes the thread draw
 * a new gap (as the profiler's own handler does in the child of a fork), or forks, each 23rd
 * time, children that allocate in the handler and after it. It does so where the C
 * library's allocator is not at work, which could not be called again. */
#include "truth.h"

#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

extern int heaptap_set_interval(uint64_t bytes) __attribute__((weak));

#define TRAP_FLAG 0x100

static struct truth in_malloc, in_calloc, in_realloc, in_aligned;

NOINLINE static void *site_malloc(size_t size)
{
    void *block = again(malloc(size));
    truth_alloc(&in_malloc, size);
    return block;
}

NOINLINE static void *site_calloc(size_t size)
{
    void *block = again(calloc(1, size));
    truth_alloc(&in_calloc, size);
    return block;
}

NOINLINE static void *site_realloc(void *block, size_t size)
{
    block = again(realloc(block, size));
    truth_alloc(&in_realloc, size);
    return block;
}

NOINLINE static void *site_aligned(size_t size)
{
    void *block = NULL;
    if (posix_memalign(&block, 64, size) != 0)
        die("posix_memalign failed");
    truth_alloc(&in_aligned, size);
    return block;
}

NOINLINE static void *site_in_handler(size_t size)
{
    void *block = again(malloc(size));
    STAY();
    return block;
}

/* ---- what the handler does ---- */

static void *handlers_block;

static void allocate(void)
{
    free(handlers_block);
    handlers_block = site_in_handler(200);
}

static int (*set_interval)(uint64_t bytes);
static uint64_t interval; /* as the environment says */

static void redraw(void)
{
    if (set_interval != NULL)
        set_interval(interval);
}

static void find_set_interval(void)
{
    void *found = dlsym(RTLD_DEFAULT, "heaptap_set_interval");
    set_interval = heaptap_set_interval;
    if (set_interval == NULL && found != NULL)
        memcpy(&set_interval, &found, sizeof(found));
    const char *setting = getenv("HEAPTAP_INTERVAL");
    interval = setting != NULL ? strtoull(setting, NULL, 10) : 1;
}

/* The child goes on to the end of its episode, without steps, and exits. */
static volatile bool is_child, is_over;
static unsigned forks, children;

static void fork_here(void)
{
    static unsigned count;
    if (is_child || count++ % 23 != 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        is_child = is_over = true;
        alarm(20);
        free(again(malloc(500)));
        return;
    }
    int status = -1;
    forks++;
    children += waitpid(child, &status, 0) == child && status == 0;
}

static void (*act)(void);

/* ---- steps ---- */

/* Code that a handler may interrupt and allocate: the program's, heaptap's and libunwind's. */
static struct {
    uintptr_t start, end;
} ours[8];
static unsigned ours_count;

static int find_ours(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size, (void)data;
    if (info->dlpi_name[0] != 0 && !strstr(info->dlpi_name, "/libheaptap") &&
        !strstr(info->dlpi_name, "/libunwind"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && ours_count < 8; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) != 0) {
            ours[ours_count].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            ours[ours_count].end = ours[ours_count].start + info->dlpi_phdr[i].p_memsz;
            ours_count++;
        }
    return 0;
}

static volatile unsigned steps, period, phase; /* acts at steps phase, phase + period ... */

static void on_step(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    bool is_ours = false;
    for (unsigned i = 0; i < ours_count; i++)
        is_ours |= pc >= ours[i].start && pc < ours[i].end;
    if (is_over)
        registers[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    else if (is_ours && steps++ % period == phase)
        act();
}

static void begin_steps(void)
{
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                     "pushfq\n\t"
                     "orq %0, (%%rsp)\n\t"
                     "popfq\n\t"
                     "leaq 128(%%rsp), %%rsp"
                     :
                     : "i"(TRAP_FLAG)
                     : "cc", "memory");
}

/* With blocks of so many times their size. */
NOINLINE static void episode(size_t times)
{
    if (period != 0)
        begin_steps();
    void *block = site_malloc(100 * times);
    block = site_realloc(block, 120 * times);  /* in place, most likely */
    block = site_realloc(block, 5000 * times); /* elsewhere, and too large for shadow.h */
    free(block);
    free(site_calloc(50 * times));
    free(site_aligned(70 * times));
    is_over = true;
    if (is_child)
        syscall(SYS_exit_group, 0); /* no profile */
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "alloc";
    act = strcmp(what, "redraw") == 0 ? redraw : strcmp(what, "fork") == 0 ? fork_here : allocate;
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    dl_iterate_phdr(find_ours, NULL);
    if (sigaction(SIGTRAP, &action, NULL) != 0)
        die("sigaction failed");
    find_set_interval();
    /* First without steps, and with every block sampled: what the profiler does only once for a pc
     * it does with all signals blocked, and a step cannot wait. */
    if (set_interval != NULL)
        set_interval(1);
    static const unsigned periods[] = {0, 1, 7};
    for (volatile unsigned i = 0; i < 3;) { /* no pass is made a call of its own */
        steps = 0;
        period = periods[i];
        is_over = false;
        /* From one place: elsewhere it would have another pc. Lives of large blocks are followed. */
        episode(i == 0 ? 100000 : 1);
        if (i == 0)
            redraw();
        if (++phase >= period) {
            phase = 0;
            i++;
        }
    }
    free(handlers_block);
    if (act == fork_here)
        printf("%s: %s\n", forks > 0 || interval == 0 ? "forked" : "no forks",
               children == forks ? "all well" : "lost");
    struct truth *all[] = {&in_malloc, &in_calloc, &in_realloc, &in_aligned};
    static const char *const names[] = {"site_malloc", "site_calloc", "site_realloc",
                                        "site_aligned"};
    for (int i = 0; i < 4; i++) {
        all[i]->inuse_objects = all[i]->inuse_bytes = 0;
        truth_say(names[i], "leaf-only", all[i]);
    }
    return 0;
}
