#include "report/loaded.h"

#include <dlfcn.h>
#include <sys/wait.h>

#include "test.h"

#define MODULES 64

struct module {
    uintptr_t bias;
    const void *headers; /* the first bytes of the table of program headers */
    size_t count;
    char name[256];
};

struct list {
    struct module items[MODULES];
    size_t count;
};

static struct list with_lock, without_lock;

static void take(const struct dl_phdr_info *info, void *list_)
{
    struct list *list = list_;
    struct module *module = &list->items[list->count++ % MODULES];
    module->bias = info->dlpi_addr;
    module->headers = info->dlpi_phdr;
    module->count = info->dlpi_phnum;
    snprintf(module->name, sizeof(module->name), "%s", info->dlpi_name);
}

static bool has(const struct list *list, const struct module *wanted)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct module *module = &list->items[i];
        if (module->bias == wanted->bias && module->headers == wanted->headers &&
            module->count == wanted->count &&
            (strcmp(module->name, wanted->name) == 0 || strstr(wanted->name, "vdso") != NULL))
            return true;
    }
    return false;
}

/* The loader's list and the one that is made without it. */
static int compare_in_child(void)
{
    ht_loaded_fork_child();
    if (ht_loaded_each(take, &without_lock) != 0)
        return 1;
    if (without_lock.count != with_lock.count || without_lock.count < 3)
        return 2;
    if (!has(&(struct list){.items[0] = with_lock.items[0], .count = 1}, &without_lock.items[0]))
        return 3; /* the main program is the first */
    for (size_t i = 0; i < with_lock.count; i++)
        if (!has(&without_lock, &with_lock.items[i]))
            return 4;
    return 0;
}

static int hang_or_not(struct dl_phdr_info *info, size_t size, void *ret_child)
{
    (void)info, (void)size;
    *(pid_t *)ret_child = fork(); /* the child has the loader's lock */
    return 1;
}

static int status_of(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(loaded_is_the_same_in_a_child)
{
    CHECK_EQ(ht_loaded_each(take, &with_lock), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(compare_in_child());
    CHECK_EQ(status_of(pid), 0);
}

static void *ask_in_thread(void *unused)
{
    (void)unused;
    alarm(10);
    _exit(compare_in_child());
    return NULL;
}

/* Another thread than the one that has the lock asks, as the collector of a child does. */
TEST(loaded_does_not_wait_in_a_child)
{
    pid_t pid = -1;
    pthread_t thread;
    with_lock.count = 0;
    CHECK_EQ(ht_loaded_each(take, &with_lock), 0);
    dl_iterate_phdr(hang_or_not, &pid);
    if (pid == 0) {
        pthread_create(&thread, NULL, ask_in_thread, NULL);
        pthread_join(thread, NULL);
    }
    CHECK_EQ(status_of(pid), 0);
}
