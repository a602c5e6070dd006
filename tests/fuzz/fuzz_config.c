/* fuzz_config.c: values of settings, into control/config.c. The first byte chooses the setting, the
 * rest is the value.
 *
 * As a program it replays the files that it is given. As a fuzzer:
 *     clang -g -O1 -D_GNU_SOURCE -Iprofiler -fsanitize=fuzzer,address,undefined \
 *         -fno-sanitize-recover=all -o fuzz tests/fuzz/fuzz_config.c \
 *         profiler/control/{config,parse,names}.c profiler/sys/os.c
 *     ./fuzz tests/fuzz/corpus/config */
#include "control/config.h"

#include <string.h>

#include "control/names.h"
#include "control/parse.h"
#include "replay.h"

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

/* A value that is taken is within its bounds, and gives a name; one that is refused changes
 * nothing, and gets a sentence that names the setting. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ht_config config, before;
    char text[4096], error[HT_CONFIG_ERROR_SIZE] = "", path[512];
    if (size == 0)
        return 0;
    const struct ht_setting *setting = &ht_settings[data[0] % HT_SETTING_COUNT];
    size_t length = ht_min(size - 1, sizeof(text) - 1);
    memcpy(text, data + 1, length);
    text[length] = 0;

    ht_config_defaults(&config);
    before = config;
    int r = ht_config_set(&config, setting, text, error, sizeof(error));
    check(memchr(error, 0, sizeof(error)) != NULL);
    if (r < 0) {
        check(memcmp(&config, &before, sizeof(config)) == 0);
        check(strstr(error, setting->name) != NULL);
        return 0;
    }
    check(config.depth >= 1 && config.depth <= 1024);
    check(config.signal >= 0 && config.signal <= 64 && config.every_nanos >= 0);
    check(memchr(config.output, 0, sizeof(config.output)) != NULL);
    ht_names_start(config.output);
    for (unsigned attempt = 0; attempt < 3; attempt++) {
        if (ht_names_profile(UINT64_MAX, attempt, path, sizeof(path)) == 0)
            check(strlen(path) < sizeof(path));
    }
    return 0;
}
