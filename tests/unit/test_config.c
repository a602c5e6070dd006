#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/config.h"

extern char **environ;

static char said[4096];

static void remember(const char *message)
{
    strcat(said, message);
    strcat(said, "\n");
}

static struct ht_config read_from(char **entries)
{
    struct ht_config config;
    char **saved = environ;
    environ = entries;
    said[0] = 0;
    ht_config_read(&config, remember);
    environ = saved;
    return config;
}

TEST(sizes)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"512K", 512 << 10},
        {"512k", 512 << 10},
        {"512KiB", 512 << 10},
        {"4M", 4 << 20},
        {"3G", 3ULL << 30},
        {"1T", 1ULL << 40},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
        uint64_t bytes = 77;
        CHECK_EQ(ht_parse_size(good[i].text, &bytes), 0);
        CHECK_EQ(bytes, good[i].bytes);
    }
    static const char *const bad[] = {"",    "K",         "12Q", "-1",
                                      "+1",  " 1",        "1 K", "1.5M",
                                      "0x1", "1KB",       "1KK", "18446744073709551616",
                                      "1e3", "16777216T", "K1"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
        uint64_t bytes = 77;
        CHECK_EQ(ht_parse_size(bad[i], &bytes), -EINVAL);
        CHECK_EQ(bytes, 77);
    }
}

TEST(intervals)
{
    uint64_t bytes = 77;
    CHECK_EQ(ht_parse_interval("auto", &bytes), 0);
    CHECK_EQ(bytes, HT_PARSE_AUTO);
    CHECK_EQ(ht_parse_interval("64K", &bytes), 0);
    CHECK_EQ(bytes, 65536);
    static const char *const bad[] = {"", "AUTO", "automatic", "a", "18446744073709551614"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
        CHECK_EQ(ht_parse_interval(bad[i], &bytes), -EINVAL);
        CHECK_EQ(bytes, 65536);
    }
}

TEST(percentages)
{
    static const struct {
        const char *text;
        uint64_t ppm;
    } good[] = {{"1", 10000}, {"0.5", 5000},    {"100", 1000000}, {"0.0001", 1},
                {"0", 0},     {"2.25%", 22500}, {"10%", 100000},  {"1.0000", 10000}};
    for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
        uint64_t ppm = 77;
        CHECK_EQ(ht_parse_percent(good[i].text, &ppm), 0);
        CHECK_EQ(ppm, good[i].ppm);
    }
    static const char *const bad[] = {"",    "%",   ".5",  "1.",  "-1",      "1 %",
                                      "1e2", "101", "1,5", "5%%", "0.00001", "1.5.5"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
        uint64_t ppm = 77;
        CHECK_EQ(ht_parse_percent(bad[i], &ppm), -EINVAL);
        CHECK_EQ(ppm, 77);
    }
}

TEST(durations)
{
    static const struct {
        const char *text;
        int64_t nanos;
    } good[] = {{"0", 0},
                {"10s", 10000000000},
                {"200ms", 200000000},
                {"5m", 300000000000},
                {"1h", 3600000000000}};
    for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
        int64_t nanos = 77;
        CHECK_EQ(ht_parse_duration(good[i].text, &nanos), 0);
        CHECK_EQ(nanos, good[i].nanos);
    }
    static const char *const bad[] = {"", "10", "s", "-1s", "1d", "1 s", "10sec", "9223372037s"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
        int64_t nanos;
        CHECK_EQ(ht_parse_duration(bad[i], &nanos), -EINVAL);
    }
}

TEST(signals)
{
    static const struct {
        const char *text;
        int signal;
    } good[] = {{"USR1", SIGUSR1}, {"SIGUSR2", SIGUSR2}, {"10", 10},      {"none", 0},
                {"0", 0},          {"SIGRTMIN", 34},     {"RTMIN+3", 37}, {"RTMAX-1", 63},
                {"64", 64},        {"IO", SIGIO}};
    for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
        int signal = 77;
        CHECK_EQ(ht_parse_signal(good[i].text, &signal), 0);
        CHECK_EQ(signal, good[i].signal);
    }
    static const char *const bad[] = {
        "",     "KILL", "9",          "STOP",     "SEGV",    "BUS",    "ILL",     "FPE",
        "TRAP", "ABRT", "CHLD",       "17",       "32",      "33",     "65",      "-1",
        "usr1", "SIG",  "SIGSIGUSR1", "RTMIN+31", "RTMIN-1", "RTMIN3", "RTMAX+1", "4294967306"};
    for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
        int signal = 77;
        CHECK_EQ(ht_parse_signal(bad[i], &signal), -EINVAL);
        CHECK_EQ(signal, 77);
    }
}

