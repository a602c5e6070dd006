/* poison.h: included last in every source of the profiler but hooks/. The profiler runs inside
 * malloc, so it never calls it: memory comes from arena.h, descriptors from os.h. */
#ifndef HT_SYS_POISON_H
#define HT_SYS_POISON_H

#pragma GCC poison malloc calloc realloc free strdup strndup asprintf vasprintf getline fopen fdopen
#pragma GCC poison posix_memalign aligned_alloc printf fprintf sprintf perror setenv putenv

#endif
