#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "sys/os.h"

static char path[64];

static void new_path(void)
{
    snprintf(path, sizeof(path), "/tmp/heaptap-test-os.%d", (int)getpid());
    unlink(path);
}

TEST(os_errors_are_results_and_errno_is_left_alone)
{
    errno = 77;
    CHECK_EQ(ht_os_open_read("/no/such/file"), -ENOENT);
    CHECK_EQ(ht_os_unlink("/no/such/file"), -ENOENT);
    CHECK_EQ(errno, 77);
}

TEST(os_creates_only_what_is_not_there)
{
    new_path();
    int fd = ht_os_create(path, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(ht_os_write_all(fd, "hello", 5), 0);
    ht_os_close(fd);
    CHECK_EQ(ht_os_create(path, 0600), -EEXIST);
    char text[8] = "";
    fd = ht_os_open_read(path);
    CHECK_EQ(ht_os_read_at(fd, text, sizeof(text), 1), 4);
    CHECK_STR_EQ(text, "ello");
    ht_os_close(fd);
    unlink(path);
}

TEST(os_rename_new_never_replaces)
{
    char other[80];
    new_path();
    snprintf(other, sizeof(other), "%s.2", path);
    ht_os_close(ht_os_create(path, 0600));
    ht_os_close(ht_os_create(other, 0600));
    CHECK_EQ(ht_os_rename_new(path, other), -EEXIST);
    CHECK_EQ(ht_os_unlink(other), 0);
    CHECK_EQ(ht_os_rename_new(path, other), 0);
    CHECK_EQ(access(path, F_OK), -1);
    CHECK_EQ(ht_os_unlink(other), 0);
}

TEST(os_file_size_limit_is_an_error_not_a_signal)
{
    struct rlimit old, small;
    new_path();
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){100, old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    int fd = ht_os_create(path, 0600);
    static char data[1000];
    int r = ht_os_write_all(fd, data, sizeof(data));
    setrlimit(RLIMIT_FSIZE, &old);
    ht_os_close(fd);
    unlink(path);
    CHECK_EQ(r, -EFBIG);
    sigset_t pending;
    sigpending(&pending);
    CHECK_EQ(sigismember(&pending, SIGXFSZ), 0);
}

TEST(os_knows_what_can_be_read)
{
    long page = 4096;
    char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(ht_os_readable((uintptr_t)memory));
    mprotect(memory + page, page, PROT_NONE);
    CHECK(ht_os_readable((uintptr_t)memory + page - 8));
    CHECK(!ht_os_readable((uintptr_t)memory + page));
    munmap(memory, 2 * page);
    CHECK(!ht_os_readable((uintptr_t)memory));
    CHECK(!ht_os_readable(0xa000000000000000));
}

static intptr_t where(void *argument)
{
    *(char **)argument = __builtin_frame_address(0);
    return 42;
}

TEST(os_calls_on_another_stack)
{
    static char stack[65536];
    char *here = NULL;
    CHECK_EQ(ht_os_call_on_stack(where, &here, stack + sizeof(stack)), 42);
#if !defined(__SANITIZE_ADDRESS__)
    CHECK(here > stack && here < stack + sizeof(stack));
#endif
}

TEST(os_clocks_and_random)
{
    uint64_t a = 0, b = 0;
    CHECK(ht_os_random(&a, sizeof(a)) && ht_os_random(&b, sizeof(b)));
    CHECK(a != b);
    int64_t before = ht_os_steady_nanos();
    CHECK(ht_os_steady_nanos() >= before);
    CHECK_EQ(ht_os_wall_nanos() / 1000000000 / 10, time(NULL) / 10);
}
