/* fuzz_edit.c: files that claim to be profiles, gzipped or not, into tools/profile_edit.c, which
 * changes some of it and writes them again.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     meson setup build && ninja -C build profiler/report/profile.pb-c.h
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -Itools -Ibuild/profiler/report \
 *         -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o fuzz \
 *         tests/fuzz/fuzz_edit.c tools/{pool,profile_edit,profile_edit_write,profile_file}.c \
 *         build/profiler/report/profile.pb-c.c -lprotobuf-c -lz
 *     ./fuzz -max_len=4000 -rss_limit_mb=6000 tests/fuzz/corpus/edit tests/fuzz/corpus/profile */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "profile_edit.h"
#include "replay.h"

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

/* Every third location gets two lines, one in a function that may be new. */
static void change(struct edit *edit)
{
    for (size_t i = 0; i < edit->location_count; i += 3) {
        Perftools__Profiles__Location *location = edit->locations[i];
        uint64_t outer = location->n_line > 0 ? location->line[0]->function_id
                                              : edit_add_function(edit, "outer", "outer", "", 0);
        uint64_t inner = edit_add_function(edit, "inner", "_Z5innerv", "/a.cc", (int64_t)i % 2);
        check(outer != 0 && inner != 0 && edit_set_lines(edit, location, 2));
        location->line[0]->function_id = inner;
        location->line[1]->function_id = outer;
    }
}

static void write_again(struct edit *edit, struct edit *ret_edit)
{
    int fd = memfd_create("profile", MFD_CLOEXEC);
    struct stat status;
    check(fd >= 0 && edit_write(edit, fd, 1) == 0 && fstat(fd, &status) == 0);
    struct bytes file = {.data = malloc((size_t)status.st_size), .size = (size_t)status.st_size};
    check(pread(fd, file.data, file.size, 0) == status.st_size);
    close(fd);
    check(!edit_decode(&file, ret_edit));
}

/* What is not changed stands at the start of the new one, as it was. */
static void compare(const struct edit *edit, const struct edit *again)
{
    size_t at = 0;
    for (size_t i = 0; i < edit->kept_count; i++) {
        check(memcmp(again->data + at, edit->data + edit->kept[i].start, edit->kept[i].size) == 0);
        at += edit->kept[i].size;
    }
    check(again->mapping_count == edit->mapping_count);
    check(again->location_count == edit->location_count);
    for (size_t i = 0; i < again->function_count; i++)
        check(again->functions[i]->id == i + 1);
    for (size_t i = 0; i < again->location_count; i++) {
        const Perftools__Profiles__Location *was = edit->locations[i], *is = again->locations[i];
        check(is->id == was->id && is->address == was->address && is->n_line == was->n_line);
        for (size_t j = 0; j < is->n_line; j++)
            check(edit_function(again, is->line[j]->function_id) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes file = {.data = malloc(size + 1), .size = size};
    struct edit edit, again;
    check(file.data != NULL);
    memcpy(file.data, data, size);
    const char *problem = edit_decode(&file, &edit);
    if (problem) {
        check(*problem);
        return 0;
    }
    change(&edit);
    write_again(&edit, &again);
    compare(&edit, &again);
    edit_free(&edit);
    edit_free(&again);
    return 0;
}
