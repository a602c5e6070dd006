#include "symbolizer_words.h"

#include <sched.h>
#include <stdio.h>

#include "tool.h"

/* More of them only wait for the same disk and memory. */
#define PROCESSES_MAX 8

static void write_id(const struct ht_build_id *id, char ret_text[2 * HT_BUILD_ID_MAX + 1])
{
    ret_text[0] = 0;
    for (size_t i = 0; i < id->size; i++)
        sprintf(ret_text + 2 * i, "%02x", id->bytes[i]);
}

bool symbolizer_words(const struct symbolized_object *object, char ret_text[SYMBOLIZER_WORDS])
{
    char id[2 * HT_BUILD_ID_MAX + 1];
    write_id(object->build_id, id);
    const char *which = *id ? ", build id " : "";
    const char *text = NULL;
    switch (object->state) {
    case OBJECT_HAS_LINES:
        return false;
    case OBJECT_LACKS_DWO:
        text = "its .dwo files are missing, and with them inlined calls";
        break;
    case OBJECT_LACKS_ALTERNATE:
        text = "what dwz moved out of its debug information is missing";
        break;
    case OBJECT_HAS_NO_LINES:
        text = "no debug information";
        break;
    case OBJECT_IS_STALE:
        text = "another file by now, which is not used";
        break;
    case OBJECT_IS_MISSING:
        text = "not found";
        break;
    case OBJECT_IS_BROKEN:
        text = "its debug information cannot be read";
        which = "";
        break;
    }
    if (!text)
        return false;
    snprintf(ret_text, SYMBOLIZER_WORDS, "%s%s%s", text, which, *which ? id : "");
    return true;
}

void symbolizer_complain(const struct symbolized_object *object)
{
    char id[2 * HT_BUILD_ID_MAX + 1];
    write_id(object->build_id, id);
    if (object->places == 0)
        return;
    if (object->state == OBJECT_IS_STALE)
        say("%s is not the file that was loaded%s%s: no lines for its %zu places", object->path,
            *id ? ", which has the build id " : "", id, object->places);
    else if (object->state == OBJECT_IS_BROKEN)
        say("%s: its debug information is damaged, or larger than can be read here: lines for %zu "
            "of its %zu places",
            object->path, object->with_lines, object->places);
}

unsigned symbolizer_processes(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return (unsigned)(count < PROCESSES_MAX ? count : PROCESSES_MAX);
}
