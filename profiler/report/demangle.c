#include "report/demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <string.h>

#include "report/letters.h"

#include "sys/poison.h"

/* The full form may be far longer than the name, by substitutions even exponentially: at this point
 * it is cut. */
#define FULL_MAX ((size_t)32 * 1024)

/* libiberty has callbacks, so that it needs no malloc, but they cannot say "enough": it holds
 * nothing that a jump out of it could leak. */
struct full {
    jmp_buf enough;
    size_t length;
    char text[FULL_MAX];
};

static void append(const char *text, size_t length, void *context)
{
    struct full *full = context;
    if (length == 0) /* `text` may be NULL */
        return;
    size_t room = sizeof(full->text) - 1 - full->length;
    memcpy(full->text + full->length, text, ht_min(length, room));
    full->length += ht_min(length, room);
    if (length > room)
        longjmp(full->enough, 1);
}

/* For some shapes of names libiberty takes for ever, before any output could be cut, or any amount
 * of stack:
 *   it looks for the pack of a pack expansion on every path through the types that substitutions
 *     share: 30 levels of A<S1_, S1_> take a minute, and so do 30 times ++ behind an operand, which
 *     it has twice then;
 *   it parses the template arguments of a parameter in a conversion operator twice, at each level;
 *   it has 16 bytes on its stack for each template and each reference to a parameter, multiplied,
 *     up to four times: megabytes;
 *   it counts the lifetimes of a binder up to 2^64, printing them or not.
 * Beyond these bounds such names stay as they are: of 414,807 in one system's files, 97. */
#define PACK_SUBSTITUTIONS_MAX   32
#define CONVERSION_TEMPLATES_MAX 12
#define TEMPLATE_COPIES_MAX      1024
#define BINDER_DIGITS_MAX        2
#define LETTER_OR_DIGIT          (HT_LETTER_LOWER | HT_LETTER_UPPER | HT_LETTER_DIGIT)

/* How many references there are (S_, S1A_, T0_), or that `next` follows. Too many where identifiers
 * look like them. */
