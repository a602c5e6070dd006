/* operators.c: C++ operator new and delete.
 *
 * libstdc++'s and libc++'s operators call malloc and free, which are hooked: then these only pass
 * through. An allocator that brings its own operators (jemalloc, mimalloc, tcmalloc) does not
 * always, and is counted here. new_handler, bad_alloc and the nothrow forms are the real
 * operator's: it is called, not imitated, and an exception passes through our frame. Deletes always
 * look, since looking twice does no harm.
 *
 * In a C program whose plugin brings the C++ library along there is no next operator in the global
 * scope: then it is looked for from the caller's object. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/next.h"
#include "sample/hot.h"
#include "sample/record.h"

/* Weak: a program with operators of its own, linked with the archive, keeps those and takes the
 * others from here. */
#define REPLACEABLE HT_EXPORT __attribute__((weak))

typedef size_t alignment;    /* std::align_val_t */
typedef const void *nothrow; /* const std::nothrow_t & */

/* name, parameters, arguments, size */
#define NEWS(X)                                                                                    \
    X(_Znwm, (size_t size), (size))                                                                \
    X(_Znam, (size_t size), (size))                                                                \
    X(_ZnwmRKSt9nothrow_t, (size_t size, nothrow tag), (size, tag))                                \
    X(_ZnamRKSt9nothrow_t, (size_t size, nothrow tag), (size, tag))                                \
    X(_ZnwmSt11align_val_t, (size_t size, alignment align), (size, align))                         \
    X(_ZnamSt11align_val_t, (size_t size, alignment align), (size, align))                         \
    X(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, alignment align, nothrow tag),             \
      (size, align, tag))                                                                          \
    X(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, alignment align, nothrow tag),             \
      (size, align, tag))

#define DELETES(X)                                                                                 \
    X(_ZdlPv, (void *block), (block))                                                              \
    X(_ZdaPv, (void *block), (block))                                                              \
    X(_ZdlPvm, (void *block, size_t size), (block, size))                                          \
    X(_ZdaPvm, (void *block, size_t size), (block, size))                                          \
    X(_ZdlPvRKSt9nothrow_t, (void *block, nothrow tag), (block, tag))                              \
    X(_ZdaPvRKSt9nothrow_t, (void *block, nothrow tag), (block, tag))                              \
    X(_ZdlPvSt11align_val_t, (void *block, alignment align), (block, align))                       \
    X(_ZdaPvSt11align_val_t, (void *block, alignment align), (block, align))                       \
    X(_ZdlPvmSt11align_val_t, (void *block, size_t size, alignment align), (block, size, align))   \
    X(_ZdaPvmSt11align_val_t, (void *block, size_t size, alignment align), (block, size, align))   \
    X(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *block, alignment align, nothrow tag),            \
      (block, align, tag))                                                                         \
    X(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *block, alignment align, nothrow tag),            \
      (block, align, tag))

/* ---- finding them ---- */

static void *own_object(void)
{
    Dl_info info;
    return dladdr(&ht_next, &info) != 0 ? info.dli_fbase : NULL;
}

/* The operator that the caller's object would have found without us: its own dependencies are
 * searched. The C++ library is pinned, so that the pointer stays good when the plugin that brought
 * it goes. */
static void *find_from(const char *name, const void *caller)
{
    Dl_info info;
    void *symbol = NULL;
    if (dladdr(caller, &info) == 0)
        return NULL;
    void *object = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (object == NULL)
        return NULL;
    symbol = dlsym(object, name);
    if (symbol != NULL && dladdr(symbol, &info) != 0) {
        if (info.dli_fbase == own_object())
            symbol = NULL; /* the program exports ours: there is no other */
        else
            dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
    dlclose(object);
    return symbol;
}

static void *find_operator(const char *name, const void *caller)
{
    int saved = errno;
    struct ht_record_pause pause = ht_record_pause();
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL)
        symbol = find_from(name, caller);
    ht_record_resume(pause);
    errno = saved;
    return symbol;
}

/* ---- new ---- */

/* Without a C++ library there is nobody to throw. */
static void *new_without_library(size_t size)
{
    void *block = malloc(size);
    if (block == NULL)
        abort();
    return block;
}