TEST(signal_names_lead_back)
{
    for (int signal = 0; signal <= 64; signal++) {
        char name[HT_SIGNAL_NAME_SIZE];
        int back;
        ht_signal_name(signal, name);
        if (ht_parse_signal(name, &back) == 0)
            CHECK_EQ(back, signal);
    }
}

TEST(defaults_are_those_of_the_design)
{
    struct ht_config config;
    ht_config_defaults(&config);
    CHECK_EQ(config.interval_bytes, 512 << 10);
    CHECK_EQ(config.memory_bytes, 64 << 20);
    CHECK_EQ(config.every_nanos, 0);
    CHECK_EQ(config.signal, SIGUSR1);
    CHECK_EQ(config.depth, 128);
    CHECK_EQ(config.keep, 0);
    CHECK(!config.at_exit && !config.follow && !config.verbose && !config.check_unwind);
    CHECK_STR_EQ(config.output, "heaptap.%e.%p.%n.pb.gz");
    CHECK_STR_EQ(config.report, "");
}

TEST(environment_is_read)
{
    char *entries[] = {"HOME=/root",
                       "HEAPTAP_INTERVAL=4K",
                       "HEAPTAP_OUTPUT=/tmp/%p%%",
                       "HEAPTAP_EVERY=200ms",
                       "HEAPTAP_SIGNAL=none",
                       "HEAPTAP_AT_EXIT=1",
                       "HEAPTAP_DEPTH=1024",
                       "HEAPTAP_MEMORY=4M",
                       "HEAPTAP_FOLLOW=1",
                       "HEAPTAP_VERBOSE=1",
                       "HEAPTAP_REPORT=/tmp/file",
                       "HEAPTAP_CHECK_UNWIND=1",
                       "HEAPTAP",
                       NULL};
    struct ht_config config = read_from(entries);
    CHECK_STR_EQ(said, "");
    CHECK_EQ(config.interval_bytes, 4096);
    CHECK_EQ(config.memory_bytes, 4 << 20);
    CHECK_EQ(config.every_nanos, 200000000);
    CHECK_EQ(config.signal, 0);
    CHECK_EQ(config.depth, 1024);
    CHECK(config.at_exit && config.follow && config.verbose && config.check_unwind);
    CHECK_STR_EQ(config.output, "/tmp/%p%%");
    CHECK_STR_EQ(config.report, "/tmp/file");
}

TEST(a_wrong_value_leaves_the_default)
{
    char *entries[] = {"HEAPTAP_INTERVAL=12Q", NULL};
    struct ht_config config = read_from(entries);
    CHECK_STR_EQ(said, "HEAPTAP_INTERVAL=12Q is refused: auto, or a size such as 512K, 4M or 1 "
                       "(every allocation), at most 1T, 0 to switch off; the default 512K stays\n");
    CHECK_EQ(config.interval_bytes, 512 << 10);
}

TEST(out_of_bounds_is_refused)
{
    static const char *const bad[][2] = {
        {"HEAPTAP_INTERVAL", "2T"},  {"HEAPTAP_EVERY", "9ms"},   {"HEAPTAP_EVERY", "8761h"},
        {"HEAPTAP_DEPTH", "0"},      {"HEAPTAP_DEPTH", "1025"},  {"HEAPTAP_DEPTH", "4294967297"},
        {"HEAPTAP_MEMORY", "4095K"}, {"HEAPTAP_AT_EXIT", "yes"}, {"HEAPTAP_FOLLOW", "10"},
        {"HEAPTAP_OUTPUT", "a%"},    {"HEAPTAP_OUTPUT", "%q"},   {"HEAPTAP_OUTPUT", "%%%"},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
        struct ht_config config, defaults;
        char error[HT_CONFIG_ERROR_SIZE] = "";
        memset(&config, 0, sizeof(config));
        memset(&defaults, 0, sizeof(defaults));
        ht_config_defaults(&config);
        ht_config_defaults(&defaults);
        errno = 99;
        CHECK_EQ(
            ht_config_set(&config, ht_setting_find(bad[i][0]), bad[i][1], error, sizeof(error)),
            -EINVAL);
        CHECK_EQ(errno, 99);
        CHECK(strncmp(error, bad[i][0], strlen(bad[i][0])) == 0);
        CHECK(strstr(error, "stays") != NULL);
        CHECK(memcmp(&config, &defaults, sizeof(config)) == 0);
    }
}

