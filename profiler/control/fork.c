#include "control/fork.h"

#include <pthread.h>

#include "control/dump.h"
#include "control/trigger.h"
#include "report/lexicon.h"
#include "report/loaded.h"
#include "sample/budget.h"
#include "sample/exact.h"
#include "sample/live.h"
#include "sample/record.h"
#include "sample/stacks.h"
#include "sample/unwind_learn.h"
#include "sys/arena.h"
#include "sys/lock.h"
#include "sys/os.h"

#include "sys/poison.h"

static pid_t own_pid;
/* Of the forking thread; guarded by the locks it holds. Other handlers of the program may allocate
 * and free between ours: what they do is not sampled, and a free that finds a lock taken is
 * deferred. */
static struct ht_record_pause pause_around;

/* A signal handler that interrupted the profiler forks, perhaps to have a debugger look at a crash.
 * The profiler may hold any lock in this thread: no lock is waited for, then. In the child nobody
 * else is left, and what was interrupted goes on when the handler returns. What other threads were
 * doing is left undone there. */
static bool is_inside(struct ht_record_pause pause)
{
    return pause.busy != 0;
}

static void prepare(void)
{
    ht_dump_fork_prepare();
    ht_loaded_fork_prepare();
    struct ht_record_pause pause = ht_record_pause();
    pause_around = pause;
    if (is_inside(pause))
        return;
    ht_sampler_fork_prepare();
    ht_learn_fork_prepare();
    ht_exact_fork_prepare();
    ht_tree_fork_prepare();
    ht_stacks_fork_prepare();
    ht_live_fork_prepare();
    ht_lexicon_fork_prepare();
    ht_arena_fork_prepare();
    ht_lock_fork_begin();
    pause_around = pause; /* another thread may have forked since, inside */
}

static void in_parent(void)
{
    struct ht_record_pause pause = pause_around;
    if (!is_inside(pause)) {
        ht_lock_fork_end();
        ht_arena_fork_parent();
        ht_lexicon_fork_parent();
        ht_live_fork_parent();
        ht_stacks_fork_parent();
        ht_tree_fork_parent();
        ht_exact_fork_parent();
        ht_learn_fork_parent();
    }
    ht_record_resume(pause);
    ht_loaded_fork_parent();
    ht_dump_fork_parent();
}

static void in_child(void)
{
    own_pid = ht_os_pid();
    ht_lock_fork_end();
    ht_arena_fork_child();
    ht_lexicon_fork_child();
    ht_live_fork_child(!is_inside(pause_around));
    ht_stacks_fork_child();
    ht_tree_fork_child();
    ht_exact_fork_child();
    ht_learn_fork_child();
    ht_sampler_fork_child();
    ht_budget_fork_child();
    ht_record_fork_child(pause_around);
    ht_loaded_fork_child();
    ht_dump_fork_child();
    ht_trigger_fork_child();
}

void ht_fork_start(void)
{
    own_pid = ht_os_pid();
    pthread_atfork(prepare, in_parent, in_child);
}

bool ht_fork_is_own_process(void)
{
    return own_pid == ht_os_pid();
}
