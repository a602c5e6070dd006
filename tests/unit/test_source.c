#include "report/source.h"

#include <errno.h>
#include <sys/mman.h>

#include "test.h"

TEST(source_of_a_file)
{
    struct ht_source source;
    char got[8];
    CHECK_EQ(ht_source_open_file("/nonexistent", &source), -ENOENT);
    CHECK_EQ(ht_source_open_file("/proc/self/exe", &source), 0);
    CHECK_EQ(ht_source_read(&source, got, 4, 0), 0);
    CHECK(memcmp(got, "\177ELF", 4) == 0);
    CHECK_EQ(ht_source_read(&source, got, 4, UINT64_C(1) << 40), -ENOEXEC);
    CHECK_EQ(ht_source_read(&source, got, 4, INT64_MAX), -ENOEXEC);
    CHECK_EQ(ht_source_read(&source, got, 4, UINT64_MAX), -ENOEXEC);
    ht_source_close(&source);
    CHECK_EQ(ht_source_read(&source, got, 4, 0), -ENOEXEC);
}

TEST(source_of_a_buffer)
{
    static const char text[] = "0123456789";
    struct ht_source source = ht_source_of_buffer(text, 10);
    char got[16] = "";
    CHECK_EQ(ht_source_read(&source, got, 4, 6), 0);
    CHECK_STR_EQ(got, "6789");
    CHECK_EQ(ht_source_read(&source, got, 4, 7), -ENOEXEC);
    CHECK_EQ(ht_source_read_some(&source, got, 16, 7), 3);
    CHECK_EQ(ht_source_read_some(&source, got, 16, 10), 0);
    CHECK_EQ(ht_source_read_some(&source, got, 16, UINT64_MAX), 0);
    ht_source_close(&source);
}

/* Of memory that goes there is an error, and no fault. */
TEST(source_of_memory)
{
    struct ht_source source;
    char got[16],
        *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    strcpy(pages + 4090, "across pages");
    CHECK_EQ(ht_source_open_memory((uintptr_t)pages, (uintptr_t)pages + 8192, &source), 0);
    CHECK_EQ(ht_source_read(&source, got, 13, 4090), 0);
    CHECK_STR_EQ(got, "across pages");
    CHECK_EQ(ht_source_read(&source, got, 16, 8180), -ENOEXEC);
    CHECK_EQ(munmap(pages + 4096, 4096), 0);
    CHECK(ht_source_read(&source, got, 13, 4090) < 0);
    CHECK(ht_source_read(&source, got, 4, 5000) < 0);
    CHECK_EQ(ht_source_read(&source, got, 6, 4090), 0);
    CHECK_EQ(munmap(pages, 4096), 0);
    CHECK(ht_source_read(&source, got, 6, 4090) < 0);
    ht_source_close(&source);
    CHECK_EQ(ht_source_open_memory(4096, 4096, &source), -EFAULT);
    CHECK_EQ(ht_source_open_memory(4096, UINTPTR_MAX, &source), -EFAULT);
}
