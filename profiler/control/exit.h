/* exit.h: the profile of a program that ends (HEAPTAP_AT_EXIT, `heaptap run`).
 *
 * By return from main or exit(): from our destructor, after the program's atexit handlers and
 * destructors. By _exit() and _Exit(): these are hooked. By quick_exit(): after the program's
 * at_quick_exit handlers. A program killed by a signal, abort() and execve() leave none. */
#ifndef HT_CONTROL_EXIT_H
#define HT_CONTROL_EXIT_H

#include "sys/compiler.h"

/* Finds the functions that ours stand in front of: another library may have its own. Context:
 * start. */
void ht_exit_start(bool write_profile);

/* Whether a profile is to be written at the end. */
bool ht_exit_is_wanted(void);

#endif
