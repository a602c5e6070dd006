#include "report/lexicon.h"

#include <string.h>

#include "sys/arena.h"
#include "sys/lock.h"

#include "sys/poison.h"

/* Functions, and text, lie in chunks that never move. */
#define FUNCTIONS_CHUNK 1024u
#define TEXT_CHUNK      32768u
#define TEXT_CHUNKS     2048u
#define SLOTS_FIRST     512u

/* A module and an address in one word: files are smaller than 2^48 bytes, and modules fewer. */
#define ADDRESS_BITS 48
#define MODULES_MAX  UINT16_MAX

struct module {
    struct ht_elf_identity identity;
    struct ht_os_file file; /* of one without a build id */
    struct ht_os_file tried;
    uint32_t path; /* in the text */
};

struct function {
    uint64_t key;    /* module and start */
    uint32_t text;   /* name, NUL, system name or nothing when it is the same, NUL */
    uint32_t number; /* not under the lock: the profile's writer alone */
};

/* Both tables are open addressing with linear probing, at most three quarters full. */
static struct {
    struct module *modules; /* module_room of them; module 1 is the first */
    uint32_t module_count, module_room;

    uint64_t *keys;  /* slot_count of them; 0 is empty */
    uint32_t *found; /* right after them */
    uint32_t address_count, slot_count;

    struct function *functions[HT_LEXICON_FUNCTIONS / FUNCTIONS_CHUNK];
    uint32_t *index; /* index_count of them: functions by key; 0 is empty */
    uint32_t function_count, index_count;

    char *text[TEXT_CHUNKS];
    uint32_t text_end; /* the next free place: chunk * TEXT_CHUNK + offset */

    size_t size; /* of all memory above */
} lexicon;

static struct ht_lock lock; /* rank HT_RANK_LEXICON */

/* ---- memory ---- */

static void *take_memory(size_t size)
{
    size = ht_round_up(size, HT_PAGE);
    if (lexicon.size + size > ht_arena_table_limit() / HT_LEXICON_SHARE)
        return NULL;
    void *memory = ht_arena_map_table(size);
    if (memory != NULL)
        lexicon.size += size;
    return memory;
}

static void give_memory(void *memory, size_t size)
{
    ht_arena_unmap_table(memory, size);
    lexicon.size -= memory != NULL ? ht_round_up(size, HT_PAGE) : 0;
}

size_t ht_lexicon_size(void)
{
    return lexicon.size;
}

void ht_lexicon_forget(void)
{
    give_memory(lexicon.modules, lexicon.module_room * sizeof(struct module));
    give_memory(lexicon.keys, lexicon.slot_count * (sizeof(uint64_t) + sizeof(uint32_t)));
    give_memory(lexicon.index, lexicon.index_count * sizeof(uint32_t));
    for (size_t i = 0; i < HT_ARRAY_SIZE(lexicon.functions); i++)
        give_memory(lexicon.functions[i], FUNCTIONS_CHUNK * sizeof(struct function));
    for (size_t i = 0; i < TEXT_CHUNKS; i++)
        give_memory(lexicon.text[i], TEXT_CHUNK);
    memset(&lexicon, 0, sizeof(lexicon));
}

/* ---- text ---- */

static const char *text_at(uint32_t at)
{
    return lexicon.text[at / TEXT_CHUNK] + at % TEXT_CHUNK;
}

/* Both strings, one after the other. UINT32_MAX when there is no room. */
static uint32_t put_text(const char *first, const char *second)
{
    size_t first_size = strlen(first) + 1, second_size = strlen(second) + 1;
    uint32_t chunk = lexicon.text_end / TEXT_CHUNK, at = lexicon.text_end % TEXT_CHUNK;
    if (first_size + second_size > TEXT_CHUNK - at) {
        chunk++;
        at = 0;
    }
    if (first_size + second_size > TEXT_CHUNK || chunk >= TEXT_CHUNKS)
        return UINT32_MAX;
    if (lexicon.text[chunk] == NULL)
        lexicon.text[chunk] = take_memory(TEXT_CHUNK);
    if (lexicon.text[chunk] == NULL)
        return UINT32_MAX;
    memcpy(lexicon.text[chunk] + at, first, first_size);
    memcpy(lexicon.text[chunk] + at + first_size, second, second_size);
    lexicon.text_end = chunk * TEXT_CHUNK + at + (uint32_t)(first_size + second_size);
    return chunk * TEXT_CHUNK + at;
}

/* ---- modules ---- */

static bool is_same_file(const struct ht_os_file *a, const struct ht_os_file *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed_nanos == b->changed_nanos;
}