static unsigned count_references(const char *mangled, char kind, char next)
{
    unsigned count = 0;
    for (const char *at = mangled; (at = strchr(at, kind)) != NULL;) {
        at++;
        const char *end = at + strspn(at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        const char *underscore = memchr(at, '_', (size_t)(end - at));
        while (underscore != NULL && underscore[1] == '_')
            underscore++;
        if (underscore != NULL && (next == 0 || underscore[1] == next))
            count++;
    }
    return count;
}

static unsigned count_pairs(const char *mangled, const char *pair)
{
    unsigned count = 0;
    for (const char *at = mangled; (at = strstr(at, pair)) != NULL; at += 2)
        count++;
    return count;
}

static unsigned count_copies(const char *mangled)
{
    unsigned templates = 0, references = 0;
    for (const char *at = mangled; *at != 0; at++) {
        templates += *at == 'I';
        references += (*at == 'R' || *at == 'O') && (at[1] == 'T' || at[1] == 'S');
    }
    return templates * references;
}

static bool cxx_takes_too_much(const char *mangled)
{
    bool has_packs = strstr(mangled, "Dp") != NULL || strstr(mangled, "sp") != NULL ||
                     strstr(mangled, "sZ") != NULL;
    bool has_conversions = strstr(mangled, "cv") != NULL;
    unsigned shared = count_references(mangled, 'S', 0) +
                      2 * (count_pairs(mangled, "pp") + count_pairs(mangled, "mm"));
    return (has_packs && shared > PACK_SUBSTITUTIONS_MAX) ||
           (has_conversions && count_references(mangled, 'T', 'I') > CONVERSION_TEMPLATES_MAX) ||
           count_copies(mangled) > TEMPLATE_COPIES_MAX;
}

/* A binder is of a function pointer or of a dyn type: FG, DG, a number to base 62, _. */
static bool rust_takes_too_much(const char *mangled)
{
    const char *at = mangled[1] == 'R' ? mangled : ""; /* older names have no binders */
    for (; (at = strchr(at, 'G')) != NULL; at++) {
        const char *digits = at + 1;
        size_t count = 0;
        while ((_sch_istable[(unsigned char)digits[count]] & LETTER_OR_DIGIT) != 0)
            count++;
        if ((at[-1] == 'F' || at[-1] == 'D') && count > BINDER_DIGITS_MAX && digits[count] == '_')
            return true;
    }
    return false;
}

/* Writes full->text. Rust comes first: its older names are C++ names with a hash at the end. */
static bool demangle_fully(const char *mangled, struct full *full, bool *ret_is_rust)
{
    volatile bool is_rust = false;
    bool done;
    full->length = 0;
    if (setjmp(full->enough) == 0) {
        is_rust = true;
        done = !rust_takes_too_much(mangled) &&
               rust_demangle_callback(mangled, DMGL_NO_OPTS, append, full) != 0;
        if (!done) {
            is_rust = false;
            full->length = 0;
            /* The limit is on the length: 1 KiB, which templates exceed. Ours is longer, because we
             * know the stack. */
            done = !cxx_takes_too_much(mangled) &&
                   cplus_demangle_v3_callback(mangled, DMGL_NO_RECURSE_LIMIT, append, full) != 0;
        }
    } else {
        done = true;
    }
    full->text[full->length] = 0;
    *ret_is_rust = is_rust;
    return done && full->length > 0;
}

/* The short form of a C++ name, as it grows. */
struct shortened {
    char *text;
    size_t length, size;
    bool is_cut;
};

static void put(struct shortened *name, const char *text, size_t length)
{
    size_t room = name->size - 1 - name->length;
    if (length > room)
        name->is_cut = true;
    memcpy(name->text + name->length, text, ht_min(length, room));
    name->length += ht_min(length, room);
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const struct shortened *name, const char *suffix)
{
    size_t length = strlen(suffix);
    return name->length >= length &&
           memcmp(name->text + name->length - length, suffix, length) == 0;
}

static bool is_identifier(char c)
{
    unsigned classes = _sch_istable[(unsigned char)c];
    return (classes & (HT_LETTER_IDENTIFIER | HT_LETTER_DIGIT)) != 0 || c == '$';
}

/* The length of "operator" with its symbol, if the text at `at` is that and the symbol has brackets
 * in it; else 0. */
static size_t operator_length(const char *begin, const char *at)
{
    static const char *const symbols[] = {
        "<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "()", "[]", "<", ">"};
    static const char word[] = "operator";
    if (*at != 'o' || !starts_with(at, word) || (at > begin && is_identifier(at[-1])))
        return 0;
    for (size_t i = 0; i < HT_ARRAY_SIZE(symbols); i++)
        if (starts_with(at + sizeof(word) - 1, symbols[i]))
            return sizeof(word) - 1 + strlen(symbols[i]);
    return 0;
}

/* Past the parenthesis that closes the one at `at`. What is inside need not be understood:
 * parentheses are always in pairs, also those of operator(). */
static const char *after_parentheses(const char *at)
{
    int depth = 0;
    for (; *at != 0; at++) {
        if (*at == '(')
            depth++;
        else if (*at == ')' && --depth == 0)
            return at + 1;
    }
    return at;
}

/* Past the bracket that closes the one at `at`. Comparisons in template arguments are in
 * parentheses. */
static const char *after_angles(const char *at)
{
    const char *begin = at;
    int depth = 0;
    while (*at != 0) {
        size_t length = operator_length(begin, at);
        if (length > 0) {
            at += length;
            continue;
        }
        if (*at == '(') {
            at = after_parentheses(at);
            continue;
        }
        if (*at == '<')
            depth++;
        else if (*at == '>' && --depth == 0)
            return at + 1;
        at++;
    }
    return at;
}

/* "f() const::{lambda()#1}": what follows the parameters and belongs to them. */
static const char *after_qualifiers(const char *at)
{
    static const char *const qualifiers[] = {" const", " volatile", " &&", " &"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(qualifiers);) {
        size_t length = strlen(qualifiers[i]);
        if (starts_with(at, qualifiers[i]) && !is_identifier(at[length])) {
            at += length;
            i = 0;
        } else {
            i++;
        }
    }
    return at;
}

static void trim(struct shortened *name)
{
    while (name->length > 0 && name->text[name->length - 1] == ' ')
        name->length--;
}

static void shorten(const char *full, struct shortened *name)
{
    static const char anonymous[] = "(anonymous namespace)";
    const char *at = full;
    while (*at != 0 && !name->is_cut) {
        size_t length = operator_length(full, at);
        if (length == 0 && starts_with(at, anonymous))
            length = sizeof(anonymous) - 1;
        if (length > 0) {
            put(name, at, length);
            at += length;
        } else if (*at == '<') {
            at = after_angles(at);
            trim(name); /* "operator< <int>" */
        } else if (*at == '(') {
            at = after_qualifiers(after_parentheses(at));
            if (ends_with(name, "{lambda"))
                put(name, "()", 2);
        } else {
            put(name, at++, 1);
        }
    }
    trim(name);
}

static void finish(struct shortened *name)
{
    if (name->is_cut && name->size > 4)
        memcpy(name->text + name->size - 4, "...", 3);
    name->text[name->length] = 0;
}

void ht_demangle_shorten(const char *full, char *ret_name, size_t size)
{
    struct shortened name = {.text = ret_name, .size = size};
    shorten(full, &name);
    finish(&name);
}

bool ht_demangle(const char *mangled, char *ret_name, size_t size)
{
    struct shortened name = {.text = ret_name, .size = size};
    size_t length = strnlen(mangled, HT_DEMANGLE_MAX + 1);
    bool is_mangled = length <= HT_DEMANGLE_MAX && (mangled[0] == '_' && mangled[1] != 0);
    if (is_mangled) {
        struct full full;
        bool is_rust;
        is_mangled = demangle_fully(mangled, &full, &is_rust);
        if (is_mangled && is_rust)
            put(&name, full.text, full.length);
        else if (is_mangled)
            shorten(full.text, &name);
    }
    if (name.length == 0) {
        is_mangled = false;
        put(&name, mangled, strlen(mangled));
    }
    finish(&name);
    return is_mangled;
}
