/* static_hello.c: linked statically: nothing can be preloaded into it. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    free(malloc(1000));
    puts("hello from a static program");
    return 5;
}
