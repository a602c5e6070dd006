#!/usr/bin/env python3
"""What the hooks add to a call that is not sampled, in instructions: as they stand in the library, and as valgrind
counts them while a program runs. These are counts, not times: they are the same on every machine."""
import os
import re
import subprocess

from harness import SO, Failed, find_program, main, program, test

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
    """A program's malloc, calloc, realloc and free: what they take more than without us, never sampled and at 512 KiB."""
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


if __name__ == '__main__':
    main()
