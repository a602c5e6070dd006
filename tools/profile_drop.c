#include "profile_drop.h"

#include <stdio.h>
#include <string.h>

#define EXPRESSION_MAX 4096
#define NESTING_MAX    50
#define NAME_MAX_BYTES 4096

/* glibc copies what a count repeats, follows parentheses by recursion, and tries back references
 * one by one: with these a short expression can take all memory, stack or time there is. */
static bool is_harmless(const char *expression)
{
    int depth = 0;
    for (const char *p = expression; *p; p++) {
        if (p[0] == '\\' && p[1]) {
            p++;
            if (*p >= '1' && *p <= '9')
                return false;
        } else if (*p == '{') {
            return false;
        } else if (*p == '(' && ++depth > NESTING_MAX) {
            return false;
        } else if (*p == ')') {
            depth--;
        }
    }
    return true;
}

static bool compile(regex_t *regex, const char *expression)
{
    char whole[EXPRESSION_MAX + 8];
    if (strlen(expression) > EXPRESSION_MAX || !is_harmless(expression))
        return false;
    snprintf(whole, sizeof(whole), "^(%s)$", expression);
    return regcomp(regex, whole, REG_EXTENDED | REG_NOSUB) == 0;
}

void profile_drop_start(struct profile_drop *drop, const char *drop_frames, const char *keep_frames)
{
    *drop = (struct profile_drop){0};
    if (*drop_frames)
        drop->has_drop = compile(&drop->drop, drop_frames);
    if (!drop->has_drop || !*keep_frames)
        return;
    drop->has_keep = compile(&drop->keep, keep_frames);
    if (!drop->has_keep)
        profile_drop_end(drop);
}

/* The length of what begins with '(' or "operator(", but no parameters; 0 when it does not. */
static size_t no_parameters(const char *p)
{
    static const char *const names[] = {"(anonymous namespace)", "operator()"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++) {
        if (strncmp(p, names[i], strlen(names[i])) == 0)
            return strlen(names[i]);
    }
    return 0;
}

/* As pprof cuts names: at the first '(' that begins parameters. False when it is too long. */
static bool without_parameters(const char *name, char result[NAME_MAX_BYTES])
{
    if (*name == '.')
        name++;
    const char *p = name;
    while (*p) {
        size_t skip = no_parameters(p);
        if (skip == 0 && *p == '(')
            break;
        p += skip ? skip : 1;
    }
    size_t length = (size_t)(p - name);
    if (length >= NAME_MAX_BYTES)
        return false;
    memcpy(result, name, length);
    result[length] = 0;
    return true;
}

bool profile_drop_matches(const struct profile_drop *drop, const char *function)
{
    char name[NAME_MAX_BYTES];
    if (!drop->has_drop || !without_parameters(function, name))
        return false;
    return regexec(&drop->drop, name, 0, NULL, 0) == 0 &&
           !(drop->has_keep && regexec(&drop->keep, name, 0, NULL, 0) == 0);
}

void profile_drop_end(struct profile_drop *drop)
{
    if (drop->has_drop)
        regfree(&drop->drop);
    if (drop->has_keep)
        regfree(&drop->keep);
    *drop = (struct profile_drop){0};
}
