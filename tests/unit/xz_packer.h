/* xz_packer.h: packs bytes by the liblzma of this machine, as xz does. */
#ifndef HT_TESTS_XZ_PACKER_H
#define HT_TESTS_XZ_PACKER_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

/* The size of what is packed, or 0 where there is no liblzma. The caller frees it. */
static inline size_t xz_pack(const void *bytes, size_t size, void **ret_packed)
{
    int (*encode)(uint32_t preset, int check, const void *allocator, const uint8_t *in,
                  size_t in_size, uint8_t *out, size_t *out_used, size_t out_size);
    void *library = dlopen("liblzma.so.5", RTLD_NOW | RTLD_LOCAL);
    size_t room = size + size / 2 + 1024, used = 0;
    *(void **)&encode = library != NULL ? dlsym(library, "lzma_easy_buffer_encode") : NULL;
    *ret_packed = malloc(room);
    if (encode == NULL || encode(6, 1, NULL, bytes, size, *ret_packed, &used, room) != 0)
        return 0;
    return used;
}

#endif
