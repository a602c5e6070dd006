/* unwind_library.h: libunwind's generic library, as it is loaded, and our side of its accessors.
 *
 * It is opened by dlopen(RTLD_LOCAL): as a dependency of a preloaded object it would take over
 * _Unwind_RaiseException from libgcc. It is not thread-safe across fork, so everything here is
 * called under the learn lock (unwind_learn.c), but for opening. */
#ifndef HT_SAMPLE_UNWIND_LIBRARY_H
#define HT_SAMPLE_UNWIND_LIBRARY_H

#include <libunwind-x86_64.h>

#include "sys/arch.h"

/* Its functions that we use, under the names its package has had since 1.1. */
struct ht_unwind_library {
    typeof(unw_create_addr_space) *create_addr_space;
    typeof(unw_set_caching_policy) *set_caching_policy;
    typeof(unw_init_remote) *init_remote;
    typeof(unw_step) *step;
    typeof(unw_get_reg) *get_reg;
    typeof(unw_get_save_loc) *get_save_loc;
    int (*search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *,
                               int, void *);
    unw_addr_space_t space;
};

extern HT_HIDDEN struct ht_unwind_library ht_unwind_library;

#define HT_UNWIND_PAGES 8

/* Reads in one step. CFI may hold expressions with jumps, and so have no end; the library reads
 * them byte by byte, and gives up when it cannot read on. The most that g++ and clang took was
 * 2,165; these take 3 ms. */
#define HT_UNWIND_READS_MAX (1u << 16)

/* One question to the library; the argument that its accessors hand to ours. */
struct ht_unwind_request {
    const struct ht_registers *registers; /* NULL: symbols (unwind_symbols.h) */
    uintptr_t pc;                         /* of symbols */
    bool no_fde;                          /* set when a pc had no unwind information */
    uintptr_t module_start, module_size;  /* of which pages are kept; size 0: none */
    uintptr_t last_page;                  /* found readable, as are these; of stacks */
    uintptr_t known_page[HT_UNWIND_PAGES];
    unsigned reads; /* since the step began: its caller sets it to 0 */
};

/* After an unloading. The learn lock is held. */
void ht_unwind_library_forget_pages(void);

/* Opens the library and calls `try_it`, which must use it once. False, with a reason for the user,
 * when it cannot be had. The pipe that the library's init opens is closed again. Context: once, at
 * start; calls the loader. */
bool ht_unwind_library_open(bool (*try_it)(void), const char **ret_reason);

#endif
