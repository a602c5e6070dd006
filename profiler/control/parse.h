/* parse.h: numbers, sizes, times and signals as people write them.
 *
 * For the settings, the API and the command. The parsers return 0, or -EINVAL and leave the result
 * alone. They use no locale and may be called before the C library is set up. */
#ifndef HT_CONTROL_PARSE_H
#define HT_CONTROL_PARSE_H

#include "sys/compiler.h"

#define HT_SIGNAL_NAME_SIZE 16

int ht_parse_number(const char *text, uint64_t *ret_number);
/* "512K", "1M", "4096", "2GiB" */
int ht_parse_size(const char *text, uint64_t *ret_bytes);
/* The same, or "auto": HT_PARSE_AUTO. */
int ht_parse_interval(const char *text, uint64_t *ret_bytes);
#define HT_PARSE_AUTO (UINT64_MAX - 1) /* not -1, which is what a mistake gives */
/* "1", "0.5", "2.25%" of a hundred, as parts per million; at most four digits after the point. */
int ht_parse_percent(const char *text, uint64_t *ret_ppm);
/* "10s", "200ms", "5m", "1h", "0" */
int ht_parse_duration(const char *text, int64_t *ret_nanos);
/* "USR1", "SIGUSR1", "RTMIN+3", "10", "none"; 0 for none. Not a signal that cannot ask for a
 * profile. */
int ht_parse_signal(const char *text, int *ret_signal);
/* "USR1", "RTMIN+3" or "none". */
void ht_signal_name(int signal, char ret_name[HT_SIGNAL_NAME_SIZE]);

#endif
