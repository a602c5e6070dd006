/* retune.h: another interval, asked for by `heaptap interval`.
 *
 * The tool writes the interval, as HEAPTAP_INTERVAL has it, in a line of the file in which it awaits
 * the answer (request.h), and asks. The answer is the line of status.h. */
#ifndef HT_CONTROL_RETUNE_H
#define HT_CONTROL_RETUNE_H

#include "sys/compiler.h"

/* Does what the file of that nonce says. Context: collector. */
void ht_retune(uint32_t nonce);

/* What was wrong with the last request: an errno value, 0: nothing. */
int ht_retune_error(void);

#endif