static void count_afterwards(const void *block, size_t size, const struct ht_frame *caller)
{
    if (!ht_hot_alloc(size))
        return;
    ht_interval_id interval = ht_record_begin(size);
    if (interval != 0 && block != NULL)
        ht_record_block(block, size, interval, caller);
}

/* The first call tells who counts: if the real operator comes back to a hook (libstdc++'s calls
 * malloc; jemalloc's aligned ones call aligned_alloc), the hook has counted it; if it does not,
 * this one does from now on. Nothing is settled by a call that throws, or of no size. One that does
 * not may still do so after a new_handler: jemalloc's next try is malloc(), and the block has been
 * recorded when it comes here. */
#define DEFINE_NEW(name, parameters, arguments)                                                    \
    REPLACEABLE void *name parameters;                                                             \
    static void *first_##name parameters;                                                          \
    static void *(*next_##name)parameters = first_##name;                                          \
    static bool counts_##name;                                                                     \
                                                                                                   \
    HT_IN_STACKS static void *first_##name parameters                                              \
    {                                                                                              \
        struct ht_frame caller = HT_ARCH_CALLER_FRAME();                                           \
        void *symbol = find_operator(#name, (void *)caller.pc);                                    \
        void *(*found)parameters;                                                                  \
        if (symbol == NULL)                                                                        \
            return new_without_library(size);                                                      \
        memcpy(&found, &symbol, sizeof(found));                                                    \
        struct ht_hot_mark mark = ht_hot_mark();                                                   \
        void *block = found arguments;                                                             \
        if (size != 0) {                                                                           \
            counts_##name = !ht_hot_has_moved(mark);                                               \
            next_##name = found;                                                                   \
        }                                                                                          \
        if (counts_##name)                                                                         \
            count_afterwards(block, size, &caller);                                                \
        return block;                                                                              \
    }                                                                                              \
                                                                                                   \
    HT_IN_STACKS static void *slow_##name parameters                                               \
    {                                                                                              \
        struct ht_frame caller = HT_ARCH_CALLER_FRAME();                                           \
        ht_interval_id interval = ht_record_begin(size);                                           \
        ht_thread.last_block = 0;                                                                  \
        void *block = next_##name arguments;                                                       \
        if (interval != 0 && block != NULL && ht_thread.last_block != (uintptr_t)block)            \
            ht_record_block(block, size, interval, &caller);                                       \
        return block;                                                                              \
    }                                                                                              \
                                                                                                   \
    void *name parameters                                                                          \
    {                                                                                              \
        if (HT_UNLIKELY(counts_##name) && HT_UNLIKELY(ht_hot_alloc(size)))                         \
            return slow_##name arguments;                                                          \
        return next_##name arguments;                                                              \
    }

NEWS(DEFINE_NEW)

/* ---- delete ---- */

/* In a C++ program without a C++ library, as with new, free() it is. */
#define DEFINE_DELETE(name, parameters, arguments)                                                 \
    REPLACEABLE void name parameters;                                                              \
    static void first_##name parameters;                                                           \
    static void(*next_##name) parameters = first_##name;                                           \
                                                                                                   \
    HT_COLD static bool find_##name(const void *caller)                                            \
    {                                                                                              \
        void *symbol = find_operator(#name, caller);                                               \
        if (symbol != NULL)                                                                        \
            memcpy(&next_##name, &symbol, sizeof(symbol));                                         \
        return symbol != NULL;                                                                     \
    }                                                                                              \
                                                                                                   \
    HT_COLD static void first_##name parameters                                                    \
    {                                                                                              \
        if (find_##name(__builtin_return_address(0)))                                              \
            next_##name arguments;                                                                 \
        else                                                                                       \
            free(block);                                                                           \
    }                                                                                              \
                                                                                                   \
    HT_COLD static void slow_##name parameters                                                     \
    {                                                                                              \
        ht_record_free(block);                                                                     \
        if (next_##name != first_##name || find_##name(__builtin_return_address(0)))               \
            next_##name arguments;                                                                 \
        else                                                                                       \
            free(block);                                                                           \
    }                                                                                              \
                                                                                                   \
    void name parameters                                                                           \
    {                                                                                              \
        if (HT_UNLIKELY(ht_hot_is_live(block))) {                                                  \
            slow_##name arguments;                                                                 \
            return;                                                                                \
        }                                                                                          \
        next_##name arguments;                                                                     \
    }

DELETES(DEFINE_DELETE)
