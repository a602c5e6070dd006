/* wild.c: allocations on stacks, and from code, of which nobody has told us anything.
 *
 *     wild coroutines N    N coroutines on stacks of 16 KiB, made, switched and unmapped, with holes between them
 *     wild longjmp         out of depth, again and again
 *     wild recursion       100,000 frames deep
 *     wild bare            assembler without CFI
 *     wild lies            assembler that moves the stack pointer and says otherwise, or nothing
 *     wild rbp             every kind of garbage where a frame pointer might be
 *     wild generated       code made at run time, with and without a frame pointer
 *     wild holes           coroutine stacks beside each other; one is unmapped, and a frame pointer is left there
 *     wild edge            on the last 2 KiB of a stack with a guard page below */
#include "truth.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <ucontext.h>

static struct truth truth;

NOINLINE static void *site(size_t size)
{
    void *block = malloc(size);
    STAY();
    keep(block);
    truth_alloc(&truth, size);
    return block;
}

NOINLINE static void drop(void *block, size_t size)
{
    free(block);
    truth_free(&truth, size);
}

/* What the assembler below calls. */
void allocate(size_t size);
__attribute__((used, noinline)) void allocate(size_t size)
{
    drop(site(size), size);
    free(realloc(site(size), 2 * size));
    truth_free(&truth, size);
}

/* ---- coroutines ---- */

#define STACK ((size_t)16384)

static ucontext_t scheduler, context[16];
static void *kept[16];

static void coroutine(int number)
{
    for (int i = 0; i < 4; i++) {
        void *block = site(100);
        swapcontext(&context[number], &scheduler);
        drop(block, 100);
    }
    kept[number] = site(200);
}

static void make_coroutine(int number, char *stack)
{
    if (getcontext(&context[number]) != 0)
        die("no context");
    context[number].uc_stack = (stack_t){.ss_sp = stack, .ss_size = STACK};
    context[number].uc_link = &scheduler;
    makecontext(&context[number], (void (*)(void))coroutine, 1, number);
}

static void switch_to(int number)
{
    if (swapcontext(&scheduler, &context[number]) != 0)
        die("no switch");
}

NOINLINE static void sixteen_coroutines(void)
{
    char *stacks[16];
    for (int i = 0; i < 16; i++) {
        stacks[i] = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stacks[i] == MAP_FAILED)
            die("no stack");
        make_coroutine(i, stacks[i]);
    }
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < 16; i++)
            switch_to(i);
    /* Every other one first: the rest stands between holes. */
    for (int i = 0; i < 16; i += 2) {
        munmap(stacks[i], STACK);
        drop(kept[i], 200);
    }
    for (int i = 1; i < 16; i += 2) {
        drop(kept[i], 200);
        make_coroutine(i, stacks[i]);
        for (int round = 0; round < 5; round++)
            switch_to(i);
        drop(kept[i], 200);
        munmap(stacks[i], STACK);
    }
}

static void run_coroutines(unsigned count)
{
    for (unsigned i = 0; i < count; i += 16)
        sixteen_coroutines();
}

/* ---- depth ---- */

static jmp_buf back;

NOINLINE static size_t jump_from(unsigned depth)
{
    volatile char frame[64];
    frame[0] = (char)depth;
    allocate(10 + depth % 5);
    if (depth == 0)
        longjmp(back, 1);
    size_t deeper = frame[0] < 0 ? 0 : jump_from(depth - 1);
    return deeper + (size_t)frame[0];
}

static void run_longjmp(void)
{
    for (volatile unsigned i = 0; i < 200; i++)
        if (setjmp(back) == 0)
            jump_from(i % 60);
}

NOINLINE static size_t recurse(unsigned depth)
{
    volatile char frame[32];
    frame[0] = 1;
    if (depth % 1000 == 0)
        allocate(20);
    size_t deeper = depth == 0 ? 0 : recurse(depth - 1);
    return deeper + (size_t)frame[0];
}

static void *recurse_in_thread(void *unused)
{
    say("frames %zu\n", recurse(100000));
    return unused;
}

static void run_recursion(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)64 << 20);
    say("frames %zu\n", recurse(30000));
    if (pthread_create(&thread, &attributes, recurse_in_thread, NULL) != 0)
        die("no thread");
    pthread_join(thread, NULL);
}

/* ---- assembler ---- */

#define FUNCTION(name) ".globl " #name "\n.p2align 4\n.type " #name ", @function\n" #name ":\n"
#define END(name)      ".size " #name ", . - " #name "\n"

