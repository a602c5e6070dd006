/* message.h: the few words the library may say, one line each, on standard error.
 *
 * Standard error is what descriptor 2 was when the program started: if the program has put a file
 * of its own there since, nothing is said. */
#ifndef HT_SYS_MESSAGE_H
#define HT_SYS_MESSAGE_H

#include "sys/compiler.h"

void ht_message_start(bool verbose);
bool ht_message_is_verbose(void);

/* The calling thread has a descriptor table of its own: its words go to the program's standard
 * error all the same. */
void ht_message_speak_for_program(bool has_own_descriptors);

/* Something the user has to know: a setting refused, a profile that could not be written. */
void ht_message_warn(const char *format, ...) HT_PRINTF(1, 2);
/* Only with HEAPTAP_VERBOSE=1. */
void ht_message_tell(const char *format, ...) HT_PRINTF(1, 2);

#endif
