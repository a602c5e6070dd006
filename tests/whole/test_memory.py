#!/usr/bin/env python3
"""How much memory the profiler takes: fixed, for each live sample and stack, and for each thread (test_hazards
resident_memory). Counts, not times: they are the same on every machine."""
import os
import re
import subprocess

from harness import ROOT, find_program, main, test

# Fine enough that nearly every stack is found, and not 1, where live blocks have another table.
INTERVAL = 256

# What there is besides tables of stacks and blocks: rules of frames, modules, buffers, and the first size of each
# table, with what a dump maps at the moment when it looks (mostly a stack that it does not touch).
FIXED = 3 << 20
A_RULE = 48  # 16 in a table that is a third full at least

PYTHON = '''
import ast, json, os, re
held = []
for name in ('ast', 'argparse', 'json.decoder', 'typing', 'inspect'):
    module = __import__(name, fromlist=['x'])
    text = open(module.__file__).read()
    held.append((ast.parse(text), re.findall('[a-z]+', text), compile(text, name, 'exec')))
    held.append(json.loads(json.dumps(re.split('[^a-z]', text))))
os._exit(0)
'''


def resident(t, env):
    """Bytes that a program which has just begun has in memory, its libraries included."""
    process = t.start(['/bin/cat'], env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(b'x\n')
    process.stdin.flush()
    process.stdout.readline()
    with open('/proc/%d/smaps_rollup' % process.pid) as file:
        sizes = dict(re.findall(r'^(\w+): +(\d+) kB', file.read(), re.M))
    t.finish(process)
    return {name: int(sizes[name]) << 10 for name in ('Rss', 'Private_Dirty')}


@test
def at_start(t):
    """A program that has just begun is 2 MiB larger at most, files included."""
    plain = resident(t, None)
    for interval in (1, 512 * 1024):
        ours = resident(t, t.preload(interval=interval))
        added = {name: ours[name] - plain[name] for name in plain}
        t.note('interval %d: %d KiB more resident, %d of them written to' % (
            interval, added['Rss'] >> 10, added['Private_Dirty'] >> 10))
        t.check(added['Rss'] <= 2 << 20, 'interval %d: %d KiB more resident' % (interval, added['Rss'] >> 10))


def check_tables(t, profile, what):
    stacks = {tuple(s.location_ids) for s in profile.samples}
    depth = sum(len(s) for s in stacks)
    used = int(profile.comment('profiler memory').split()[0])
    live, rules = (int(profile.comment(name)) for name in ('live samples', 'unwind rules'))
    rest = used - FIXED - A_RULE * rules - 48 * live
    t.note('%s: %d stacks of %.1f frames, %d samples, %d live, %d rules, %d KiB: %.1f B a stack and 8 a frame' % (
        what, len(stacks), depth / len(stacks), len(profile.samples), live, rules, used >> 10,
        (rest - 8 * depth) / len(stacks)))
    t.check(len(stacks) > 10000, '%s: %d stacks only' % (what, len(stacks)))
    t.check(rest <= 64 * len(stacks) + 8 * depth, '%s: %d B more than the limit' % (
        what, rest - 64 * len(stacks) - 8 * depth))


@test
def stacks_of_python(t):
    """python3 at a small interval: 64 bytes a stack and 8 a frame, 48 a live sample."""
    t.run_preloaded(['/usr/bin/python3', '-c', PYTHON], {'PYTHONMALLOC': 'malloc'}, interval=INTERVAL, memory='1G')
    check_tables(t, t.only_profile(), 'python3')


@test
def stacks_of_a_compiler(t):
    """g++ at a small interval: the same."""
    t.need(find_program('g++'), 'no g++')
    source = os.path.join(ROOT, 'tests', 'programs', 'small.cc')
    t.run_preloaded(['g++', '-O1', '-c', source, '-o', '/dev/null'], interval=INTERVAL, memory='1G', follow=1)
    for path in t.files('cc1plus*'):
        check_tables(t, t.load(path), 'cc1plus')


if __name__ == '__main__':
    main()
