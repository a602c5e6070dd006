/* leaky_server.c: a server under load that does what servers do with memory, and may leak.
 *
 *     leaky_server REQUESTS SNAPSHOTS [leak]
 *
 * A client in the first thread sends REQUESTS requests of eight kinds, drawn from a fixed seed, over
 * socket pairs to four workers, and keeps up to 16 of them in flight at each. It asks heaptap for a
 * profile before the first and then SNAPSHOTS times, at equal numbers of requests: the speed of the
 * machine does not matter. What is held meanwhile:
 *   tables and warm-up  at the start      a cache         fills, then evicts: full from then on
 *   sessions            come and go in    a queue         drained only now and then
 *                       waves             a history       fills within a third of the run
 *   an index            of a random set   a log           flushed when it is full
 *   subscribers         a random walk     uploads, pages  freed with the request
 * With `leak`, headers are forgotten now and then, when a request is refused: 1 % of all bytes that
 * are allocated. What it allocated and leaked is printed at the end. */
#include "truth.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/socket.h>

enum { GET, LOGIN, POST, PAGE, UPLOAD, INDEX, LOG, SUBSCRIBE, KINDS };
enum { WORKERS = 4, IN_FLIGHT = 16 };
enum { CACHE = 512, SESSIONS = 4096, QUEUE = 4096, HISTORY = 6000, KEYS = 1024, LINES = 3000 };

