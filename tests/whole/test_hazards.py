#!/usr/bin/env python3
"""Programs that attack a profiler: threads, signals, stacks, processes, loaders and allocators at their worst. Each
runs preloaded and linked, at intervals 1, 4 KiB and 512 KiB, and prints and ends as it does without us.

tests/README.md has the table: hazard, program, promise."""
import os
import re
import signal
import subprocess
import time

import pprof_reader
from harness import (PROGRAMS, SO, Failed, check_exact, main, program, takes_signal, test, truth, wait_until)

INTERVALS = (1, 4096, 512 * 1024)
BUMP = os.path.join(PROGRAMS, 'libbump.so')


def ways(t, name, forms=('so', 'a')):
    """(what, program, environment): preloaded and linked, at each interval, each with profiles of its own."""
    for interval in INTERVALS:
        for form in ('',) + tuple(forms):
            t.new_output('%s-%s-%d' % (name, form, interval))
            env = t.linked(interval=interval) if form else t.preload(interval=interval)
            yield ('%s %s, interval %d' % (name, form or 'preloaded', interval),
                   program(name + ('_' + form if form else '')), env)


def check_same(t, got, wanted, what, ignore=None):
    def text(data):
        return re.sub(ignore, b'', data) if ignore else data
    t.equal(got.status, wanted.status, 'status of ' + what)
    t.equal(text(got.out), text(wanted.out), 'output of ' + what)
    t.equal(text(got.err), text(wanted.err), 'errors of ' + what)


def check_profiles(t, result, what, exact=True, count=1):
    """The profile is valid; at interval 1 it is the truth, and nothing was lost."""
    loaded = t.profiles(count)
    for profile in loaded:
        if profile.period != 1:
            continue
        if exact:
            check_exact(t, profile, truth(result.text), what + ': ')
        t.check(profile.comment('frees not seen') in (None, '0'), what + ': frees not seen')
    return loaded


def hazard(t, name, arguments=(), env=None, exact=True, forms=('so', 'a'), ignore=None, count=1, timeout=60):
    """Runs a program alone and in all ways, and compares. Yields (interval, Result, profiles) of each."""
    argv = [str(a) for a in arguments]
    plain = t.run([program(name)] + argv, env, status=None, timeout=timeout)
    t.check(plain.status == 0, '%s alone: status %d, %r' % (name, plain.status, plain.err[-300:]))
    done = []
    for what, path, with_us in ways(t, name, forms):
        what = ' '.join([what] + argv)
        result = t.run([path] + argv, dict(with_us, **(env or {})), status=None, timeout=timeout)
        check_same(t, result, plain, what, ignore)
        done.append((what, result, check_profiles(t, result, what, exact, count)))
    return done


# --- threads -------------------------------------------------------------------------------------------


@test
def short_threads(t):
    """20,000 short threads."""
    hazard(t, 'thread_edges', ['short', 20000], forms=['so'])


@test
def small_stacks(t):
    """Threads with PTHREAD_STACK_MIN."""
    hazard(t, 'thread_edges', ['small'])


@test
def late_in_threads(t):
    """Allocations in destructors of thread-specific data, and behind them."""
    hazard(t, 'thread_edges', ['late'])


@test
def cancelled_threads(t):
    """Deferred and asynchronous cancellation: malloc and free are no cancellation points."""
    hazard(t, 'thread_edges', ['cancel'])


@test
def many_threads(t):
    """64 threads at once."""
    hazard(t, 'thread_edges', ['many', 64])


@test
def resident_memory(t):
    """1,000 threads that sample: what the profiler adds to the resident memory."""
    def resident(argv, env):
        return int(re.search(r'resident (\d+)', t.run(argv, env).text).group(1))
    argv = [program('thread_edges'), 'resident', '1000']
    plain = resident(argv, None)
    for interval in INTERVALS:
        added = resident(argv, t.preload(interval=interval)) - plain
        t.note('1,000 threads, interval %d: %d KiB more than the %d KiB without us' % (
            interval, added >> 10, plain >> 10))
        # 2 MiB, and 4 KiB a thread; at interval 1 a table of 1,000 live blocks and all pages of the shadow.
        t.check(added < (2 << 20) + 1000 * 4096, 'interval %d: %d KiB more resident' % (interval, added >> 10))