TEST(empty_text_is_the_default_and_the_first_entry_counts)
{
    char *entries[] = {"HEAPTAP_INTERVAL=", "HEAPTAP_DEPTH=7", "HEAPTAP_DEPTH=8",
                       "HEAPTAP_INTERVAL=1", NULL};
    struct ht_config config = read_from(entries);
    CHECK_STR_EQ(said, "");
    CHECK_EQ(config.interval_bytes, 512 << 10);
    CHECK_EQ(config.depth, 7);
}

TEST(unknown_names_are_refused_with_the_nearest)
{
    char *entries[] = {"HEAPTAP_INTERVALL=4K", NULL};
    read_from(entries);
    CHECK_STR_EQ(
        said, "HEAPTAP_INTERVALL is not a setting of heaptap; the nearest is HEAPTAP_INTERVAL\n");
    char *prefix_only[] = {"HEAPTAP_=1", NULL};
    read_from(prefix_only);
    CHECK(strncmp(said, "HEAPTAP_ is not a setting", 25) == 0);
}

TEST(a_refusal_is_one_bounded_line)
{
    static char entry[100000] = "HEAPTAP_OUTPUT=a\nb";
    memset(entry + 18, 'x', sizeof(entry) - 19);
    char *entries[] = {entry, NULL};
    struct ht_config config = read_from(entries);
    CHECK_STR_EQ(config.output, "heaptap.%e.%p.%n.pb.gz");
    CHECK(strncmp(said, "HEAPTAP_OUTPUT=a?bxxx", 20) == 0);
    CHECK(strstr(said, "stays\n") != NULL);
    CHECK(strlen(said) < HT_CONFIG_ERROR_SIZE);

    memcpy(entry, "HEAPTAP_QQQQQQ", 14);
    memset(entry + 14, 'Q', sizeof(entry) - 100);
    entry[sizeof(entry) - 50] = '=';
    read_from(entries);
    CHECK(strlen(said) < HT_CONFIG_ERROR_SIZE);
}

/* Before the C library is set up `environ` is NULL, and the kernel has to be asked. A program
 * started with a given environment sees the same values both ways. */
TEST(kernel_environment_gives_the_same)
{
    if (getenv("HEAPTAP_DEPTH"))
        return; /* we are the child below */
    char long_entry[3000];
    memset(long_entry, 'y', sizeof(long_entry) - 1);
    long_entry[sizeof(long_entry) - 1] = 0;
    char *entries[] = {
        long_entry, "HEAPTAP_DEPTH=77", long_entry, "HEAPTAP_OUTPUT=o.%p", "HEAPTAP_INTERVAL=3M",
        NULL};
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = {"test_config", "kernel", NULL};
        execve("/proc/self/exe", arguments, entries);
        _exit(99);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
}

__attribute__((constructor(200))) static void child_of_the_test_above(int count, char **arguments)
{
    if (count != 2 || strcmp(arguments[1], "kernel") != 0)
        return;
    struct ht_config by_libc, by_kernel;
    memset(&by_libc, 0, sizeof(by_libc));
    memset(&by_kernel, 0, sizeof(by_kernel));
    ht_config_read(&by_libc, remember);
    environ = NULL;
    ht_config_read(&by_kernel, remember);
    bool fine = said[0] == 0 && memcmp(&by_libc, &by_kernel, sizeof(by_libc)) == 0 &&
                by_kernel.depth == 77 && by_kernel.interval_bytes == 3 << 20 &&
                strcmp(by_kernel.output, "o.%p") == 0;
    _exit(fine ? 0 : 1);
}