static bool is_same(const struct module *module, const char *path,
                    const struct ht_elf_identity *identity, const struct ht_os_file *file)
{
    const struct ht_elf_identity *other = &module->identity;
    return other->build_id.size == identity->build_id.size &&
           memcmp(other->build_id.bytes, identity->build_id.bytes, identity->build_id.size) == 0 &&
           other->segment_vaddr == identity->segment_vaddr &&
           other->segment_offset == identity->segment_offset &&
           other->segment_size == identity->segment_size && is_same_file(&module->file, file) &&
           strcmp(text_at(module->path), path) == 0;
}

static bool reserve_module(void)
{
    if (lexicon.module_count < lexicon.module_room)
        return true;
    uint32_t room = (uint32_t)ht_min(lexicon.module_room * 2 + 28, MODULES_MAX);
    if (lexicon.module_count >= room)
        return false;
    struct module *modules = take_memory(room * sizeof(*modules));
    if (modules == NULL)
        return false;
    if (lexicon.module_count > 0)
        memcpy(modules, lexicon.modules, lexicon.module_count * sizeof(*modules));
    give_memory(lexicon.modules, lexicon.module_room * sizeof(*modules));
    lexicon.modules = modules;
    lexicon.module_room = room;
    return true;
}

static uint32_t add_module(const struct module *module, const char *path)
{
    uint32_t text = reserve_module() ? put_text(path, "") : UINT32_MAX;
    if (text == UINT32_MAX)
        return 0;
    struct module *added = &lexicon.modules[lexicon.module_count++];
    *added = *module;
    added->path = text;
    return lexicon.module_count;
}

uint32_t ht_lexicon_module(const char *path, const struct ht_elf_identity *identity)
{
    struct module module = {.identity = *identity};
    if (identity->build_id.size == 0 && path[0] == '/')
        ht_os_file_at(path, &module.file);
    for (uint32_t i = 0; i < lexicon.module_count; i++)
        if (is_same(&lexicon.modules[i], path, identity, &module.file))
            return i + 1;
    if (!ht_lock_take(&lock))
        return 0;
    uint32_t added = add_module(&module, path);
    ht_lock_release(&lock);
    return added;
}

struct ht_os_file *ht_lexicon_tried(uint32_t module)
{
    return module != 0 ? &lexicon.modules[module - 1].tried : NULL;
}

/* ---- addresses ---- */

static uint32_t slot_of(uint64_t key, uint32_t slot_count)
{
    return (uint32_t)(((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) * slot_count >> 32);
}

static uint32_t next_slot(uint32_t i, uint32_t slot_count)
{
    return i + 1 < slot_count ? i + 1 : 0;
}

/* 0 when it has no place here. */
static uint64_t key_of(uint32_t module, uint64_t address)
{
    return address >> ADDRESS_BITS == 0 ? (uint64_t)module << ADDRESS_BITS | address : 0;
}

static uint32_t slot_for(uint64_t key)
{
    uint32_t i = slot_of(key, lexicon.slot_count);
    while (lexicon.keys[i] != 0 && lexicon.keys[i] != key)
        i = next_slot(i, lexicon.slot_count);
    return i;
}

/* To this many slots, if there are fewer. */
static bool grow_addresses(uint64_t slot_count)
{
    const size_t slot_size = sizeof(uint64_t) + sizeof(uint32_t);
    uint64_t *old_keys = lexicon.keys;
    uint32_t *old_found = lexicon.found, old_count = lexicon.slot_count;
    if (slot_count <= old_count)
        return true;
    uint64_t *keys =
        slot_count <= UINT32_MAX / slot_size ? take_memory(slot_count * slot_size) : NULL;
    if (keys == NULL)
        return false;
    lexicon.keys = keys;
    lexicon.found = (uint32_t *)(keys + slot_count);
    lexicon.slot_count = (uint32_t)slot_count;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old_keys[i] == 0)
            continue;
        uint32_t slot = slot_for(old_keys[i]);
        lexicon.keys[slot] = old_keys[i];
        lexicon.found[slot] = old_found[i];
    }
    give_memory(old_keys, old_count * slot_size);
    return true;
}

uint32_t ht_lexicon_find(uint32_t module, uint64_t address)
{
    uint64_t key = key_of(module, address);
    if (module == 0 || key == 0 || lexicon.slot_count == 0)
        return HT_LEXICON_UNKNOWN;
    uint32_t slot = slot_for(key);
    return lexicon.keys[slot] == key ? lexicon.found[slot] : HT_LEXICON_UNKNOWN;
}

static void set_locked(uint64_t key, uint32_t found)
{
    if (lexicon.address_count >= lexicon.slot_count / 4 * 3 &&
        !grow_addresses(ht_max(lexicon.slot_count / 2 * 3, SLOTS_FIRST)))
        return;
    uint32_t slot = slot_for(key);
    if (found == HT_LEXICON_UNKNOWN && lexicon.keys[slot] == 0)
        return;
    lexicon.address_count += lexicon.keys[slot] == 0;
    lexicon.keys[slot] = key;
    lexicon.found[slot] = found;
}

