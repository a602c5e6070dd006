/* fuzz_jit.c: perf maps and jitdumps, into report/jit_map.c and jit_dump.c.
 *
 * A map is judged by a second parser, which takes whole lines. As a program it replays the files
 * that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -fsanitize=fuzzer,address,undefined \
 *         -fno-sanitize-recover=all -o fuzz tests/fuzz/fuzz_jit.c \
 *         profiler/report/{jit,jit_dump,jit_map,maps,source}.c profiler/sys/{arena,lock,os}.c
 *     ./fuzz tests/fuzz/corpus/jit */
#include "report/jit_files.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

#define WANTS     64u
#define LINE_SIZE 8192u /* a longer line is known by its beginning */

/* Not called: report/jit.c asks them which addresses are in no module. */
const struct ht_mapping *ht_mappings_find(const struct ht_mappings *mappings, uintptr_t address)
{
    (void)mappings, (void)address;
    return NULL;
}

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

static void make_wants(struct ht_jit_want *wants)
{
    for (unsigned i = 0; i < WANTS; i++)
        wants[i] = (struct ht_jit_want){.pc = i < WANTS / 2 ? 1 + i * 8 : 0x400000 + i * 16};
}

static const char *number(const char *at, uintptr_t *ret_number)
{
    if (at[0] == '0' && (at[1] == 'x' || at[1] == 'X'))
        at += 2;
    size_t digits = strspn(at, "0123456789abcdefABCDEF");
    if (digits < 1 || digits > 16 || at[digits] != ' ')
        return NULL;
    *ret_number = strtoull(at, NULL, 16);
    return at + digits + 1;
}

/* The name of the last whole line that covers the pc; its length, or 0. */
static size_t model(const char *data, size_t size, uintptr_t pc, const char **ret_name)
{
    static char line[LINE_SIZE + 1];
    const char *end;
    size_t length = 0;
    for (; (end = memchr(data, '\n', size)) != NULL || size >= LINE_SIZE; data = end + 1) {
        uintptr_t start, bytes;
        size_t whole = end != NULL ? (size_t)(end - data) : size;
        size_t kept = whole < LINE_SIZE ? whole : LINE_SIZE;
        memcpy(line, data, kept);
        line[kept] = 0;
        const char *at = number(line, &start);
        at = at != NULL ? number(at, &bytes) : NULL;
        if (at != NULL && at < line + kept && start != 0 && bytes <= UINTPTR_MAX - start &&
            pc - start < bytes) {
            *ret_name = data + (at - line);
            length = whole - (size_t)(at - line);
        }
        size -= whole + (end != NULL);
        if (end == NULL)
            break;
    }
    return length;
}

static void as_map(const char *data, size_t size)
{
    struct ht_source source = ht_source_of_buffer(data, size);
    struct ht_jit_want wants[WANTS];
    make_wants(wants);
    check(ht_jit_map_scan(&source, HT_JIT_MAP, wants, WANTS) == 0);
    for (unsigned i = 0; i < WANTS; i++) {
        char name[300];
        const char *expected;
        size_t length = model(data, size, wants[i].pc, &expected);
        check((wants[i].start != 0) == (length != 0));
        if (length == 0)
            continue;
        length = length < sizeof(name) - 1 ? length : sizeof(name) - 1;
        length = strnlen(expected, length);
        int r = ht_jit_map_name(&source, &wants[i], name, sizeof(name));
        check(length == 0 ? r < 0 : r == (int)length && memcmp(name, expected, length) == 0);
    }
}

static void as_dump(const char *data, size_t size)
{
    struct ht_source source = ht_source_of_buffer(data, size);
    struct ht_jit_want wants[WANTS];
    make_wants(wants);
    ht_jit_dump_scan(&source, HT_JIT_DUMP, wants, WANTS);
    for (unsigned i = 0; i < WANTS; i++) {
        char name[300];
        if (wants[i].start == 0)
            continue;
        check(wants[i].start <= wants[i].pc);
        int r = ht_jit_dump_name(&source, &wants[i], name, 1 + i * 4);
        check(r < 0 || ((size_t)r == strlen(name) && (size_t)r < 1 + i * 4));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    as_map((const char *)data, size);
    as_dump((const char *)data, size);
    return 0;
}
