/* doctor_process.c: a process that runs. What its library says of itself, when it can be asked, and
 * what /proc says. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "patient.h"
#include "target.h"
#include "tool.h"

/* ---- the library is not there ---- */

static void explain_absence(struct patient *patient)
{
    char culprit[PATH_MAX];
    const char *obstacle = target_obstacle(patient->exe, culprit);
    doctor_fact("library", "heaptap is not in this process");
    if (obstacle) {
        doctor_problem("heaptap cannot be loaded into such a program.", "%s %s", patient->program,
                       obstacle);
        return;
    }
    if (!patient->has_environment) {
        doctor_problem("Ask as root, and from outside its container.",
                       "the environment it was started with cannot be read");
        return;
    }
    const char *preload = patient_variable(patient, "LD_PRELOAD");
    if (preload && doctor_check_preload(&patient->view, preload))
        doctor_problem("What the loader said about it is on the standard error of the process; "
                       "ld.so(8) says when it preloads nothing.",
                       "LD_PRELOAD was %s, but the loader did not load it", preload);
    else if (patient->has_settings)
        doctor_problem(
            "Set LD_PRELOAD nearer to it. sudo, su and services clear the environment; with "
            "HEAPTAP_FOLLOW=0 the library removes itself from that of children.",
            "it was started with settings of heaptap but without its library in LD_PRELOAD");
    else
        doctor_problem("Start it by heaptap run, or with LD_PRELOAD=libheaptap.so and its path.",
                       "it was started without heaptap");
}

/* ---- the library's answer ---- */

/* Why there are no samples, when there should be. */
static void check_no_samples(const struct patient *patient, uint64_t interval)
{
    struct symbols symbols;
    const char *in_front = patient_text(patient, "in_front");
    if (*in_front) {
        doctor_problem("Put libheaptap.so before it in LD_PRELOAD; a malloc that is linked into "
                       "the program cannot be profiled.",
                       "the program calls the malloc of %s, which is in front of heaptap's",
                       in_front);
    } else if (symbols_read(patient->exe, &symbols) == 0 && symbols.has_malloc &&
               !symbols.has_heaptap) {
        doctor_check_symbols(patient->program, &symbols);
    } else if (patient_number(patient, "samples") == 0 &&
               patient->anonymous_bytes > 16 * interval + (UINT64_C(8) << 20)) {
        doctor_problem(
            "Memory taken by mmap is not seen (python3: PYTHONMALLOC=malloc helps), nor what a "
            "library allocates that was opened with RTLD_DEEPBIND or dlmopen.",
            "the process holds %s, but no call of malloc has been sampled",
            text_bytes(patient->anonymous_bytes));
    } else if (patient_number(patient, "samples") == 0) {
        doctor_fact("", "nothing sampled yet: it asked malloc for little, compared with the "
                        "interval");
    }
}

static void check_sampling(const struct patient *patient)
{
    uint64_t interval = patient_number(patient, "interval"),
             eased = patient_number(patient, "eased");
    uint64_t memory_drops =
        patient_number(patient, "dropped_live") + patient_number(patient, "dropped_stacks");
    uint64_t drops = memory_drops + patient_number(patient, "dropped_scratch") +
                     patient_number(patient, "dropped_frees");
    uint64_t used = patient_number(patient, "memory"),
             limit = patient_number(patient, "memory_limit");
    if (interval == 0)
        doctor_problem("Set HEAPTAP_INTERVAL, or call heaptap_start().",
                       "sampling is off: HEAPTAP_INTERVAL is 0, or the program called "
                       "heaptap_stop()");
    doctor_fact("sampling",
                "%s%s%s: %" PRIu64 " samples so far, %" PRIu64 " live, %" PRIu64 " stacks, %" PRIu64
                " dropped",
                interval == 0   ? "off"
                : interval == 1 ? "every allocation"
                                : "every ",
                interval > 1 ? text_bytes(interval) : "",
                patient_number(patient, "auto") ? " now, as the budget allows" : "",
                patient_number(patient, "samples"), patient_number(patient, "live"),
                patient_number(patient, "stacks"), drops);
    doctor_fact("memory", "%s of %s", text_bytes(used), text_bytes(limit));
    if (eased)
        doctor_fact("", "the interval was doubled %" PRIu64 " times to stay within it", eased);
    if (memory_drops)
        doctor_problem("Set a larger HEAPTAP_MEMORY or a larger HEAPTAP_INTERVAL.",
                       "the memory limit of %s is reached: %" PRIu64 " samples were dropped or "
                       "lost their stacks",
                       text_bytes(limit), memory_drops);
    if (interval != 0)
        check_no_samples(patient, interval);
}