__asm__(
    ".text\n"
    /* no CFI at all, with a frame in the way */
    FUNCTION(bare) "    push %rbx\n"
                   "    sub $0x120, %rsp\n"
                   "    call allocate\n"
                   "    add $0x120, %rsp\n"
                   "    pop %rbx\n"
                   "    ret\n" END(bare)
    /* no CFI, and an honest frame pointer */
    FUNCTION(bare_rbp) "    push %rbp\n"
                       "    mov %rsp, %rbp\n"
                       "    sub $0x40, %rsp\n"
                       "    call allocate\n"
                       "    leave\n"
                       "    ret\n" END(bare_rbp)
    /* no CFI; rbp is the second argument */
    FUNCTION(bare_wild) "    push %rbp\n"
                        "    mov %rsi, %rbp\n"
                        "    call allocate\n"
                        "    pop %rbp\n"
                        "    ret\n" END(bare_wild)
    /* CFI of an empty frame, while 0x108 bytes are pushed */
    FUNCTION(says_less) "    .cfi_startproc\n"
                        "    sub $0x108, %rsp\n"
                        "    call allocate\n"
                        "    add $0x108, %rsp\n"
                        "    ret\n"
                        "    .cfi_endproc\n" END(says_less)
    /* CFI of far more than there is: past the end of the stack */
    FUNCTION(says_more) "    .cfi_startproc\n"
                        "    .cfi_def_cfa_offset 0x7ffff00\n"
                        "    sub $8, %rsp\n"
                        "    call allocate\n"
                        "    add $8, %rsp\n"
                        "    ret\n"
                        "    .cfi_endproc\n" END(says_more)
    /* backwards */
    FUNCTION(says_below) "    .cfi_startproc\n"
                         "    .cfi_def_cfa_offset -0x2000\n"
                         "    sub $8, %rsp\n"
                         "    call allocate\n"
                         "    add $8, %rsp\n"
                         "    ret\n"
                         "    .cfi_endproc\n" END(says_below)
    /* CFA by an rbp that is the second argument */
    FUNCTION(says_rbp) "    .cfi_startproc\n"
                       "    push %rbp\n"
                       "    mov %rsi, %rbp\n"
                       "    .cfi_def_cfa rbp, 16\n"
                       "    .cfi_offset rbp, -16\n"
                       "    call allocate\n"
                       "    pop %rbp\n"
                       "    ret\n"
                       "    .cfi_endproc\n" END(says_rbp)
    /* the CFA in a register that only a full unwinder follows, and which is the second argument */
    FUNCTION(says_rbx) "    .cfi_startproc\n"
                       "    push %rbx\n"
                       "    mov %rsi, %rbx\n"
                       "    .cfi_def_cfa rbx, 16\n"
                       "    call allocate\n"
                       "    pop %rbx\n"
                       "    ret\n"
                       "    .cfi_endproc\n" END(says_rbx)
    /* the CFA behind a pointer that is garbage: *(rsp + 8), the second argument pushed */
    FUNCTION(says_deref) "    .cfi_startproc\n"
                         "    push %rsi\n"
                         "    .cfi_escape 0x0f, 0x03, 0x77, 0x00, 0x06\n" /* *(rsp + 0) */
                         "    call allocate\n"
                         "    pop %rsi\n"
                         "    ret\n"
                         "    .cfi_endproc\n" END(says_deref)
    /* the CFA by an expression that has no end: it jumps to itself */
    FUNCTION(says_endless) "    .cfi_startproc\n"
                           "    sub $8, %rsp\n"
                           "    .cfi_escape 0x0f, 0x03, 0x2f, 0xfd, 0xff\n"
                           "    call allocate\n"
                           "    add $8, %rsp\n"
                           "    ret\n"
                           "    .cfi_endproc\n" END(says_endless)
    /* the stack itself is elsewhere: the second argument is its top */
    FUNCTION(on_stack) "    push %rbp\n"
                       "    mov %rsp, %rbp\n"
                       "    mov %rsi, %rsp\n"
                       "    call allocate\n"
                       "    mov %rbp, %rsp\n"
                       "    pop %rbp\n"
                       "    ret\n" END(on_stack)
    /* says_rbp() there */
    FUNCTION(on_stack_rbp) "    push %rbp\n"
                           "    mov %rsp, %rbp\n"
                           "    mov %rsi, %rsp\n"
                           "    mov %rdx, %rsi\n"
                           "    call says_rbp\n"
                           "    mov %rbp, %rsp\n"
                           "    pop %rbp\n"
                           "    ret\n" END(on_stack_rbp));

void bare(size_t size);
void bare_rbp(size_t size);
void bare_wild(size_t size, uintptr_t rbp);
void says_less(size_t size);
void says_more(size_t size);
void says_endless(size_t size);
void says_below(size_t size);
void says_rbp(size_t size, uintptr_t rbp);
void says_rbx(size_t size, uintptr_t rbx);
void says_deref(size_t size, uintptr_t word);
void on_stack(size_t size, uintptr_t top);
void on_stack_rbp(size_t size, uintptr_t top, uintptr_t rbp);

static void run_bare(void)
{
    for (size_t i = 1; i <= 100; i++) {
        bare(i);
        bare_rbp(i);
    }
}

static void run_lies(void)
{
    for (size_t i = 1; i <= 100; i++) {
        says_less(i);
        says_more(i);
        says_below(i);
        says_endless(i);
    }
}

