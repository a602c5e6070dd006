#include "sample/unwind_library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "sample/unwind_rules.h"
#include "sample/unwind_symbols.h"
#include "sys/os.h"

#include "sys/poison.h"

#define LIBRARY "libunwind-x86_64.so.8"

struct ht_unwind_library ht_unwind_library;

/* ---- the accessors ---- */

/* Pages of libraries that were found readable, for all questions: unwind tables lie there, and
 * asking the kernel about each again was a quarter of the time that a new pc takes. The learn lock
 * guards it; it is empty after an unloading (ht_unwind_library_forget_pages). */
#define PAGES_KEPT 256u

static uintptr_t kept_pages[PAGES_KEPT];

void ht_unwind_library_forget_pages(void)
{
    memset(kept_pages, 0, sizeof(kept_pages));
}

static bool is_kept(const struct ht_unwind_request *request, uintptr_t page)
{
    return page - request->module_start < request->module_size;
}

static bool page_is_readable(struct ht_unwind_request *request, uintptr_t page)
{
    if (HT_LIKELY(page == request->last_page))
        return true;
    uintptr_t *known = is_kept(request, page)
                           ? &kept_pages[page / HT_PAGE % PAGES_KEPT]
                           : &request->known_page[page / HT_PAGE % HT_UNWIND_PAGES];
    if (*known != page) {
        if (page == 0 || !ht_os_readable(page))
            return false;
        *known = page;
    }
    request->last_page = page;
    return true;
}

/* Memory that is no variable of ours: the program's stacks and unwind tables. */
__attribute__((no_sanitize("address"))) static bool read_memory(struct ht_unwind_request *request,
                                                                uintptr_t address, void *to,
                                                                size_t size)
{
    uintptr_t last = address + size - 1, page = ht_round_down(address, HT_PAGE);
    if (last < address || page == 0 || !page_is_readable(request, page))
        return false;
    if (HT_UNLIKELY(ht_round_down(last, HT_PAGE) != page) &&
        !page_is_readable(request, ht_round_down(last, HT_PAGE)))
        return false;
    if (size == sizeof(uint64_t)) {
        memcpy(to, (const void *)address, sizeof(uint64_t)); /* one load, no call */
        return true;
    }
    for (size_t i = 0; i < size; i++)
        ((volatile char *)to)[i] = ((const volatile char *)address)[i];
    return true;
}

static int access_mem(unw_addr_space_t as, unw_word_t address, unw_word_t *value, int write,
                      void *arg)
{
    (void)as;
    struct ht_unwind_request *request = arg;
    if (write || ++request->reads > HT_UNWIND_READS_MAX)
        return -UNW_EINVAL;
    if (request->registers == NULL && ht_symbol_load(address, value))
        return 0;
    return read_memory(request, address, value, sizeof(*value)) ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t reg, unw_word_t *value, int write,
                      void *arg)
{
    (void)as;
    struct ht_unwind_request *request = arg;
    if (write || reg < 0 || reg >= HT_REGS)
        return -UNW_EBADREG;
    if (request->registers != NULL)
        *value = request->registers->value[reg];
    else
        *value = reg == HT_REG_PC ? request->pc : ht_symbol_of_register((unsigned)reg);
    return 0;
}

