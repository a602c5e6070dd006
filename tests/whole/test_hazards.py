#!/usr/bin/env python3
"""Programs that attack a profiler: threads, signals, stacks, processes, loaders and allocators at their worst. Each
runs preloaded and linked, at intervals 1, 4 KiB and 512 KiB, and prints and ends as it does without us.

tests/README.md has the table: hazard, program, promise."""
import os
import re
import shutil
import signal

import pprof_reader
from harness import PROGRAMS, SO, check_exact, main, program, test, truth

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
        # 2 MiB, and 4 KiB a thread; at interval 1 10: its counters, and what is kept of its last walk.
        t.check(added < (2 << 20) + 1000 * (11008 if interval == 1 else 4096), 'interval %d: %d KiB more resident' % (interval, added >> 10))


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
def every_instruction(t):
    """Allocation functions interrupted at each instruction, by a handler that allocates, asks for a new gap, or forks."""
    # The archive's own frames show in the handler's stacks, which has no libheaptap.so to tell them by.
    for mode, forms in (('alloc', ['so']), ('redraw', ['so', 'a']), ('fork', ['so'])):
        for what, _, profiles in hazard(t, 'step', [mode], forms=forms):
            for profile in profiles[:1]:
                held = profile.with_function('site_in_handler')
                t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), what + ': in use of handlers')
                t.equal(profile.comment('dropped'), '0', what + ': dropped')
                cut = profile.with_function('[truncated]')
                t.equal(cut.alloc_objects, 0, what + ': stacks that are cut')


@test
def signal_storm(t):
    """SIGUSR1 a thousand times a second: one profile after the last, never more than signals, the program hardly delayed."""
    for what, path, env in ways(t, 'signal_edges', []):
        env['HEAPTAP_AT_EXIT'] = '0'
        result = t.run([path, 'storm', '1000'], env)
        paths = t.files()
        t.check(1 <= len(paths) <= 1001, '%s: %d profiles for 1,000 signals' % (what, len(paths)))
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
def shown_signal(t):
    """What a program is told of SIGUSR1 is what it would be told without us, whatever it puts there."""
    for what, _, _ in hazard(t, 'signal_edges', ['shown'], exact=False):
        t.note(what)


@test
def put_back_signal(t):
    """A handler that puts the default back and sends the signal again ends the program, as without us."""
    for what, path, env in ways(t, 'signal_edges'):
        t.equal(t.run([path, 'put-back'], env, status=None).status, -signal.SIGUSR1, what)
        t.profiles(0)
    # Somebody else's signal has a profile written: it does not end a program that had put back what it found.
    program_text = ('import os, signal, sys\n'
                    'signal.signal(signal.SIGUSR1, signal.signal(signal.SIGUSR1, lambda *_: None))\n'
                    'print(signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL, flush=True)\n'
                    'sys.stdin.read()')
    t.new_output('put back')
    process = t.start(['/usr/bin/python3', '-c', program_text], t.preload(at_exit=0), stdin=-1, stdout=-1)
    t.equal(process.stdout.readline(), b'True\n', 'SIGUSR1 is at its default')
    os.kill(process.pid, signal.SIGUSR1)
    t.wait_for_files(1)
    process.stdin.close()
    t.equal(process.wait(20), 0, 'status')


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
    """longjmp, deep recursion, no CFI, wrong and endless CFI, wild rbp, generated code, holes, the edge of a stack: no fault."""
    for mode in ('longjmp', 'recursion', 'bare', 'lies', 'rbp', 'generated', 'holes', 'edge'):
        for what, _, profiles in hazard(t, 'wild', [mode]):
            if mode == 'recursion' and profiles[0].period == 1:
                cut = [s for s in profiles[0].samples if 'recurse' in s.names and s.names[-1] == '[truncated]']
                t.check(cut, what + ': no stack is marked as cut')
    # Without the collector, whose guard page would lie between the coroutines' stacks and the rest.
    hazard(t, 'wild', ['holes'], {'HEAPTAP_SIGNAL': 'none'})