void ht_lexicon_set(uint32_t module, uint64_t address, uint32_t found)
{
    uint64_t key = key_of(module, address);
    if (module == 0 || key == 0 || !ht_lock_take(&lock))
        return;
    set_locked(key, found);
    ht_lock_release(&lock);
}

void ht_lexicon_begin(uint32_t address_count)
{
    for (uint32_t i = 1; i <= lexicon.function_count; i++)
        *ht_lexicon_number(i) = 0;
    if (address_count == 0 || !ht_lock_take(&lock))
        return;
    grow_addresses((uint64_t)address_count * 4 / 3 + 4); /* at once: no old table beside it */
    ht_lock_release(&lock);
}

/* ---- functions ---- */

static struct function *function_of(uint32_t id)
{
    return &lexicon.functions[(id - 1) / FUNCTIONS_CHUNK][(id - 1) % FUNCTIONS_CHUNK];
}

static bool grow_index(void)
{
    uint32_t count = (uint32_t)ht_max(lexicon.index_count / 2 * 3, SLOTS_FIRST);
    uint32_t *index = take_memory(count * sizeof(*index));
    if (index == NULL)
        return false;
    for (uint32_t id = 1; id <= lexicon.function_count; id++) {
        uint32_t i = slot_of(function_of(id)->key, count);
        while (index[i] != 0)
            i = next_slot(i, count);
        index[i] = id;
    }
    give_memory(lexicon.index, lexicon.index_count * sizeof(*index));
    lexicon.index = index;
    lexicon.index_count = count;
    return true;
}

static bool reserve_function(void)
{
    uint32_t chunk = lexicon.function_count / FUNCTIONS_CHUNK;
    if (chunk >= HT_ARRAY_SIZE(lexicon.functions))
        return false;
    if (lexicon.functions[chunk] == NULL)
        lexicon.functions[chunk] = take_memory(FUNCTIONS_CHUNK * sizeof(struct function));
    return lexicon.functions[chunk] != NULL &&
           (lexicon.function_count < lexicon.index_count / 4 * 3 || grow_index());
}

/* A symbol's start alone does not tell it: aliases may be longer, and cover more. */
static uint32_t find_function(uint64_t key, const char *name, const char *system_name)
{
    if (lexicon.index_count == 0)
        return 0;
    uint32_t i = slot_of(key, lexicon.index_count), id;
    for (; (id = lexicon.index[i]) != 0; i = next_slot(i, lexicon.index_count)) {
        if (function_of(id)->key == key && strcmp(ht_lexicon_name(id), name) == 0 &&
            strcmp(ht_lexicon_system_name(id), system_name) == 0)
            return id;
    }
    return 0;
}

static uint32_t add_function(uint64_t key, const char *name, const char *system_name)
{
    uint32_t text = UINT32_MAX;
    if (reserve_function())
        text = put_text(name, strcmp(name, system_name) != 0 ? system_name : "");
    if (text == UINT32_MAX)
        return 0;
    uint32_t id = ++lexicon.function_count;
    *function_of(id) = (struct function){.key = key, .text = text};
    uint32_t i = slot_of(key, lexicon.index_count);
    while (lexicon.index[i] != 0)
        i = next_slot(i, lexicon.index_count);
    lexicon.index[i] = id;
    return id;
}

uint32_t ht_lexicon_function(uint32_t module, uint64_t start, const char *name,
                             const char *system_name)
{
    uint64_t key = key_of(module, start);
    if (module == 0 || key == 0)
        return 0;
    uint32_t id = find_function(key, name, system_name);
    if (id != 0 || !ht_lock_take(&lock))
        return id;
    id = add_function(key, name, system_name);
    ht_lock_release(&lock);
    return id;
}

const char *ht_lexicon_name(uint32_t function)
{
    return text_at(function_of(function)->text);
}

const char *ht_lexicon_system_name(uint32_t function)
{
    const char *name = ht_lexicon_name(function), *system_name = name + strlen(name) + 1;
    return system_name[0] != 0 ? system_name : name;
}

uint32_t *ht_lexicon_number(uint32_t function)
{
    return &function_of(function)->number;
}

/* ---- around a fork ---- */

void ht_lexicon_fork_prepare(void)
{
    ht_lock_take_always(&lock);
}

void ht_lexicon_fork_parent(void)
{
    ht_lock_release(&lock);
}

void ht_lexicon_fork_child(void)
{
    ht_lock_reset(&lock);
}
