#!/usr/bin/env python3
"""Every edge of every hooked function gives what it gives without us: result, errno and usable size, over each
allocator; and afterwards the profile still balances.

The programs (tests/programs/edges.c, edges.cc) print a transcript; nothing here knows what should be in it."""
import difflib
import os
import re

from harness import allocator, check_exact, main, program, test, truth

INTERVALS = (1, 4096, 512 * 1024)
# The functions of the two programs that allocate.
PARTS = r'edges_of_|one_posix_memalign|failing_realloc|forms$|failures$|handlers$|retry$|expressions$'
# jemalloc has none: glibc's would give and jemalloc could not take back, with or without heaptap.
WITHOUT_PVALLOC = ('jemalloc',)
# It keeps address space, and gives these blocks while RLIMIT_AS forbids new: the table of live blocks may have no
# room for them, which depends on their addresses (1 run of 4,000).
GIVEN_WITHOUT_MEMORY = {('edges_cc', 'jemalloc'): 2}


# Compiled as C, it aborts where operator new should throw.
WITHOUT_EXCEPTIONS = ('mimalloc',)


def arguments(name, underneath=None):
    if name == 'edges':
        return ['without_pvalloc'] if underneath in WITHOUT_PVALLOC else []
    return ['only_successes'] if underneath in WITHOUT_EXCEPTIONS else []


def check_same(t, got, wanted, what):
    """One complaint that shows where two transcripts differ."""
    t.equal(got.status, wanted.status, 'status, ' + what)
    for stream, one, other in (('output', wanted.text, got.text),
                               ('errors', '\n'.join(wanted.err_lines), '\n'.join(got.err_lines))):
        if one != other:
            t.complain('%s, %s\n%s' % (stream, what, '\n'.join(list(difflib.unified_diff(
                one.splitlines(), other.splitlines(), 'without', 'with', lineterm='', n=1))[:30])))
    t.check(len(wanted.text) > 5000, 'a transcript of %d bytes' % len(wanted.text))


def check_balance(t, what, may_be_dropped=0):
    """Whatever the program did, it holds nothing. (Its thread is glibc's own business.)"""
    dropped = ['0'] + ['%d (table of live blocks full %d, stacks full 0, no buffer 0, frees missed 0)' % (n, n)
                       for n in range(1, may_be_dropped + 1)]
    for profile in t.profiles():
        held = profile.total(lambda sample: any(re.match(PARTS, name) for name in sample.names))
        t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), 'in use, ' + what)
        t.check(profile.comment('dropped') in dropped, 'dropped, %s: %s' % (what, profile.comment('dropped')))
        t.check(profile.comment('frees not seen') in (None, '0'), 'frees not seen, ' + what)
        if profile.period == 1:
            t.check(held.alloc_objects > 100, '%d objects allocated, %s' % (held.alloc_objects, what))


def check_transcripts(t, name, underneath=None):
    library = allocator(underneath) if underneath else None
    if underneath:
        t.need(library, 'no %s on this machine' % underneath)
    more = arguments(name, underneath)
    alone = {'LD_PRELOAD': library} if library else {}
    plain = t.run([program(name)] + more, alone, status=None)
    for interval in INTERVALS:
        preload = t.preload(*filter(None, [library]), interval=interval)
        archive = dict(t.linked(interval=interval), **alone)
        ways = [('preloaded', name, preload), ('archive', name + '_a', archive)]
        if not library:  # a preloaded allocator stands in front of a linked library, and keeps the calls
            ways.append(('linked', name + '_so', t.linked(interval=interval)))
        for way, file, env in ways:
            t.new_output('%s-%d' % (file, interval))
            env['HEAPTAP_OUTPUT'] = os.path.join(t.output, '%e.%p.%n.pb.gz')
            what = '%s, %s, interval %d' % (name, way, interval)
            check_same(t, t.run([program(file)] + more, env, status=None), plain, what)
            check_balance(t, what, GIVEN_WITHOUT_MEMORY.get((name, underneath), 0))
            t.equal(len(t.files()), 1, 'profiles, ' + what)


@test
def c(t):
    """C, over glibc: preloaded, linked, archive, at three intervals."""
    check_transcripts(t, 'edges')


@test
def cc(t):
    """C++, over glibc."""
    check_transcripts(t, 'edges_cc')


@test
def jemalloc(t):
    """C and C++ over jemalloc."""
    check_transcripts(t, 'edges', 'jemalloc')
    check_transcripts(t, 'edges_cc', 'jemalloc')


@test
def mimalloc(t):
    """C and C++ over mimalloc."""
    check_transcripts(t, 'edges', 'mimalloc')
    check_transcripts(t, 'edges_cc', 'mimalloc')


@test
def tcmalloc(t):
    """C and C++ over tcmalloc."""
    check_transcripts(t, 'edges', 'tcmalloc_minimal')
    check_transcripts(t, 'edges_cc', 'tcmalloc_minimal')


@test
def realloc_race(t):
    """Threads realloc, others take the addresses they leave: nothing is lost, and in use is 0 at the end."""
    for name, env in (('realloc_race', t.preload()), ('realloc_race_so', t.linked()),
                      ('realloc_race_a', t.linked())):
        t.new_output(name)
        env['HEAPTAP_OUTPUT'] = os.path.join(t.output, '%e.%p.%n.pb.gz')
        result = t.run([program(name)], env)
        profile = t.only_profile(period=1)
        check_exact(t, profile, truth(result.text), name + ': ')
        t.check(profile.comment('frees not seen') in (None, '0'), 'frees not seen: %s' % profile.comment(
            'frees not seen'))
        t.equal(profile.comment('dropped'), '0', name + ': dropped')


if __name__ == '__main__':
    main()