# --- processes -----------------------------------------------------------------------------------------


def ignoring(number):
    return lambda: signal.signal(number, signal.SIG_IGN)


@test
def forks_and_daemons(t):
    """A double fork and daemon(): every process that exits leaves its profile."""
    hazard(t, 'processes', ['double'], exact=False, count=3)
    # daemon() ends its parent by an _exit within the C library, which nobody sees.
    hazard(t, 'processes', ['daemon'], exact=False, count=2)


@test
def closed_descriptors(t):
    """A program closes every descriptor and opens files of its own: their content stays its own."""
    for what, path, env in ways(t, 'processes'):
        files = [t.path('%d-%s' % (i, os.path.basename(t.output))) for i in range(6)]
        result = t.run([path, 'close'] + files, dict(env, HEAPTAP_EVERY='10ms'), preexec_fn=ignoring(signal.SIGUSR1))
        t.equal(result.out, b'untouched\n', 'output of ' + what)
        for file in files:
            with open(file, 'rb') as opened:
                t.equal(opened.read(), b'mine\n', os.path.basename(file))
        t.check(t.profiles(), what + ': no profile')


@test
def limits(t):
    """RLIMIT_AS that is reached, RLIMIT_NOFILE of 4, RLIMIT_FSIZE of 0."""
    hazard(t, 'processes', ['space'], exact=False)
    hazard(t, 'processes', ['few'], exact=False, count=0, ignore=rb'heaptap: no profile: .*\n')
    hazard(t, 'processes', ['size', t.path('file')], exact=False, count=0, ignore=rb'heaptap: no profile: .*\n')


@test
def other_root(t):
    """chroot: the profile is written below the new root, or there is one line."""
    t.need(os.geteuid() == 0, 'chroot is for root')
    for name in ('with', 'without'):
        os.mkdir(t.path(name))
    os.makedirs(t.path('with', 'tmp'))
    for what, path, env in ways(t, 'processes'):
        env['HEAPTAP_OUTPUT'] = '/tmp/%s.%%n.pb.gz' % os.path.basename(t.output)
        result = t.run([path, 'chroot', t.path('with')], env)
        t.equal((result.out, result.err), (b'end of chroot\n', b''), what)
        t.load(t.path('with', 'tmp', '%s.1.pb.gz' % os.path.basename(t.output)))
        result = t.run([path, 'chroot', t.path('without')], env)
        t.equal(result.out, b'end of chroot\n', what)
        t.equal(len(result.err_lines), 1, '%s: %r' % (what, result.err))


@test
def dropped_privileges(t):
    """setuid(nobody), who may not write: one line, and the program is unharmed."""
    t.need(os.geteuid() == 0, 'setuid is for root')
    os.chmod(t.directory, 0o755)
    for what, path, env in ways(t, 'processes'):
        os.chmod(t.output, 0o755)
        result = t.run([path, 'nobody'], env)
        t.equal(result.out, b'end of nobody\n', what)
        t.equal(len(result.err_lines), 1, '%s: %r' % (what, result.err))
        t.profiles(0)
        os.chmod(t.output, 0o777)
        t.run([path, 'nobody'], env)
        t.profiles(1)


@test
def locked_memory(t):
    """mlockall() with all that the program has just within RLIMIT_MEMLOCK: ours does not count."""
    for what, result, _ in hazard(t, 'processes', ['locked'], exact=False):
        t.check('mlockall: 0\nas much as that: 1\nmmap: 1\n' in result.text, '%s: %r' % (what, result.text))


@test
def forbidden_clock(t):
    """prctl(PR_SET_TSC): the processor's counter, by which we tell the time, must not be read any more."""
    hazard(t, 'processes', ['clockless'], exact=False)
    hazard(t, 'processes', ['clockless'], {'HEAPTAP_INTERVAL': 'auto'}, exact=False)


