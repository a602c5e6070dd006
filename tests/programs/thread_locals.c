/* thread_locals.c: more thread-local variables than a small thread's stack holds. Asks for a
 * profile by SIGUSR1. */
#include "truth.h"

#include <signal.h>

static __thread char many[300000];

int main(void)
{
    keep(many);
    keep(malloc(1000));
    raise(SIGUSR1);
    usleep(300000);
    return 0;
}
