#include "report/xz.h"

#include <errno.h>

#include "sys/arena.h"
#include "test.h"
#include "xz_packer.h"

static char bytes[300000];

static size_t pack(void **ret_packed)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * i >> 7);
    return xz_pack(bytes, sizeof(bytes), ret_packed);
}

TEST(xz_not_without_a_start)
{
    struct ht_source source = ht_source_of_buffer(bytes, sizeof(bytes));
    struct ht_xz xz;
    CHECK_EQ(ht_xz_unpack(&source, 0, sizeof(bytes), &xz), -ENOSYS);
    dlopen("liblzma.so.5", RTLD_NOW | RTLD_LOCAL);
    ht_xz_start();
}

TEST(xz_unpacks)
{
    void *packed;
    size_t size = pack(&packed), before = ht_arena_used();
    struct ht_source source = ht_source_of_buffer(packed, size);
    struct ht_xz xz;
    if (size == 0)
        return;
    CHECK_EQ(ht_xz_unpack(&source, 0, size, &xz), 0);
    CHECK_EQ(xz.size, sizeof(bytes));
    CHECK(memcmp(xz.bytes, bytes, sizeof(bytes)) == 0);
    ht_xz_free(&xz);
    CHECK_EQ(ht_arena_used(), before);
    CHECK_EQ(ht_xz_unpack(&source, 0, 0, &xz), -ENOEXEC);
    CHECK_EQ(ht_xz_unpack(&source, 1, size - 1, &xz), -ENOEXEC);
    CHECK_EQ(ht_xz_unpack(&source, 0, size + 1, &xz), -ENOEXEC);
    CHECK_EQ(ht_xz_unpack(&source, UINT64_MAX - 7, 16, &xz), -ENOEXEC);
    CHECK_EQ(ht_xz_unpack(&source, 0, UINT64_MAX, &xz), -ENOEXEC);
    CHECK_EQ(ht_arena_used(), before);
    free(packed);
}

TEST(xz_cut_or_damaged)
{
    void *packed;
    size_t size = pack(&packed), before = ht_arena_used();
    struct ht_xz xz;
    if (size == 0)
        return;
    for (size_t cut = 1; cut < size; cut += 1 + size / 300) {
        struct ht_source source = ht_source_of_buffer(packed, cut);
        CHECK_EQ(ht_xz_unpack(&source, 0, cut, &xz), -ENOEXEC);
    }
    struct ht_source source = ht_source_of_buffer(packed, size);
    uint64_t seed = 42;
    for (int round = 0; round < 300; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        char *at = (char *)packed + (seed >> 20) % size;
        *at ^= (char)(1 << (seed >> 60) % 8);
        CHECK(ht_xz_unpack(&source, 0, size, &xz) < 0);
        *at ^= (char)(1 << (seed >> 60) % 8);
    }
    CHECK_EQ(ht_arena_used(), before);
    free(packed);
}

/* A kilobyte may claim to be a gigabyte. */
TEST(xz_too_much)
{
    size_t size = HT_XZ_UNPACKED_MAX + 1, before = ht_arena_used();
    char *zeros = calloc(1, size);
    for (int over = 0; over < 2; over++) {
        void *packed;
        struct ht_xz xz;
        size_t used = xz_pack(zeros, HT_XZ_UNPACKED_MAX + (size_t)over, &packed);
        struct ht_source source = ht_source_of_buffer(packed, used);
        if (used == 0)
            return;
        int r = ht_xz_unpack(&source, 0, used, &xz);
        if (r == 0) {
            CHECK_EQ(xz.size, HT_XZ_UNPACKED_MAX);
            ht_xz_free(&xz);
        }
        CHECK_EQ(r, over ? -ENOEXEC : 0);
        free(packed);
    }
    CHECK_EQ(ht_arena_used(), before);
    free(zeros);
}

TEST(xz_without_memory)
{
    void *packed;
    size_t size = pack(&packed), before = ht_arena_used();
    struct ht_source source = ht_source_of_buffer(packed, size);
    struct ht_xz xz;
    if (size == 0)
        return;
    int r = -ENOMEM;
    for (unsigned n = 1; r != 0; n++) {
        ht_arena_fail_from(n);
        r = ht_xz_unpack(&source, 0, size, &xz);
        CHECK(r == 0 || r == -ENOMEM);
        CHECK(n < 100);
    }
    ht_arena_fail_from(0);
    ht_xz_free(&xz);
    CHECK_EQ(ht_arena_used(), before);
    free(packed);
}
