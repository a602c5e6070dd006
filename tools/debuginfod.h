/* debuginfod.h: debug files from a server, by build id, with elfutils' libdebuginfod. */
#ifndef HT_TOOL_DEBUGINFOD_H
#define HT_TOOL_DEBUGINFOD_H

#include "sys/compiler.h"

/* Why no server can be asked, or NULL: the library is missing, or DEBUGINFOD_URLS names none. */
const char *debuginfod_obstacle(void);

/* Asks for a debug file. Its descriptor, and its path from malloc; -1 when there is none. May take
 * as long as DEBUGINFOD_TIMEOUT allows. */
int debuginfod_find(const uint8_t *build_id, size_t size, char **ret_path);

#endif