# --- signals -------------------------------------------------------------------------------------------


@test
def small_signal_stack(t):
    """A handler that allocates on an alternate stack of 8 KiB."""
    hazard(t, 'signal_edges', ['altstack'])


@test
def profiling_signal(t):
    """SIGPROF a thousand times a second, whose handler allocates and frees while samples are taken."""
    hazard(t, 'signal_edges', ['prof'], exact=False, forms=['so'])
    # Over an allocator that can be called at any time, at any time.
    for interval in INTERVALS:
        for form, env in (('', t.preload(BUMP, interval=interval)),
                          ('_a', dict(t.linked(interval=interval), LD_PRELOAD=BUMP))):
            t.new_output('prof-any-%d%s' % (interval, form))
            env['HEAPTAP_OUTPUT'] = os.path.join(t.output, '%p.%n.pb.gz')
            t.run([program('signal_edges' + form), 'prof-any'], env)
            profile = pprof_reader.load(t.files()[-1])
            for complaint in profile.complaints(period=interval):
                # The handler may have interrupted the profiler, and the stack says so.
                if not re.search('is a frame of heaptap|function of heaptap', complaint):
                    t.complain(complaint)
            held = profile.with_function('site')
            t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), 'in use, interval %d%s' % (interval, form))


@test
def signal_storm(t):
    """SIGUSR1 a thousand times a second: coalesced, one profile after the last, the program hardly delayed."""
    for what, path, env in ways(t, 'signal_edges', []):
        env['HEAPTAP_AT_EXIT'] = '0'
        result = t.run([path, 'storm', '1000'], env)
        paths = t.files()
        t.check(1 <= len(paths) < 900, '%s: %d profiles for 1,000 signals' % (what, len(paths)))
        longest = int(re.search(r'longest (\d+) us', result.text).group(1))
        t.check(longest < 500000, '%s: the program stood still for %d us' % (what, longest))
        t.note('%s: %d profiles, longest pause %d us' % (what, len(paths), longest))
        last = t.load(paths[-1])
        if last.period == 1:
            t.check(any(s.block_bytes == 123456 for s in last.samples), what + ': the last profile is too old')


@test
def owned_signal(t):
    """SIGUSR1 handled by the program before or after us, or ignored: as without us."""
    for mode in ('before', 'after', 'ignored'):
        hazard(t, 'signal_edges', [mode])


@test
def inherited_signal(t):
    """SIGUSR1 blocked or ignored by the parent stays so; no other signal is blocked."""
    def blocked():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

    def ignored():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for before in (blocked, ignored):
        plain = t.run([program('signal_edges'), 'disposition'], preexec_fn=before)
        for what, path, env in ways(t, 'signal_edges'):
            result = t.run([path, 'disposition'], env, preexec_fn=before)
            check_same(t, result, plain, '%s, %s' % (what, before.__name__))
            t.profiles(1)


# --- stacks --------------------------------------------------------------------------------------------


@test
def coroutines(t):
    """Thousands of coroutines on stacks of 16 KiB, unmapped again."""
    hazard(t, 'wild', ['coroutines', 3200])


@test
def wild_stacks(t):
    """longjmp, deep recursion, no CFI, wrong CFI, wild rbp, generated code, holes, the edge of a stack: no fault."""
    for mode in ('longjmp', 'recursion', 'bare', 'lies', 'rbp', 'generated', 'holes', 'edge'):
        for what, _, profiles in hazard(t, 'wild', [mode]):
            if mode == 'recursion' and profiles[0].period == 1:
                cut = [s for s in profiles[0].samples if 'recurse' in s.names and s.names[-1] == '[truncated]']
                t.check(cut, what + ': no stack is marked as cut')
    # Without the collector, whose guard page would lie between the coroutines' stacks and the rest.
    hazard(t, 'wild', ['holes'], {'HEAPTAP_SIGNAL': 'none'})


if __name__ == '__main__':
    main()
