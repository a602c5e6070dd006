/* waiting.c: a library whose constructor says that it runs, and waits, with the loader's lock, until
 * it may go on. BLOCKED_FDS names the two descriptors. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void wait_here(void)
{
    int say, listen;
    char byte = 'x';
    const char *text = getenv("BLOCKED_FDS");
    if (text == NULL || sscanf(text, "%d %d", &say, &listen) != 2)
        abort();
    if (write(say, &byte, 1) != 1 || read(listen, &byte, 1) != 1)
        abort();
}
