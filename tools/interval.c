#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/parse.h"
#include "control/request.h"

#include "ask.h"
#include "patient.h"

#define ANSWER_MS 2000

/* "every 64 KiB" */
static const char *describe(const struct patient *patient)
{
    static char texts[2][96];
    static unsigned next;
    char *text = texts[next++ % 2];
    uint64_t interval = patient_number(patient, "interval");
    bool is_auto = patient_number(patient, "auto") != 0;
    if (interval == 0)
        snprintf(text, sizeof(texts[0]), "off");
    else
        snprintf(text, sizeof(texts[0]), "%severy %s%s", is_auto ? "auto (" : "",
                 interval == 1 ? "allocation" : text_bytes(interval), is_auto ? " now)" : "");
    return text;
}

static int say_no_answer(const struct process *process, int error)
{
    if (error == -ETIMEDOUT)
        say("no answer from process %d (%s): it is stopped, does not see our /tmp, or has an older "
            "heaptap in it; see heaptap doctor %d",
            process->pid, process->name, process->pid);
    else
        say("process %d (%s): %s", process->pid, process->name, strerror(-error));
    return 1;
}

/* `question` NULL: only looks. 0 or an exit status. */
static int ask(struct patient *patient, const char *question)
{
    patient->pair_count = 0;
    int r = ask_line(&patient->process, question ? HT_REQUEST_INTERVAL : HT_REQUEST_STATUS,
                     question, ANSWER_MS, patient->line, sizeof(patient->line));
    if (r < 0)
        return say_no_answer(&patient->process, r);
    patient_split_answer(patient);
    int error = question ? (int)patient_number(patient, "interval_error") : 0;
    if (error == 0)
        return 0;
    say("process %d (%s) keeps its interval: %s", patient->process.pid, patient->process.name,
        error == ENOSPC ? "it has had 254 different ones, and there is room for no more"
                        : strerror(error));
    return 1;
}

static int change(pid_t pid, const char *interval)
{
    static struct patient patient; /* large */
    char question[64], before[96];
    struct process *process = &patient.process;
    process->pid = pid;
    int r = process_open_patiently(process);
    if (r != 0)
        return r;
    if (!process->collector) {
        say("process %d (%s) has %s; see heaptap doctor %d", pid, process->name,
            process->has_heaptap ? "heaptap in it, but not its thread, which would be asked"
                                 : "no heaptap in it",
            pid);
        return 1;
    }
    r = ask(&patient, NULL);
    if (r != 0)
        return r;
    snprintf(before, sizeof(before), "%s", describe(&patient));
    if (!interval) {
        puts(before);
        return 0;
    }
    snprintf(question, sizeof(question), "%s\n", interval);
    r = ask(&patient, question);
    if (r == 0)
        printf("%s; before: %s\n", describe(&patient), before);
    return r;
}

int interval_command(int argc, char **argv)
{
    const char *process = NULL, *interval = NULL;
    uint64_t pid, bytes;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help_print("interval") ? 0 : EXIT_OURSELVES;
        if (argv[i][0] == '-')
            return say_usage("interval", "%s is not an option of heaptap interval", argv[i]);
        if (!process)
            process = argv[i];
        else if (!interval)
            interval = argv[i];
        else
            return say_usage("interval", "one interval at a time: %s or %s", interval, argv[i]);
    }
    if (!process)
        return say_usage("interval", "no process is named");
    if (ht_parse_number(process, &pid) < 0 || pid == 0 || pid > INT32_MAX)
        return say_usage("interval", "%s is not the number of a process", process);
    if (interval && (ht_parse_interval(interval, &bytes) < 0 ||
                     (bytes != HT_PARSE_AUTO && bytes > UINT64_C(1) << 40)))
        return say_usage("interval",
                         "%s is refused: auto, or a size such as 512K, 4M or 1 (every allocation), "
                         "at most 1T, 0 to switch off",
                         interval);
    return change((pid_t)pid, interval);
}