static int access_fpreg(unw_addr_space_t as, unw_regnum_t reg, unw_fpreg_t *value, int write,
                        void *arg)
{
    (void)as, (void)reg, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int get_dyn_info_list_addr(unw_addr_space_t as, unw_word_t *address, void *arg)
{
    (void)as, (void)address, (void)arg;
    return -UNW_ENOINFO;
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *info, void *arg)
{
    (void)as, (void)info, (void)arg; /* the library takes its own back */
}

static int resume_never(unw_addr_space_t as, unw_cursor_t *cursor, void *arg)
{
    (void)as, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t as, unw_word_t pc, char *name, size_t size,
                         unw_word_t *offset, void *arg)
{
    (void)as, (void)pc, (void)name, (void)size, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

/* .eh_frame_hdr as every linker writes it (LSB core, 10.6.2): version 1; eh_frame_ptr pcrel sdata4;
 * fde_count udata4; a table of datarel sdata4 pairs, sorted by the pc where each FDE starts. */
struct table_entry {
    int32_t start, fde;
};

struct frame_header {
    uint8_t version, eh_frame_ptr_enc, fde_count_enc, table_enc;
    int32_t eh_frame_ptr;
    uint32_t fde_count;
    struct table_entry table[];
};

/* The address of the table's last entry that starts at or before the pc; 0 when there is none. */
static uintptr_t table_entry_of(struct ht_unwind_request *request, uintptr_t header_address,
                                uintptr_t pc)
{
    struct frame_header header;
    if (header_address == 0 || !read_memory(request, header_address, &header, sizeof(header)) ||
        header.version != 1 || header.fde_count_enc != 0x03 || header.table_enc != 0x3b ||
        (header.eh_frame_ptr_enc & 0x0f) != 0x0b)
        return 0;
    int64_t wanted = (int64_t)(pc - header_address);
    uintptr_t table = header_address + sizeof(header);
    uint32_t low = 0, high = header.fde_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int32_t start;
        if (!read_memory(request, table + middle * sizeof(struct table_entry), &start,
                         sizeof(start)))
            return 0;
        if (start <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : table + (low - 1) * sizeof(struct table_entry);
}

/* Gives the library a table of one entry, so that it need not search. */
static int find_proc_info(unw_addr_space_t as, unw_word_t pc, unw_proc_info_t *info, int need_info,
                          void *arg)
{
    struct ht_unwind_request *request = arg;
    struct dl_find_object module;
    int r = -UNW_ENOINFO;
    if (_dl_find_object((void *)pc, &module) == 0) {
        uintptr_t header = (uintptr_t)module.dlfo_eh_frame;
        /* With real registers, stacks are read, which may lie in a library's data, and go. */
        bool may_keep = request->registers == NULL && ht_rules_hidden() == 0;
        request->module_start = (uintptr_t)module.dlfo_map_start;
        request->module_size =
            may_keep ? (uintptr_t)module.dlfo_map_end - request->module_start : 0;
        uintptr_t entry = table_entry_of(request, header, pc);
        if (entry != 0) {
            unw_dyn_info_t table = {
                .start_ip = (uintptr_t)module.dlfo_map_start,
                .end_ip = (uintptr_t)module.dlfo_map_end,
                .format = UNW_INFO_FORMAT_REMOTE_TABLE,
                .u.rti = {.segbase = header,
                          .table_data = entry,
                          .table_len = sizeof(struct table_entry) / sizeof(unw_word_t)},
            };
            r = ht_unwind_library.search_unwind_table(as, pc, &table, info, need_info, arg);
        }
    }
    if (r < 0)
        request->no_fde = true;
    return r;
}

/* ---- loading ---- */

static int lowest_free_descriptor(int from)
{
    while (fcntl(from, F_GETFD) >= 0)
        from++;
    return from;
}

/* The library's init opens a pipe to test addresses with, even though our accessors never do.
 * Nobody may find it later: descriptors that were free before and are two ends of one pipe now are
 * its own. */
static void close_pipe(int first, int second)
{
    struct stat a, b;
    if (fstat(first, &a) == 0 && fstat(second, &b) == 0 && S_ISFIFO(a.st_mode) &&
        S_ISFIFO(b.st_mode) && a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
        ht_os_close(first);
        ht_os_close(second);
    }
}

static bool find_symbols(void *handle)
{
    struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"_Ux86_64_create_addr_space", &ht_unwind_library.create_addr_space},
        {"_Ux86_64_set_caching_policy", &ht_unwind_library.set_caching_policy},
        {"_Ux86_64_init_remote", &ht_unwind_library.init_remote},
        {"_Ux86_64_step", &ht_unwind_library.step},
        {"_Ux86_64_get_reg", &ht_unwind_library.get_reg},
        {"_Ux86_64_get_save_loc", &ht_unwind_library.get_save_loc},
        {"_Ux86_64_dwarf_search_unwind_table", &ht_unwind_library.search_unwind_table},
    };
    for (size_t i = 0; i < HT_ARRAY_SIZE(symbols); i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (symbol == NULL)
            return false;
        memcpy(symbols[i].to, &symbol, sizeof(symbol));
    }
    return true;
}

bool ht_unwind_library_open(bool (*try_it)(void), const char **ret_reason)
{
    struct ht_unwind_library *lib = &ht_unwind_library;
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL || !find_symbols(handle)) {
        *ret_reason = LIBRARY " cannot be loaded (package libunwind8)";
        return false;
    }
    int first = lowest_free_descriptor(0);
    int second = lowest_free_descriptor(first + 1);
    /* Newer versions have more members than we know; the library copies as many as it knows. */
    static struct {
        unw_accessors_t accessors;
        void *more[8];
    } padded = {.accessors = {.find_proc_info = find_proc_info,
                              .put_unwind_info = put_unwind_info,
                              .get_dyn_info_list_addr = get_dyn_info_list_addr,
                              .access_mem = access_mem,
                              .access_reg = access_reg,
                              .access_fpreg = access_fpreg,
                              .resume = resume_never,
                              .get_proc_name = get_proc_name}};
    lib->space = lib->create_addr_space(&padded.accessors, 0);
    bool works = false;
    if (lib->space != NULL) {
        lib->set_caching_policy(lib->space, UNW_CACHE_NONE);
        works = try_it();
    }
    close_pipe(first, second);
    if (!works)
        *ret_reason = LIBRARY " does not work as expected";
    return works;
}
