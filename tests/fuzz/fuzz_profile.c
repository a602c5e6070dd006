/* fuzz_profile.c: files that claim to be heap profiles, gzipped or not, into tools/profile.c, and
 * what is taken of them into tools/rows.c.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     meson setup build && ninja -C build profiler/report/profile.pb-c.h
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -Itools -Ibuild/profiler/report \
 *         -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o fuzz \
 *         tests/fuzz/fuzz_profile.c tools/{frames,pool,profile,profile_drop,profile_file}.c \
 *         tools/{profile_places,profile_samples,rows,sums,terminal,text,utf8}.c \
 *         profiler/control/parse.c profiler/report/confidence.c \
 *         build/profiler/report/profile.pb-c.c -lprotobuf-c -lz -lm
 *     ./fuzz -max_len=4000 -rss_limit_mb=6000 tests/fuzz/corpus/profile */
#include <math.h>
#include <string.h>

#include "profile.h"
#include "replay.h"
#include "rows.h"
#include "terminal.h"

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_sample(const struct frames *frames, const struct profile_sample *sample)
{
    for (uint32_t i = 0; i < sample->frame_count; i++)
        check(sample->frames[i] < frames->count);
    for (uint32_t i = 0; i < sample->label_count; i++)
        check(sample->labels[i].key != NULL && sample->labels[i].unit != NULL);
    for (int i = 0; i < PROFILE_COLUMNS; i++)
        check(sample->variances[i] >= 0 && isfinite(sample->variances[i]));
    check(sample->freed_frame == FRAMES_NONE || sample->freed_frame < frames->count);
    check(sample->freed_index == 0 || sample->freed_index < sample->frame_count);
}

static void check_frames(const struct frames *frames)
{
    struct terminal terminal = {.width = 20, .is_terminal = true, .is_utf8 = true};
    for (uint32_t i = 0; i < frames->count; i++) {
        const struct frame *frame = &frames->all[i];
        check(*frame->function && frame->function_id < frames->name_count);
        check(strcmp(frame->function, frames_name(frames, frame->function_id)) == 0);
        check(frame->file_id < frames->name_count && frame->mapping != NULL);
        check(terminal_width(&terminal, frame->function) <= 2 * strlen(frame->function));
    }
}

/* Every sample is in one row's flat; a stack counts once for each of its functions. */
static void check_rows(struct frames *frames, const struct profile *profile, enum rows_by by)
{
    struct rows rows = {.by = by, .frames = frames};
    double flat = 0, total = 0;
    check(rows_add(&rows, profile, 0));
    for (size_t i = 0; i < rows.count; i++) {
        check(*rows_name(&rows, &rows.all[i]));
        flat += rows.all[i].flat[0].variances[0];
        check(rows.all[i].cum[0].variances[0] >= rows.all[i].flat[0].variances[0]);
        check(rows.all[i].cum[0].variances[0] <= rows.total[0].variances[0] * (1 + 1e-6));
    }
    for (size_t i = 0; i < profile->sample_count; i++)
        total += profile->samples[i].variances[0];
    check(fabs(flat - total) <= 1e-6 * total);
    rows_free(&rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frames frames = frames_empty();
    struct profile profile;
    char problem[PROFILE_PROBLEM_SIZE];
    if (profile_decode(data, size, &frames, &profile, problem)) {
        check(*problem == 0);
        for (size_t i = 0; i < profile.sample_count; i++)
            check_sample(&frames, &profile.samples[i]);
        check_frames(&frames);
        check_rows(&frames, &profile, ROWS_BY_FUNCTION);
        check_rows(&frames, &profile, ROWS_BY_LINE);
        check_rows(&frames, &profile, ROWS_BY_STACK);
        profile_free(&profile);
    } else {
        check(*problem && strlen(problem) < sizeof(problem));
    }
    frames_free(&frames);
    return 0;
}
