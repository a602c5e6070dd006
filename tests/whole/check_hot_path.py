#!/usr/bin/env python3
"""What the hooks add to a call that is not sampled, in instructions: as they stand in the library, and as valgrind
counts them while a program runs. These are counts, not times: they are the same on every machine."""
import os
import re
import subprocess

from harness import BUILD, ROOT, SO, Failed, find_program, main, program, test

# The most that is allowed, the jump to the real function included.
MOST = {'malloc': 4, 'free': 7, 'calloc': 8, 'realloc': 14}
# Where no slow path is ever taken, and as many as there are at 512 KiB: 64 bytes of 512 Ki are sampled once in 8192
# pairs; half as much again as the sample's cost is allowed.
CALLS = {'malloc': ('malloc', 'free'), 'calloc': ('calloc', 'free'), 'realloc': ('realloc',)}
NEVER, USUAL = 1 << 40, 512 * 1024
FEW, MANY = 20000, 120000


def fast_path(name):
    """The instructions from the entry of a hook to its jump to the real function, when no branch is taken."""
    text = subprocess.run(['objdump', '-d', '--no-show-raw-insn', '--disassemble=' + name, SO], check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    body = re.search(r'<%s>:\n(.*?)\n\n' % name, text, re.S)
    if not body:
        raise Failed('no function %s in %s' % (name, SO))
    path = []
    for line in body.group(1).splitlines():
        instruction = line.split('\t', 1)[1].strip()
        path.append(instruction)
        if re.match(r'(notrack )?jmp +\*', instruction):
            return path
        if re.match(r'(call|ret|jmp|lock|syscall)', instruction):
            break
    raise Failed('%s does not end by a jump to the real one: %s' % (name, path))


@test
def instructions_of_the_hooks(t):
    """malloc 4, free 7, calloc 8, realloc 14 at most, and none of them locks or calls."""
    for name, most in MOST.items():
        path = fast_path(name)
        t.note('%s: %d' % (name, len(path)))
        t.check(len(path) <= most, '%s: %d instructions, not %d: %s' % (name, len(path), most, path))


# As the hooks are compiled; no header of another machine's C library is needed.
ELSEWHERE_ARGUMENTS = ['-std=gnu17', '-ffreestanding', '-O2', '-fPIC', '-fvisibility=hidden',
                       '-ftls-model=initial-exec', '-fno-plt', '-fno-builtin', '-Wall', '-Wextra', '-Werror',
                       '-x', 'c', '-S', '-o', '-', '-']
ELSEWHERE = {
    'malloc': (10, 'void *malloc(size_t size)', 'void *malloc_slow(size_t size);'),
    'free': (8, 'void free(void *block)', 'void free_slow(void *block);'),
}
# The compiler, and what it may add. gcc's tail call through a pointer is by x16 or x17, where a branch target may be
# checked, and it copies the pointer there from the register it was loaded to.
ELSEWHERE_COMPILERS = ((['clang', '--target=aarch64-linux-gnu'], 0), (['aarch64-linux-gnu-gcc'], 1))


def hook_as_written(head):
    """One function of hooks/malloc.c, from its head to the brace that ends it."""
    with open(os.path.join(ROOT, 'profiler', 'hooks', 'malloc.c')) as file:
        match = re.search(r'^%s\n{\n.*?^}\n' % re.escape(head), file.read(), re.S | re.M)
    if not match:
        raise Failed('hooks/malloc.c has no ' + head)
    return match.group(0)


def aarch64_fast_path(compiler, head, slow):
    """The instructions from the entry to the jump to the real function, when no branch is taken."""
    source = '#include "hooks/next.h"\n#include "sample/hot.h"\nHT_COLD %s\nHT_EXPORT %s;\n%s' % (
        slow, head, hook_as_written(head))
    compiled = subprocess.run(compiler + ELSEWHERE_ARGUMENTS + ['-I', os.path.join(ROOT, 'profiler')],
                              input=source.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = compiled.stdout.decode()
    if compiled.returncode != 0:
        raise Failed('%s: %s' % (' '.join(compiler), text))
    name = re.search(r'(\w+)\(', head).group(1)
    path = []
    for line in re.search(r'^%s:(.*)' % name, text, re.S | re.M).group(1).splitlines():
        instruction = re.sub(r'\s+', ' ', re.sub(r'//.*', '', line)).strip()
        if not instruction or re.match(r'[.\w$]+:|\.', instruction):
            continue  # a label or a directive
        path.append(instruction)
        if re.match(r'br x', instruction):
            return path
        if re.match(r'(bl|blr|b|ret|svc|dmb|ld\w*x\w*r|st\w*x\w*r) ', instruction):
            break
    raise Failed('%s does not end by a jump to the real one: %s' % (name, path))


@test
def instructions_on_aarch64(t):
    """malloc 10, free 8 at most, as compilers for AArch64 make them of the same source."""
    there = [(compiler, more) for compiler, more in ELSEWHERE_COMPILERS if find_program(compiler[0])]
    t.need(there, 'no compiler for AArch64')
    for compiler, more in there:
        for name, (most, head, slow) in ELSEWHERE.items():
            most += more
            path = aarch64_fast_path(compiler, head, slow)
            t.note('%s, %s: %d' % (compiler[0], name, len(path)))
            t.check(len(path) <= most, '%s, %s: %d instructions, not %d: %s' % (
                compiler[0], name, len(path), most, path))


def without_debug_information(t, path):
    """A copy of it: valgrind 3.19 does not understand all that clang writes, and gives up."""
    copy = t.path(os.path.basename(path))
    if not os.path.exists(copy):
        subprocess.run(['strip', '-g', '-o', copy, path], check=True)
    return copy


def counted(t, argv, env):
    """The instructions of a run, by valgrind."""
    if env:
        env = dict(env, LD_PRELOAD=without_debug_information(t, SO))
    argv = [without_debug_information(t, argv[0])] + argv[1:]
    log = t.path('callgrind')
    t.run([find_program('valgrind'), '--tool=callgrind', '--callgrind-out-file=' + log] + argv,
          dict(env or {}, HEAPTAP_SIGNAL='none'), timeout=300)
    with open(log) as file:
        return int(re.search(r'^(?:summary|totals): (\d+)', file.read(), re.M).group(1))


def each(t, what, env):
    """Instructions of one turn: the difference of two lengths, so that what is done once does not count."""
    few, many = (counted(t, [program('pairs'), what, str(n)], env) for n in (FEW, MANY))
    return (many - few) / (MANY - FEW)


@test
def instructions_of_a_program(t):
    """A program's malloc, calloc, realloc and free: what they take more than without us, not sampled and at 512 KiB."""
    t.need(find_program('valgrind'), 'valgrind')
    for what, calls in CALLS.items():
        plain = each(t, what, None)
        most = sum(MOST[call] for call in calls)
        added = each(t, what, t.preload(interval=NEVER, at_exit=0, follow=1)) - plain
        t.note('%s: %.1f, %.2f more' % (' and '.join(calls), plain, added))
        t.check(2 < added <= most + 0.05, '%s: %.2f instructions more, not %d' % (' and '.join(calls), added, most))
        usual = each(t, what, t.preload(interval=USUAL, at_exit=0, follow=1)) - plain
        t.note('at 512 KiB, samples included: %.2f more' % usual)
        t.check(usual <= most + 5, 'at 512 KiB: %.2f instructions more' % usual)


# A frame of a stack whose rules are known: at most, and 33 in a prototype.
FRAME_MOST = 90


@test
def instructions_of_a_frame(t):
    """A stack's next frame, when its rule is known: the difference of two depths and of two numbers of walks."""
    t.need(find_program('valgrind'), 'valgrind')
    bench = os.path.join(os.environ.get('TEST_BUILD_DIRECTORY', BUILD), 'tests', 'bench', 'bench_unwind')
    low, high, few, many = 20, 100, 100, 1100
    walk = {}
    for levels in (low, high):
        runs = [counted(t, [bench, 'walk', str(levels), str(times)], None) for times in (few, many)]
        walk[levels] = (runs[1] - runs[0]) / (many - few)
    frame = (walk[high] - walk[low]) / (high - low)
    t.note('%.1f a frame, and %.0f a walk' % (frame, walk[low] - low * frame))
    t.check(frame <= FRAME_MOST, '%.1f instructions, not %d' % (frame, FRAME_MOST))


if __name__ == '__main__':
    main()
