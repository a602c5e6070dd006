#include "view.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/parse.h"

#include "tool.h"

#define ROWS_DEFAULT 20

static const char *const by_names[] = {"function", "line", "stack"};

/* The only name that begins with a word, or -1. */
static int find_word(const char *word, const char *const *names, size_t count)
{
    int found = -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0)
            return (int)i;
        if (*word && strncmp(names[i], word, strlen(word)) == 0)
            found = found == -1 ? (int)i : -2;
    }
    return found < 0 ? -1 : found;
}

static int take_value(struct view *view, const char *option, const char *value)
{
    const char *allowed = "";
    bool done = false;
    int found;
    if (strcmp(option, "--by") == 0) {
        allowed = "function, line or stack";
        found = value ? find_word(value, by_names, HT_ARRAY_SIZE(by_names)) : -1;
        done = found >= 0;
        if (done)
            view->by = (enum rows_by)found;
    } else if (strcmp(option, "--sort") == 0) {
        allowed = "inuse_space, inuse_objects, alloc_space or alloc_objects";
        found = value ? find_word(value, profile_column_names, PROFILE_COLUMNS) : -1;
        done = found >= 0;
        if (done)
            view->sort = (enum profile_column)found;
    } else {
        allowed = "a number, 0 for all";
        done = value && ht_parse_number(value, &view->count) == 0;
        if (done && view->count == 0)
            view->count = UINT64_MAX;
    }
    if (done)
        return 0;
    if (!value)
        return say_usage(view->command, "%s needs a value: %s", option, allowed);
    return say_usage(view->command, "%s %s is refused: %s", option, value, allowed);
}

static bool take_switch(struct view *view, const char *argument)
{
    bool is_diff = strcmp(view->command, "diff") == 0;
    if (strcmp(argument, "--cum") == 0)
        view->sorts_cum = true;
    else if (strcmp(argument, "--all") == 0)
        view->shows_all = true;
    else if (strcmp(argument, "--json") == 0)
        view->shows_json = true;
    else if (strcmp(argument, "--stats") == 0)
        view->shows_stats = true;
    else if (is_diff && strcmp(argument, "--significant") == 0)
        view->only_significant = true;
    else
        return false;
    return true;
}

static int take_argument(struct view *view, char **argv, int *index)
{
    static const char *const options[] = {"--by", "--sort", "--count"};
    const char *value;
    for (size_t i = 0; i < HT_ARRAY_SIZE(options); i++) {
        if (option_is(argv, index, options[i], &value))
            return take_value(view, options[i], value);
    }
    return take_switch(view, argv[*index])
               ? 0
               : say_usage(view->command, "%s is not an option of heaptap %s", argv[*index],
                           view->command);
}

int view_take(struct view *view, const char *command, unsigned file_count, int argc, char **argv,
              bool *ret_done)
{
    bool are_files = false; /* all that follows, after "--" */
    *view = (struct view){.command = command, .sort = PROFILE_INUSE_SPACE};
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (!are_files && (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)) {
            *ret_done = true;
            return help_print(command) ? 0 : EXIT_OURSELVES;
        }
        if (!are_files && strcmp(argument, "--") == 0) {
            are_files = true;
        } else if (!are_files && argument[0] == '-' && argument[1]) {
            int r = take_argument(view, argv, &i);
            if (r != 0)
                return r;
        } else if (view->file_count == file_count) {
            return say_usage(command, "one profile too many: %s", argument);
        } else {
            view->files[view->file_count++] = argument;
        }
    }
    if (view->file_count < file_count)
        return say_usage(command, file_count == 1 ? "no profile is named"
                                                  : "two profiles are needed, the old one first");
    if (file_count > 1 && strcmp(view->files[0], "-") == 0 && strcmp(view->files[1], "-") == 0)
        return say_usage(command, "standard input is one profile only");
    if (view->count == 0)
        view->count = view->shows_json ? UINT64_MAX : ROWS_DEFAULT;
    return 0;
}

enum profile_column view_column(const struct view *view, unsigned line)
{
    /* The others in their order, in use first. */
    static const enum profile_column order[] = {PROFILE_INUSE_SPACE, PROFILE_INUSE_OBJECTS,
                                                PROFILE_ALLOC_SPACE, PROFILE_ALLOC_OBJECTS};
    if (line == 0)
        return view->sort;
    unsigned i = 0;
    while (order[i] == view->sort || --line > 0)
        i++;
    return order[i];
}

unsigned view_lines(const struct view *view)
{
    return view->shows_all ? PROFILE_COLUMNS : 1;
}

const char *view_rows(const struct view *view, uint64_t count)
{
    static const char *const many[] = {"functions", "lines", "stacks"};
    return count == 1 ? by_names[view->by] : many[view->by];
}

int view_finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    say("not all of the report could be written: %s", strerror(errno));
    return 1;
}
