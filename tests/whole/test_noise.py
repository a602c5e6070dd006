#!/usr/bin/env python3
"""A program does not notice us: output, errors, status, descriptors and results of odd requests are the same
with heaptap and without; exceptions are thrown and caught, by libgcc_s."""
import os
import re
import sys

from harness import COMMAND, PROGRAMS, allocator, find_program, main, program, test

THROWING = os.path.join(PROGRAMS, 'libthrowing.so')


def commands(t):
    yield [program('plain'), 'say']
    yield [program('plain'), 'fds']
    yield [program('plain'), 'exit', '77']
    yield [program('plain'), 'signal', '15']
    yield [program('realloc_edges')]
    yield [program('sites'), '20000', 'keep', '2']
    yield [program('sites_cc'), '20', 'free']
    yield [program('dlopen_throw'), THROWING]
    yield [program('signal_handler')]
    yield ['/bin/ls', '-la', '/usr/lib']
    yield ['/bin/ls', '/nonexistent']
    yield ['/bin/sh', '-c', 'echo out; echo err >&2; for i in 1 2 3; do (exit $i); echo $?; done; exit 9']
    yield ['/bin/sh', '-c', 'ulimit -c 0; kill -ABRT $$']
    yield [sys.executable, '-c', 'import sys; print(sys.version); sys.exit("an error")']
    if find_program('sqlite3'):
        yield [find_program('sqlite3'), ':memory:', 'SELECT 1+1; SELECT * FROM nothing;']
    if find_program('g++'):
        yield [find_program('g++'), '-v', '-E', '-x', 'c++', '/dev/null']
    if find_program('redis-server'):
        yield [find_program('redis-server'), '--version']


def anonymous(data):
    """Without what differs from run to run (temporary names)."""
    return re.sub(rb'/tmp/cc\w+', b'/tmp/cc', data)


def check_same(t, env, what):
    for argv in commands(t):
        plain = t.run(argv, status=None)
        with_us = t.run(argv, env, status=None)
        name = '%s, %s' % (' '.join([os.path.basename(argv[0])] + argv[1:]), what)
        t.equal(with_us.status, plain.status, 'status of ' + name)
        t.equal(anonymous(with_us.out), anonymous(plain.out), 'output of ' + name)
        t.equal(anonymous(with_us.err), anonymous(plain.err), 'errors of ' + name)


@test
def default_settings(t):
    """Preloaded with no setting at all."""
    check_same(t, {'LD_PRELOAD': t.preload()['LD_PRELOAD']}, 'default')
    t.profiles(0)


@test
def every_allocation(t):
    """Preloaded at interval 1 with a profile at exit."""
    check_same(t, t.preload(), 'interval 1')
    t.profiles()


@test
def with_collector(t):
    """Preloaded with a collector thread that has work to do."""
    check_same(t, t.preload(interval=4096, every='20ms'), 'every 20ms')


@test
def quiet_run(t):
    """heaptap run --quiet adds nothing, but the one line that says why there is no profile."""
    for argv in commands(t):
        plain = t.run(argv, status=None)
        with_us = t.run([COMMAND, 'run', '--quiet', '--output', os.path.join(t.output, '%e.%p.%n.pb.gz'), '--'] +
                        argv, status=None)
        name = ' '.join([os.path.basename(argv[0])] + argv[1:])
        t.check(with_us.status == plain.status or with_us.status == 128 - plain.status, 'status of %s: %d, not %d' % (
            name, with_us.status, plain.status))
        t.equal(anonymous(with_us.out), anonymous(plain.out), 'output of ' + name)
        said = b''.join(line for line in with_us.err.splitlines(True)
                        if not (plain.status < 0 and line.startswith(b'heaptap: ') and b'no profile' in line))
        t.equal(anonymous(said), anonymous(plain.err), 'errors of ' + name)


@test
def odd_requests_elsewhere(t):
    """The results of odd requests are those of the allocator that is there."""
    for name in ('jemalloc', 'mimalloc', 'tcmalloc_minimal'):
        library = allocator(name)
        if not library:
            t.note('no ' + name)
            continue
        plain = t.run([program('realloc_edges')], {'LD_PRELOAD': library}, status=None)
        with_us = t.run([program('realloc_edges')], t.preload(library), status=None)
        t.equal((with_us.status, with_us.text), (plain.status, plain.text), name)


def bindings(result):
    """symbol -> the file it is bound to, of what libthrowing.so asked for."""
    found = {}
    for line in result.err.decode('utf-8', 'replace').splitlines():
        match = re.search(r'binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `(\w+)\'', line)
        if match and 'libthrowing.so' in match.group(1):
            found[match.group(3)] = match.group(2)
    return found


@test
def exceptions(t):
    """A C++ library that a C program loads throws, catches, and is bound to libgcc_s and libstdc++."""
    for what, env in (('preloaded', t.preload()), ('unwind check', t.preload(check_unwind=1)),
                      ('over jemalloc', t.preload(*filter(None, [allocator('jemalloc')])))):
        result = t.run([program('dlopen_throw'), THROWING], dict(env, LD_DEBUG='bindings', LD_BIND_NOW='1'))
        lines = [line.split() for line in result.text.splitlines()]
        for line in lines:
            t.equal(set(line[1::2]), {'1'}, '%s: %s' % (what, line[0]))
        t.equal(len(lines), 10, what + ': lines')
        bound = bindings(result)
        t.check('libgcc_s.so' in bound.get('_Unwind_Resume', ''), '%s: _Unwind_Resume: %r' % (
            what, bound.get('_Unwind_Resume')))
        t.check('libstdc++.so' in bound.get('__cxa_throw', ''), '%s: __cxa_throw: %r' % (
            what, bound.get('__cxa_throw')))
        # libstdc++ raises through libgcc_s, and nothing at all is bound to libunwind.
        raised = re.findall(r"binding file \S*libstdc\+\+\S* \[\d+\] to (\S+) \[\d+\]: normal symbol "
                            r"`_Unwind_RaiseException'", result.err.decode('utf-8', 'replace'))
        t.check(raised and all('libgcc_s.so' in r for r in raised), '%s: _Unwind_RaiseException: %r' % (what, raised))
        stolen = re.findall(r"binding file (?!\S*libunwind)(\S+) \[\d+\] to \S*libunwind\S* \[\d+\]: normal symbol `(\w+)'",
                            result.err.decode('utf-8', 'replace'))
        t.equal(stolen, [], what + ': bound to libunwind')


@test
def descriptors(t):
    """The next descriptor is the one the program would get without us, also after snapshots."""
    plain = t.run([program('plain'), 'fds'], status=5)
    t.equal(plain.text, 'next 3\nhello from plain\n', 'without us')
    for env in (t.preload(), t.preload(every='10ms'), t.preload(check_unwind=1)):
        t.equal(t.run([program('plain'), 'fds'], env, status=5).text, plain.text, 'with us')


if __name__ == '__main__':
    main()