static void report_answer(const struct patient *patient)
{
    const char *allocator = patient_text(patient, "allocator");
    const char *stacks_problem = patient_text(patient, "stacks_problem");
    const char *error = patient_text(patient, "error");
    if (*allocator)
        doctor_fact("allocator", "%s, underneath", allocator);
    check_sampling(patient);
    if (*stacks_problem)
        doctor_problem("Install libunwind 1.6 or later (libunwind8 on Debian and Ubuntu).",
                       "stacks have one frame only: %s", stacks_problem);
    doctor_fact("profiles", "%" PRIu64 " written; the next is %s",
                patient_number(patient, "profiles"), patient_text(patient, "output"));
    if (*error)
        doctor_problem("See that there is room and permission where HEAPTAP_OUTPUT points.",
                       "the last profile could not be written: %s", error);
    doctor_check_output(&patient->view, patient_text(patient, "output"));
}

/* ---- without an answer ---- */

static void report_environment(struct patient *patient)
{
    char path[2 * PATH_MAX];
    doctor_fact("unknown", "it cannot be asked: samples, drops and the next profile's name");
    if (patient->allocator[0])
        doctor_fact("allocator", "%s is loaded", patient->allocator);
    struct symbols symbols;
    if (symbols_read(patient->exe, &symbols) == 0)
        doctor_check_symbols(patient->program, &symbols);
    if (!patient->has_environment)
        return;
    if (patient->config.interval_bytes == 0)
        doctor_problem("Set HEAPTAP_INTERVAL.", "sampling is off: HEAPTAP_INTERVAL is 0");
    /* Relative names start at the directory the program was started in; this is the best guess. */
    const char *output = patient->config.output;
    if (*output == '/')
        snprintf(path, sizeof(path), "%s", output);
    else
        snprintf(path, sizeof(path), "/proc/%d/cwd/%s", patient->process.pid, output);
    doctor_fact("profiles", "%s", output);
    if (patient->answer != -ESRCH && (*output == '/' || !patient->process.root[0]))
        doctor_check_output(&patient->view, path);
}

/* ---- what has a profile written ---- */

/* There is no collector: is there anything else that has a profile written? */
static void check_absent_collector(const struct patient *patient)
{
    const struct ht_config *config = &patient->config;
    if (config->signal == 0 && config->every_nanos == 0)
        doctor_fact("signal", "none (HEAPTAP_SIGNAL), and no thread of heaptap's");
    if (config->signal == 0 && config->every_nanos == 0 && config->at_exit)
        doctor_fact("exit", "HEAPTAP_AT_EXIT has a profile written at the end");
    else if (config->signal == 0 && config->every_nanos == 0)
        doctor_problem("Leave HEAPTAP_SIGNAL out, or set HEAPTAP_EVERY or HEAPTAP_AT_EXIT=1, or "
                       "call heaptap_snapshot().",
                       "nothing asks for a profile: HEAPTAP_SIGNAL is none");
    else
        doctor_problem("If it is the child of a fork, it gets one when it next allocates. Else see "
                       "whether it may make threads: RLIMIT_NPROC, the cgroup's pids.max, a "
                       "seccomp filter; HEAPTAP_VERBOSE=1 has the reason said.",
                       "heaptap's thread is not there, which writes profiles on request");
}

