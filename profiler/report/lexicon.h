/* lexicon.h: the names that were found, for the rest of the process's life.
 *
 * A profile is written again and again, mostly of code that earlier ones had: its names are here,
 * and no file is opened. And a name that was found stays when the library is unloaded, its file
 * deleted or replaced.
 *
 * An address is known by its module and its place in the module's file, never by where it is in
 * memory: whoever loads, unloads or moves something changes nothing here, and the same address of
 * another module is another entry. A module is its build id, its path and its segment; a file
 * without a build id also its inode and the time of its last change, because it may be replaced by
 * another of the same size.
 *
 * It takes 12 to 24 bytes an address, 24 to 32 a function and the text of its names, at most an
 * eighth of what tables may have (arena.h); past that, and when memory is short, what is new is not
 * kept and is looked up again for each profile.
 *
 * One thread at a time uses it, the one that writes a profile. Changes are made under a lock, rank
 * HT_RANK_LEXICON, which a fork takes: the child of a process that is writing a profile has a whole
 * lexicon. */
#ifndef HT_REPORT_LEXICON_H
#define HT_REPORT_LEXICON_H

#include "report/elf.h"
#include "sys/os.h"

#define HT_LEXICON_SHARE 8u

/* A function, from 1 on; or one of these. */
#define HT_LEXICON_UNKNOWN   0u         /* nothing is known of the address */
#define HT_LEXICON_NOTHING   UINT32_MAX /* no symbol was found; see ht_lexicon_tried() */
#define HT_LEXICON_FUNCTIONS (UINT32_C(1) << 20)

/* Before a profile: no function has a number yet. `address_count` will be asked for. */
void ht_lexicon_begin(uint32_t address_count);

/* The module, from 1 on; 0 when it cannot be kept, and that is a module of which nothing is known.
 */
uint32_t ht_lexicon_module(const char *path, const struct ht_elf_identity *identity);
/* The state of the module's file, or of its absence, when addresses were looked for last: while it is
 * the same, those for which nothing was found are not looked for again. NULL for module 0. */
struct ht_os_file *ht_lexicon_tried(uint32_t module);

uint32_t ht_lexicon_find(uint32_t module, uint64_t address);
/* Remembers what was found; `found` is a function or HT_LEXICON_NOTHING. */
void ht_lexicon_set(uint32_t module, uint64_t address, uint32_t found);

/* The function of the module that starts there and has this name; 0 when it cannot be kept. */
uint32_t ht_lexicon_function(uint32_t module, uint64_t start, const char *name,
                             const char *system_name);
/* They stay where they are for ever. */
const char *ht_lexicon_name(uint32_t function);
const char *ht_lexicon_system_name(uint32_t function);
/* Its number in the profile that is being written; 0: none yet. */
uint32_t *ht_lexicon_number(uint32_t function);

/* Bytes of the arena that it has. */
size_t ht_lexicon_size(void);
/* For tests: as in a process that has just begun. */
void ht_lexicon_forget(void);

/* Around a fork, in rank order (control/fork.c). */
void ht_lexicon_fork_prepare(void);
void ht_lexicon_fork_parent(void);
void ht_lexicon_fork_child(void);

#endif
