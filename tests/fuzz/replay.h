/* replay.h: the main function of a fuzz target that is built as a plain program: it replays the
 * files that it is given, and says one line for each. */
#ifndef HT_FUZZ_REPLAY_H
#define HT_FUZZ_REPLAY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef HT_FUZZ_REPLAY
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        static uint8_t data[1 << 20];
        if (file == NULL) {
            printf("FAILED %s: cannot be opened\n", argv[i]);
            return 1;
        }
        size_t size = fread(data, 1, sizeof(data), file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
        printf("ok %s\n", argv[i]);
    }
    return argc > 1 ? 0 : 1;
}
#endif

#endif
