/* names.h: what a profile is called. */
#ifndef HT_CONTROL_NAMES_H
#define HT_CONTROL_NAMES_H

#include "sys/compiler.h"

/* Remembers the pattern (HEAPTAP_OUTPUT), the program's name and the directory it was started in: a
 * daemon that goes to / still writes where it was told to. Context: start. */
void ht_names_start(const char *pattern);

/* The profile's absolute path: %e program, %p pid, %n number, %t seconds since 1970, %h host, %%
 * percent. From `attempt` 1 on, another one, where the name was taken: "-2" before the ending, if
 * the pattern has no %n. -ENAMETOOLONG. */
int ht_names_profile(uint64_t number, unsigned attempt, char *ret_path, size_t size);
/* Whether another number gives another name. */
bool ht_names_have_number(void);

/* From a profile's name to that of the lifetimes beside it: "x.pb.gz" becomes "x.lifetimes.pb.gz",
 * "x" becomes "x.lifetimes". -ENAMETOOLONG. */
int ht_names_lifetimes(char *path, size_t size);

/* A name in the same directory for the file while it is being written. */
int ht_names_temporary(const char *path, uint64_t number, char *ret_path, size_t size);

#endif
