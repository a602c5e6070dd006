#include "report/gzip.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <zlib.h>

#include "sys/arena.h"
#include "test.h"

#define DATA_SIZE ((size_t)3 * 1024 * 1024)

static uint8_t data[DATA_SIZE], back[DATA_SIZE + 1];

/* Half of it random, so that it does not all vanish in compression. */
static void fill_data(void)
{
    uint32_t seed = 7;
    for (size_t i = 0; i < DATA_SIZE; i++) {
        seed = seed * 1103515245 + 12345;
        data[i] = i / 1000 % 2 == 0 ? (uint8_t)(seed >> 16) : (uint8_t)i;
    }
}

static int write_all(int fd, size_t size, size_t piece, bool discard)
{
    struct ht_gzip *gzip;
    CHECK_EQ(ht_gzip_open(&gzip, fd), 0);
    for (size_t at = 0; at < size; at += piece)
        ht_gzip_write(gzip, data + at, ht_min(piece, size - at));
    return ht_gzip_close(gzip, discard);
}

static void check_file(int fd, size_t size)
{
    lseek(fd, 0, SEEK_SET);
    gzFile file = gzdopen(dup(fd), "rb");
    CHECK_EQ(gzread(file, back, sizeof(back)), size);
    CHECK_EQ(gzdirect(file), 0);
    CHECK_EQ(gzclose(file), Z_OK);
    CHECK(memcmp(data, back, size) == 0);
}

TEST(gzip_round_trip)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, DATA_SIZE};
    static const size_t pieces[] = {83, 65536, DATA_SIZE};
    fill_data();
    size_t before = ht_arena_used();
    for (size_t i = 0; i < HT_ARRAY_SIZE(sizes); i++) {
        for (size_t j = 0; j < HT_ARRAY_SIZE(pieces); j++) {
            int fd = memfd_create("gzip", MFD_CLOEXEC);
            CHECK_EQ(write_all(fd, sizes[i], pieces[j], false), 0);
            check_file(fd, sizes[i]);
            close(fd);
        }
    }
    CHECK_EQ(ht_arena_used(), before);
}

TEST(gzip_header_has_no_time)
{
    uint8_t header[10];
    int fd = memfd_create("gzip", MFD_CLOEXEC);
    CHECK_EQ(write_all(fd, 100, 100, false), 0);
    CHECK_EQ(pread(fd, header, sizeof(header), 0), sizeof(header));
    CHECK_EQ(header[0], 0x1f);
    CHECK_EQ(header[1], 0x8b);
    for (int i = 3; i < 8; i++)
        CHECK_EQ(header[i], 0); /* flags, time */
    close(fd);
}

TEST(gzip_errors_stick)
{
    fill_data();
    size_t before = ht_arena_used();
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(write_all(fd, DATA_SIZE, 1000, false), -ENOSPC);
    CHECK_EQ(write_all(fd, 10, 10, false), -ENOSPC);
    close(fd);
    CHECK_EQ(write_all(-1, 10, 10, false), -EBADF);
    CHECK_EQ(write_all(-1, 10, 10, true), 0);
    CHECK_EQ(ht_arena_used(), before);
}

TEST(gzip_without_memory)
{
    struct ht_gzip *gzip;
    ht_arena_fail_from(1);
    CHECK_EQ(ht_gzip_open(&gzip, -1), -ENOMEM);
    ht_arena_fail_from(0);
}
