#!/usr/bin/env python3
"""Each floor includes only what lies below it.

The table is the one of the design: sys, sample, hooks, report, control from the ground up, and tools beside
them. Also: poison.h comes last in every source but those of hooks/, which are there to call the allocator."""
import glob
import os
import re

from harness import ROOT, main, test

PROFILER = os.path.join(ROOT, 'profiler')

# directory -> the headers it may include, as regular expressions of the path under profiler/.
ALLOWED = {
    'sys': ['sys/.*'],
    'sample': ['sys/.*', 'sample/.*'],
    'hooks': ['sys/.*', 'hooks/.*', 'sample/hot.h', 'sample/record.h'],
    'report': ['sys/.*', 'report/.*', 'sample/(stacks|live|lives|sampler|frames|modules).h', 'proto/.*', 'profile.pb-c.h'],
    'control': ['(sys|sample|hooks|report|control)/.*', 'heaptap.h'],
    'tools': ['tools/.*', '[a-z_]+.h', 'sys/.*', 'report/(confidence|demangle|elf|text|xz).h', 'profile.pb-c.h',
              'control/(config|parse|request).h'],
}


def sources(floor):
    base = ROOT if floor == 'tools' else PROFILER
    return sorted(glob.glob(os.path.join(base, floor, '**', '*.[ch]'), recursive=True))


def includes(path):
    """The names in #include "...", in order."""
    with open(path) as file:
        return re.findall(r'^\s*#\s*include\s+"([^"]+)"', file.read(), re.M)


def own_path(floor, path, name):
    """The header's path under profiler/, also when it is named from its own directory."""
    beside = os.path.join(os.path.dirname(path), name)
    if '/' not in name and os.path.exists(beside):
        return floor + '/' + name
    return name


def forbidden(floor, names):
    return [n for n in names if not any(re.fullmatch(p, n) for p in ALLOWED[floor])]


def public_uses(path):
    with open(path) as file:
        return re.findall(r'^\s*#\s*include\s+<(heaptap\.h)>', file.read(), re.M)


@test
def arrows(t):
    """No include points upwards."""
    count = 0
    for floor in ALLOWED:
        for path in sources(floor):
            count += 1
            names = [own_path(floor, path, n) for n in includes(path)] + public_uses(path)
            for name in forbidden(floor, names):
                t.complain('%s includes %s' % (os.path.relpath(path, ROOT), name))
    t.check(count >= 10, 'only %d sources found' % count)


@test
def rule_can_fail(t):
    """The rule knows an arrow that points upwards."""
    t.equal(forbidden('sys', ['sys/os.h', 'sample/live.h']), ['sample/live.h'], 'sys')
    t.equal(forbidden('hooks', ['sample/hot.h', 'sample/live.h', 'report/elf.h']), ['sample/live.h', 'report/elf.h'],
            'hooks')
    t.equal(forbidden('report', ['sample/live.h', 'sample/record.h', 'control/config.h']),
            ['sample/record.h', 'control/config.h'], 'report')
    t.equal(forbidden('tools', ['report/elf.h', 'sample/hot.h', 'hooks/next.h']), ['sample/hot.h', 'hooks/next.h'],
            'tools')


@test
def poison_last(t):
    """sys/poison.h is the last include of every source of the profiler but those of hooks/."""
    for floor in ('sys', 'sample', 'report', 'control'):
        for path in sources(floor):
            if path.endswith('.c'):
                t.equal(includes(path)[-1:], ['sys/poison.h'], os.path.relpath(path, ROOT) + ', last include')


@test
def own_header_first(t):
    """The first include of x.c is x.h, where there is one (or the contract that it fulfils, then x.h)."""
    for floor in ('sys', 'sample', 'report', 'control'):
        for path in sources(floor):
            header = path[:-2] + '.h'
            if path.endswith('.c') and os.path.exists(header):
                with open(path) as file:
                    first = re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', file.read(), re.M)[:2]
                own = [name for name in first if name.startswith(floor + '/')]
                t.check(first[:1] == own[:1] and floor + '/' + os.path.basename(header) in own,
                        '%s includes first: %r' % (os.path.relpath(path, ROOT), first))


@test
def file_size(t):
    """No source is far above 400 lines."""
    for floor in ALLOWED:
        for path in sources(floor):
            with open(path) as file:
                lines = len(file.readlines())
            t.check(lines <= 450, '%s has %d lines' % (os.path.relpath(path, ROOT), lines))


if __name__ == '__main__':
    main()
