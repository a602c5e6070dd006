#!/usr/bin/env python3
"""Profiles of lifetimes: how long blocks live, who frees them, and where; and the ages in heap profiles.

About one block for each 128 KiB is followed, so sums are estimates. They are compared with the truth in units of
the errors that the profile gives; six of them, so that a correct profiler fails less than once in 10 million times
for each of the 60 comparisons. Who frees, and where, is the same for all blocks of a site: there is no chance in it.
How long something takes is not quite the program's to say: on a busy machine one in five may take longer."""
import math
import os
import re
import signal

from harness import COMMAND, go_pprof, main, program, test, truth, wait_until
from pprof_reader import Values

SIGMAS = 6
AGES = ['<10us', '<100us', '<1ms', '<10ms', '<100ms', '<1s', '<10s', '<100s', '<1000s', '>=1000s']


def label(sample, key):
    return next((text for name, text, _, _ in sample.labels if name == key), None)


def split(t):
    """The heap profile and that of lifetimes."""
    heap, = (t.load(p) for p in t.files('*.pb.gz') if '.lifetimes.' not in p)
    lives, = (t.load(p) for p in t.files('*.lifetimes.pb.gz'))
    return heap, lives


def check_sums(t, lives, sites):
    for name, site in sites.items():
        rows = [s for s in lives.samples if name in s.names]
        for column, title in enumerate(Values._fields):
            got, wanted = sum(s.values[column] for s in rows), site.values[column]
            error = math.sqrt(sum(s.variance[column] for s in rows))
            t.check(abs(got - wanted) <= SIGMAS * error + len(rows), '%s %s: %d, not %d, error %.0f' % (
                name, title, got, wanted, error))


def place(lives, sample):
    """Functions of the free and of the allocation where their stacks part."""
    if not sample.freed_location:
        return None
    location = next(l for l in lives.locations if l.id == sample.freed_location)
    return location.names[0], sample.names[sample.freed_frame]


def check_site(t, lives, name, freed_by, function, ages):
    rows = [s for s in lives.samples if s.names[0] == name]
    if not t.check(rows, name + ': no row'):
        return
    t.equal({label(s, 'freed_by') for s in rows}, {freed_by}, name + ' freed by')
    t.equal({place(lives, s) for s in rows}, {function and (function, function)}, name + ' freed in')
    total = sum(s.values.alloc_bytes for s in rows)
    within = sum(s.values.alloc_bytes for s in rows if label(s, 'lifetime') in ages)
    t.check(within >= 0.8 * total, '%s: %.0f %% lived %s' % (name, 100 * within / total, ages))
    t.check(all(label(s, 'lifetime') in AGES for s in rows), name + ': an unknown age')


@test
def lives_are_known(t):
    """Ages, threads and functions of each site, at intervals of 1, 4 KiB and 512 KiB"""
    for interval in (1, 4096, 512 * 1024):
        t.new_output(str(interval))
        result = t.run_preloaded([program('lifetimes'), '40'], interval=interval, lifetimes=1, timeout=120)
        heap, lives = split(t)
        t.equal(heap.process, lives.process, 'process')
        t.equal(lives.period, max(interval, 128 * 1024), 'period')
        check_sums(t, lives, truth(result.text))
        check_site(t, lives, 'site_local', 'same thread', 'site_local', AGES[:3])
        check_site(t, lives, 'site_made', 'same thread', 'use_made', AGES[:3])
        check_site(t, lives, 'site_crossed', 'other thread', None, AGES[:6])
        check_site(t, lives, 'site_slow', 'same thread', 'site_slow', AGES[4:6])
        check_site(t, lives, 'site_held', None, None, AGES[4:7])
        oldest = [s.oldest_nanos for s in heap.samples if s.names[0] == 'site_held']
        t.check(oldest and 30e6 <= max(oldest) < 60e9, 'the oldest is %r ns old' % oldest)
        t.check(not any(s.oldest_nanos for s in heap.samples if s.values.inuse_objects == 0), 'ages of nothing')
        t.check(lives.default_type == 'alloc_space', lives.default_type)


@test
def pprof_reads_them(t):
    """go tool pprof shows the labels"""
    t.run_preloaded([program('lifetimes'), '40'], interval='64K', lifetimes=1)
    path, = t.files('*.lifetimes.pb.gz')
    tags = go_pprof(t, '-tags', path)
    for word in ('lifetime', 'freed_by', 'same thread', 'other thread', '<100ms'):
        t.check(word in tags, '%s is not in %s' % (word, tags))
    top = go_pprof(t, '-top', '-tagfocus=freed_by=other thread', path)
    t.check('site_crossed' in top and 'site_local' not in top, top)


@test
def on_request(t):
    """heaptap snapshot --lifetimes has both written, without the setting; a plain one does not"""
    process = t.start([program('plain'), 'sleep', '60000'], t.preload(interval='4K', at_exit=0))
    t.check(wait_until(lambda: 'libheaptap' in open('/proc/%d/maps' % process.pid).read()), 'no library')
    result = t.run([COMMAND, 'snapshot', '--lifetimes', str(process.pid)])
    lines = result.text.splitlines()
    t.equal(len(lines), 2, 'lines: %r' % lines)
    names = [os.path.basename(path) for path in t.files()]
    t.check(len(names) == 2 and names[0].replace('.lifetimes', '') == names[1].replace('.lifetimes', ''), names)
    t.equal(len(t.run([COMMAND, 'snapshot', str(process.pid)]).text.splitlines()), 1, 'lines of a plain one')
    t.equal(len(t.files('*.lifetimes.*')), 1, 'profiles of lifetimes')


@test
def kept_in_pairs(t):
    """HEAPTAP_KEEP=2 keeps two of each"""
    process = t.start([program('plain'), 'sleep', '60000'], t.preload(interval='4K', at_exit=0, keep=2, lifetimes=1))
    t.check(wait_until(lambda: 'libheaptap' in open('/proc/%d/maps' % process.pid).read()), 'no library')
    for _ in range(4):
        t.equal(len(t.run([COMMAND, 'snapshot', str(process.pid)]).err_lines), 0, 'complaints')
    t.check(wait_until(lambda: len(t.files()) == 4), [os.path.basename(p) for p in t.files()])
    numbers = sorted({re.search(r'\.(\d+)\.(lifetimes\.)?pb\.gz$', p).group(1) for p in t.files()})
    t.equal(numbers, ['3', '4'], 'numbers')
    t.check(process.poll() is None and process.send_signal(signal.SIGTERM) is None, 'it has ended')


@test
def run_writes_them(t):
    """heaptap run --lifetimes"""
    result = t.run([COMMAND, 'run', '--lifetimes', '--output', os.path.join(t.output, 'p.%n.pb.gz'), '--',
                    program('lifetimes'), '10'])
    t.equal([os.path.basename(p) for p in t.files()], ['p.1.lifetimes.pb.gz', 'p.1.pb.gz'], 'files')
    t.check(any('p.1.lifetimes.pb.gz' in line for line in result.err_lines), result.err_lines)


if __name__ == '__main__':
    main()