@test
def empty_environment(t):
    """A child with no environment at all: a preloaded one is not profiled, a linked one has its defaults."""
    plain = t.run([program('processes'), 'empty', program('processes')])
    for what, path, env in ways(t, 'processes'):
        check_same(t, t.run([path, 'empty', path], dict(env, HEAPTAP_FOLLOW='1'), cwd=t.output), plain, what)


@test
def storms(t):
    """posix_spawn, vfork and exec, clone(CLONE_VM | CLONE_VFORK): every child counts for itself."""
    hazard(t, 'processes', ['spawn', 20], {'HEAPTAP_FOLLOW': '1'}, exact=False, count=21)
    # The vfork child shares our memory, and exits without a profile.
    hazard(t, 'processes', ['vfork', 20], {'HEAPTAP_FOLLOW': '1'}, exact=False, count=21)
    for what, _, profiles in hazard(t, 'processes', ['clone', 40], exact=False):
        held = profiles[0].with_function('site')
        if profiles[0].period == 1:
            # 20 children, 40 times itself and once at the end: one block is kept each time.
            t.equal((held.inuse_objects, held.inuse_bytes), (61, 61 * 4096), what + ': held')


@test
def descriptor_numbers(t):
    """open() gives the same number always, while profiles are written."""
    plain = t.run([program('processes'), 'numbers', '20'], preexec_fn=ignoring(signal.SIGUSR1))
    for what, path, env in ways(t, 'processes'):
        result = t.run([path, 'numbers', '20'], env)
        check_same(t, result, plain, what)
        t.check(len(t.profiles()) > 3, what + ': hardly a profile')


# --- the loader ----------------------------------------------------------------------------------------


@test
def early_and_late(t):
    """Allocations in an IFUNC resolver, constructors, destructors and atexit handlers; .preinit_array."""
    hazard(t, 'resolver', exact=False)
    hazard(t, 'early', exact=False, forms=[])


@test
def sandboxed(t):
    """Programs that put themselves under a seccomp filter which would end them for what we do: they run on, and say so."""
    for way in ('prctl', 'syscall', 'tsync', 'thread', 'child'):
        for action, allowed in (('kill', 'least'), ('kill', 'probe'), ('trap', 'files'), ('errno', 'least')):
            if way == 'thread' and allowed == 'least':
                allowed = 'probe'  # a thread's end takes rt_sigprocmask
            argv = [way, action, allowed]
            plain = t.run([program('sandboxed')] + argv, status=None)
            t.equal(plain.status, 4, 'alone, %s' % argv)
            for what, path, env in ways(t, 'sandboxed'):
                what = ' '.join([what] + argv)
                result = t.run([path] + argv, dict(env, HEAPTAP_EVERY='50ms'), status=None)
                t.equal((result.status, result.out), (4, plain.out), what)
                said = [line for line in result.err_lines if 'a seccomp filter of the program ends it for' in line]
                t.equal(said, result.err_lines[:1] if action != 'errno' else [], '%s says %r' % (what, result.err))
                if action != 'errno':
                    t.equal(len(result.err_lines), 1, '%s says %r' % (what, result.err))


@test
def refused_sandbox(t):
    """A filter that the kernel refuses changes nothing; one that is refused after another does not undo the first."""
    plain = t.run([program('sandboxed'), 'refused', 'kill', 'least'], status=None)
    for what, path, env in ways(t, 'sandboxed'):
        result = t.run([path, 'refused', 'kill', 'least'], env, status=None)
        t.equal((result.status, result.out), (4, plain.out), what)
        profile = t.only_profile()
        if profile.period == 1:
            t.equal(profile.with_function('site').alloc_objects, int(result.text.split()[-1]), what)
        result = t.run([path, 'again', 'kill', 'files'], env, status=None)
        t.equal((result.status, result.out), (4, plain.out), what + ', again')
        t.equal(len(t.files()), 1, what + ', again: profiles')