static void check_silence(const struct patient *patient)
{
    const struct process *process = &patient->process;
    if (patient->answer == -ETIMEDOUT && patient->seccomp)
        doctor_problem("Let the filter allow what writing a file takes: openat, write, fstat, "
                       "renameat2, linkat, rt_sigtimedwait, pidfd_open; or set "
                       "HEAPTAP_SIGNAL=none.",
                       "no answer, and a seccomp filter is in force: it may forbid what writing a "
                       "profile takes");
    else if (patient->answer == -ETIMEDOUT)
        doctor_problem("Ask again; the thread is heaptap-*, gdb -p shows where it is.",
                       "no answer within 2 s: it is writing a large profile, or hangs");
    else if (patient->answer == -ESRCH)
        doctor_problem("See why.", "the process has ended meanwhile");
    else
        doctor_problem("The answer needs a /tmp that both can write to.",
                       "it could not be asked, by a file in %s/tmp: %s", process->root,
                       strerror(-patient->answer));
}

static void report_triggers(const struct patient *patient)
{
    const struct process *process = &patient->process;
    const char *owner = patient_text(patient, "signal_owner");
    int signal = (int)patient_number(patient, "signal");
    char name[HT_SIGNAL_NAME_SIZE];
    ht_signal_name(signal, name);
    if (signal == 0)
        doctor_fact("signal", "none (HEAPTAP_SIGNAL)");
    else if (strcmp(owner, "heaptap") != 0)
        doctor_fact("signal",
                    "%s is %s by the program%s, which keeps it: kill has no profile "
                    "written",
                    name, owner, strcmp(owner, "ignored") == 0 ? " or its parent" : "");
    else if (process_blocks_everywhere(process, signal))
        doctor_fact("signal",
                    "%s is blocked by all threads of the program: kill has no profile "
                    "written",
                    name);
    else
        doctor_fact("signal", "%s has a profile written: kill -%s %d", name, name, process->pid);
    if (*patient_text(patient, "sandbox"))
        doctor_problem("Let the filter allow it, or give it an action such as SCMP_ACT_ERRNO. "
                       "heaptap snapshot works.",
                       "a seccomp filter of the program ends it for %s: no profile at the exit",
                       patient_text(patient, "sandbox"));
    doctor_fact("snapshot", "heaptap snapshot %d, without the signal", process->pid);
    if (patient_number(patient, "every_ms") != 0)
        doctor_fact("clock", "HEAPTAP_EVERY has profiles written");
}

static void check_triggers(const struct patient *patient)
{
    if (patient->state == 'T' || patient->state == 't')
        doctor_problem("Continue it: kill -CONT.", "the process is stopped");
    else if (!patient->process.collector)
        check_absent_collector(patient);
    else if (patient->has_answered)
        report_triggers(patient);
    else
        check_silence(patient);
}

/* ---- all of it ---- */

int doctor_process(pid_t pid)
{
    static struct patient patient; /* large */
    struct process *process = &patient.process;
    process->pid = pid;
    if (process_open_patiently(process) != 0)
        return 1;
    patient_read(&patient);
    doctor_fact("process", "%d (%s), %s", pid, process->name,
                patient.program[0] ? patient.program : "whose program cannot be seen");
    if (process->root[0])
        doctor_fact("files", "it has file systems of its own: its / is our %s", process->root);
    if (!process->has_heaptap) {
        explain_absence(&patient);
    } else {
        patient_ask(&patient);
        doctor_fact("library", "%s%s%s",
                    patient.library[0] ? patient.library : "inside the program, or renamed",
                    patient.has_answered ? ", version " : "", patient_text(&patient, "version"));
        if (patient.has_answered)
            report_answer(&patient);
        else
            report_environment(&patient);
        check_triggers(&patient);
    }
    patient_free(&patient);
    return 0;
}