static void run_rbp(void)
{
    char *unmapped =
        mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(unmapped + 4096, 4096);
    mprotect(unmapped + 2 * 4096, 4096, PROT_NONE);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    const uintptr_t values[] = {0,
                                1,
                                8,
                                0xfff,
                                UINTPTR_MAX,
                                UINTPTR_MAX - 7,
                                UINTPTR_MAX - 15,
                                UINTPTR_MAX - 16,
                                (uintptr_t)1 << 63,
                                (uintptr_t)1 << 47,
                                ((uintptr_t)1 << 47) - 8,
                                ((uintptr_t)1 << 47) - 4096,
                                0xffffffffff600000,
                                0x4141414141414141,
                                (uintptr_t)unmapped,
                                (uintptr_t)unmapped + 4088,
                                (uintptr_t)unmapped + 4090,
                                (uintptr_t)unmapped + 4096,
                                (uintptr_t)unmapped + 8192,
                                (uintptr_t)unmapped + 12280,
                                here,
                                here + 1,
                                here + 3,
                                here + 4096,
                                here - 4096,
                                here + 65536,
                                here + (1 << 20),
                                here + (8 << 20),
                                here + (64 << 20),
                                here + ((size_t)1 << 32),
                                here - (4 << 20),
                                here - (100 << 20),
                                (uintptr_t)run_bare,
                                (uintptr_t)&truth};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
            bare_wild(10 + i, values[i]);
            says_rbp(10 + i, values[i]);
            says_rbx(10 + i, values[i]);
            says_deref(10 + i, values[i]);
        }
}

/* Stacks below everything that was mapped before, without guards: a walk may take all of it for one
 * stack. */
static void *leave_holes(void *unused)
{
    char *stacks =
        mmap(NULL, 16 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == MAP_FAILED)
        die("no stacks");
    uintptr_t low = (uintptr_t)stacks;
    on_stack(33, low + 2 * STACK);
    for (size_t i = 4; i < 16; i += 4)
        munmap(stacks + i * STACK, STACK);
    for (size_t i = 3; i < 16; i++)
        for (size_t within = 0; within < STACK; within += 1024) {
            on_stack_rbp(33, low + 2 * STACK, low + i * STACK + within);
            on_stack_rbp(33, low + 2 * STACK, low + i * STACK + within + 4088);
        }
    return unused;
}

static void run_holes(void)
{
    pthread_t thread;
    leave_holes(NULL);
    if (pthread_create(&thread, NULL, leave_holes, NULL) != 0)
        die("no thread");
    pthread_join(thread, NULL);
}

/* ---- code made at run time ---- */

static void run_generated(void)
{
    static const unsigned char plain[] = {
        0x48, 0x83, 0xec, 0x28,                   /* sub $0x28, %rsp */
        0x48, 0xb8, 0,    0,    0, 0, 0, 0, 0, 0, /* mov $allocate, %rax */
        0xff, 0xd0,                               /* call *%rax */
        0x48, 0x83, 0xc4, 0x28,                   /* add $0x28, %rsp */
        0xc3,                                     /* ret */
    };
    static const unsigned char framed[] = {
        0x55,                                  /* push %rbp */
        0x48, 0x89, 0xe5,                      /* mov %rsp, %rbp */
        0x48, 0xb8, 0,    0, 0, 0, 0, 0, 0, 0, /* mov $allocate, %rax */
        0xff, 0xd0,                            /* call *%rax */
        0x5d,                                  /* pop %rbp */
        0xc3,                                  /* ret */
    };
    void (*function)(size_t) = allocate;
    for (size_t i = 1; i <= 50; i++) {
        /* Each time elsewhere, or other code at the same place. */
        unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (code == MAP_FAILED)
            die("no code");
        memcpy(code, i % 2 ? plain : framed, i % 2 ? sizeof(plain) : sizeof(framed));
        memcpy(code + 6, &function, sizeof(function));
        void (*generated)(size_t);
        memcpy(&generated, &code, sizeof(code));
        generated(i);
        generated(i + 1);
        if (i % 3)
            munmap(code, 4096);
    }
}

/* ---- the edge of a stack ---- */

static void run_edge(void)
{
    const size_t page = 4096;
    char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0)
        die("no stack");
    uintptr_t low = (uintptr_t)memory + page;
    allocate(33); /* the first call needs more, with or without us: all that is bound lazily */
    for (int round = 0; round < 3; round++)
        for (size_t left = 2048 + 512; left >= 2048; left -= 64)
            on_stack(33, low + left);
    for (size_t left = page; left <= 2 * page; left += 512)
        on_stack(33, low + left);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "coroutines") == 0)
        run_coroutines(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 16);
    else if (strcmp(mode, "longjmp") == 0)
        run_longjmp();
    else if (strcmp(mode, "recursion") == 0)
        run_recursion();
    else if (strcmp(mode, "bare") == 0)
        run_bare();
    else if (strcmp(mode, "lies") == 0)
        run_lies();
    else if (strcmp(mode, "rbp") == 0)
        run_rbp();
    else if (strcmp(mode, "generated") == 0)
        run_generated();
    else if (strcmp(mode, "holes") == 0)
        run_holes();
    else if (strcmp(mode, "edge") == 0)
        run_edge();
    else
        die("usage: wild coroutines|longjmp|recursion|bare|lies|rbp|generated|holes|edge");
    truth_say("site", "leaf", &truth);
    return 0;
}