@test
def opened_late(t):
    """dlopen of libheaptap itself: it works or says why not, and the program goes on."""
    for how in ('local', 'global'):
        plain = t.run([program('loader'), 'open', how, '/nonexistent'])
        t.new_output('alone-' + how)
        result = t.run([program('loader'), 'open', how, SO], t.linked())
        t.equal((result.text, result.err), (plain.text.replace('not opened', 'closed: 0'), b''), how)
        t.profiles(1)
        result = t.run([program('loader'), 'open', how, SO], t.linked(verbose=1))
        t.check(b'in front of heaptap: nothing is sampled' in result.err, '%s: %r' % (how, result.err))
        for what, path, env in ways(t, 'loader', ['so']):
            result = t.run([path, 'open', how, SO], env)
            t.equal(result.text, 'closed: 0\nend\n', '%s, %s' % (what, how))
            t.profiles(1)


@test
def two_copies(t):
    """A second copy of heaptap, opened, preloaded or linked: one profiles, the other says so and does nothing."""
    copy = t.path('libheaptap-copy.so')
    shutil.copy(SO, copy)
    wanted = 'another copy is in front\nclosed: 0\nend\n'
    for how in ('local', 'global'):
        for form, env in (('', t.preload), ('_so', t.linked), ('_a', t.linked)):
            what = 'loader%s, %s' % (form, how)
            t.new_output('opened' + form)
            result = t.run([program('loader' + form), 'open', how, copy], env(verbose=1))
            t.equal(result.text, wanted, what)
            t.equal(result.err.count(b'this one samples nothing'), 1, '%s: %r' % (what, result.err))
            t.equal(len(t.files()), 1, what + ': profiles')
            profile = pprof_reader.load(t.files()[0])
            # The second copy looks for the next allocator, and dlsym() allocates: that is no frame of the first.
            t.equal([c for c in profile.complaints() if 'ht_next_resolve' not in c], [], what)
            # Four rounds of 1,000 blocks, and one block of 1,000 bytes.
            t.equal(tuple(profile.as_leaf('site')), (4001, 4 * 500500 + 1000, 0, 0), what)
    for what, path, library in (('linked and preloaded', program('sites_a'), SO), ('preloaded twice', program('sites'), copy)):
        t.new_output(what.replace(' ', '-'))
        env = t.preload(*([copy] if library == copy else []), verbose=1)
        result = t.run([path, '100000', 'keep'], env)
        t.equal(result.err.count(b'this one samples nothing'), 1, '%s: %r' % (what, result.err))
        t.equal(result.err.count(b'sampling every'), 1, '%s: %r' % (what, result.err))
        check_exact(t, t.only_profile(), truth(result.text), what + ': ')


@test
def deep_binding(t):
    """RTLD_DEEPBIND, of a library with and without a malloc of its own."""
    for what, result, _ in hazard(t, 'loader', ['deep', os.path.join(PROGRAMS, 'libown_malloc.so')], exact=False):
        t.equal(result.text.count('balance 0\n'), 3, what)
    hazard(t, 'loader', ['deep-plain', os.path.join(PROGRAMS, 'libplugin_a.so')], exact=False)


@test
def loader_loops(t):
    """Four threads open and close libraries that land on one address."""
    libraries = [os.path.join(PROGRAMS, 'libplugin_%s.so' % x) for x in 'ab']
    hazard(t, 'loader', ['loops'] + libraries + [200], exact=False)


# --- allocators of their own ---------------------------------------------------------------------------


@test
def own_malloc(t):
    """A program with its own malloc keeps it, and its balance."""
    hazard(t, 'own_malloc', exact=False, forms=['so'])


@test
def own_operators(t):
    """A program with its own operator new and delete keeps them, over malloc and over mmap."""
    hazard(t, 'own_operators', exact=False)
    hazard(t, 'own_operators_mmap', exact=False)


if __name__ == '__main__':
    main()