struct request {
    uint32_t kind, number, random;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what is shared, below */
static struct slot {
    void *block;
    uint32_t key;
} cache[CACHE];
static void *sessions[SESSIONS], *queue[QUEUE], *history[HISTORY], *keys[KEYS], *lines[LINES];
static size_t queue_length, history_length, lines_length, subscribers_length;
static void *subscribers[QUEUE];
static void *tables[64];

static int leaks;
static uint32_t requests;
static __thread uint64_t allocated, leaked;
static uint64_t all_allocated, all_leaked;

static uint32_t mix(uint32_t x)
{
    x = (x ^ (x >> 16)) * UINT32_C(0x7feb352d);
    x = (x ^ (x >> 15)) * UINT32_C(0x846ca68b);
    return x ^ (x >> 16);
}

/* A site that allocates, under a name of its own. */
#define SITE(name)                                                                                 \
    NOINLINE static void *name(size_t size)                                                        \
    {                                                                                              \
        void *block = malloc(size);                                                                \
        if (block == NULL)                                                                         \
            die("no memory");                                                                      \
        allocated += size;                                                                         \
        memset(block, 1, size < 64 ? size : 64);                                                   \
        keep(block);                                                                               \
        return block;                                                                              \
    }

SITE(load_table)
SITE(parse_header)
SITE(cache_value)
SITE(new_session)
SITE(queue_message)
SITE(remember_request)
SITE(page_part)
SITE(receive_upload)
SITE(index_node)
SITE(log_line)
SITE(add_subscriber)

static void replace(void **slot, void *block)
{
    free(*slot);
    *slot = block;
}

NOINLINE static void get(const struct request *request)
{
    uint32_t key = (request->random >> 30 ? request->random : request->random % 500) % 6000;
    struct slot *slot = &cache[mix(key) % CACHE];
    if (slot->block == NULL || slot->key != key)
        replace(&slot->block, cache_value(4000 + mix(key) % 12000));
    slot->key = key;
}

/* More users in one part of the run, fewer in another. */
NOINLINE static void login(const struct request *request)
{
    uint32_t wave = request->number / (requests / 13 + 1);
    for (int i = 0; i < 3; i++)
        replace(&sessions[mix(request->random + (uint32_t)i) % SESSIONS], NULL);
    for (uint32_t i = 0; i < 1 + mix(wave) % 5; i++)
        replace(&sessions[mix(request->random * 7 + i) % SESSIONS],
                new_session(300 + request->random % 900));
}

NOINLINE static void drain(void)
{
    while (queue_length > 0)
        free(queue[--queue_length]);
}

NOINLINE static void post(const struct request *request)
{
    if (queue_length == QUEUE || request->random % 1500 == 0)
        drain();
    queue[queue_length++] = queue_message(200 + request->random % 2000);
    if (history_length < HISTORY && request->number < requests / 3)
        history[history_length++] = remember_request(500);
}

NOINLINE static void page(const struct request *request)
{
    void *parts[8];
    for (uint32_t i = 0; i < 8; i++)
        parts[i] = page_part(500 + mix(request->random + i) % 6000);
    for (uint32_t i = 0; i < 8; i++)
        free(parts[i]);
    STAY();
}

NOINLINE static void upload(const struct request *request)
{
    size_t size = 2000 + (size_t)(request->random % 100) * (request->random % 100) * 10;
    void *block = receive_upload(size);
    void *copy = realloc(block, size * 2);
    if (copy == NULL)
        die("no memory");
    allocated += size * 2;
    free(copy);
    STAY();
}

NOINLINE static void index_key(const struct request *request)
{
    void **key = &keys[request->random % KEYS];
    replace(key, request->random >> 31 ? index_node(64 + request->random % 2048) : NULL);
}

NOINLINE static void log_request(const struct request *request)
{
    if (lines_length == LINES) {
        while (lines_length > 0)
            free(lines[--lines_length]);
    }
    lines[lines_length++] = log_line(100 + request->random % 300);
}

NOINLINE static void subscribe(const struct request *request)
{
    size_t gust = 1 + request->random % 16;
    for (size_t i = 0; i < gust; i++) {
        if (request->random >> 31 && subscribers_length < QUEUE)
            subscribers[subscribers_length++] = add_subscriber(700);
        else if (!(request->random >> 31) && subscribers_length > 0)
            free(subscribers[--subscribers_length]);
    }
}

/* The bug: a way out without free(). */
NOINLINE static void finish(void *header, size_t size)
{
    if (leaks && (leaked + size) * 100 <= allocated) {
        leaked += size;
        return;
    }
    free(header);
    STAY();
}

NOINLINE static void handle(const struct request *request)
{
    static void (*const handlers[KINDS])(const struct request *) = {
        get, login, post, page, upload, index_key, log_request, subscribe};
    size_t size = 300 + request->random % 700;
    void *header = parse_header(size);
    int shared = request->kind != PAGE && request->kind != UPLOAD;
    if (shared)
        pthread_mutex_lock(&lock);
    handlers[request->kind](request);
    if (shared)
        pthread_mutex_unlock(&lock);
    finish(header, size);
    STAY();
}

static void *work(void *context)
{
    int fd = *(int *)context;
    struct request request;
    while (recv(fd, &request, sizeof(request), 0) == sizeof(request)) {
        handle(&request);
        if (send(fd, &request.number, sizeof(request.number), 0) < 0)
            die("send");
    }
    pthread_mutex_lock(&lock);
    all_allocated += allocated;
    all_leaked += leaked;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* The profile has a name of HEAPTAP_OUTPUT's. Without heaptap there is none. */
static void snapshot(void)
{
    int (*write_profile)(const char *);
    *(void **)&write_profile = dlsym(RTLD_DEFAULT, "heaptap_snapshot");
    if (write_profile && write_profile(NULL) < 0)
        die("no profile");
}

NOINLINE static void start(void)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        tables[i] = load_table(20000 + i * 1000);
    for (uint32_t i = 0; i < QUEUE / 2; i++)
        subscribers[subscribers_length++] = add_subscriber(700);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: leaky_server REQUESTS SNAPSHOTS [leak]");
    requests = (uint32_t)strtoul(argv[1], NULL, 10);
    uint32_t snapshots = (uint32_t)strtoul(argv[2], NULL, 10), answer;
    leaks = argc > 3;

    int pairs[WORKERS][2], waiting[WORKERS] = {0};
    pthread_t threads[WORKERS];
    start();
    for (int i = 0; i < WORKERS; i++) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pairs[i]) < 0 ||
            pthread_create(&threads[i], NULL, work, &pairs[i][1]) != 0)
            die("no worker");
    }
    snapshot();
    for (uint32_t n = 0, done = 0; n < requests; n++) {
        struct request request = {mix(n * 3 + 1) % KINDS, n, mix(n)};
        int i = n % WORKERS;
        if (send(pairs[i][0], &request, sizeof(request), 0) < 0)
            die("send");
        if (++waiting[i] > IN_FLIGHT && recv(pairs[i][0], &answer, sizeof(answer), 0) > 0)
            waiting[i]--;
        for (; (uint64_t)(n + 1) * snapshots / requests > done; done++)
            snapshot();
    }
    for (int i = 0; i < WORKERS; i++) {
        shutdown(pairs[i][0], SHUT_WR);
        pthread_join(threads[i], NULL);
    }
    say("allocated %llu leaked %llu\n", (unsigned long long)(all_allocated + allocated),
        (unsigned long long)all_leaked);
    return 0;
}
