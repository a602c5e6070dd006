/* signals.h: the signal that has profiles written, while the program leaves it at its default.
 *
 * Where the program has the default, we are: sigaction(), signal() and its kin are hooked, so that
 * a program that asks for the handler of our signal is told SIG_DFL, and one that puts the default
 * (back) gets ours. Any other handler of the program's replaces ours, as without us. */
#ifndef HT_CONTROL_SIGNALS_H
#define HT_CONTROL_SIGNALS_H

#include "sys/compiler.h"

/* Takes the signal, if it is at its default; 0: none. Context: start. */
void ht_signals_start(int signal);

/* The signal that was taken; 0: none. */
int ht_signals_served(void);

/* Who has it now: "heaptap", or what the program does with it: "handled", "ignored", "default";
 * `signal` is the one that was to be taken, "none" when it is 0. */
const char *ht_signals_owner(int signal);

#endif
