#!/usr/bin/env python3
"""What makes a profile be written: the signal, the clock, the command, the end of the process."""
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

from harness import (COMMAND, Failed, check_exact, main, others_reach_the_library, program, takes_signal, test, truth,
                     wait_until)

# Nothing is mounted at / of a directory that a process calls its root.
with open('/proc/self/mountinfo') as mounts:
    IN_CHROOT = all(mount.split()[4] != '/' for mount in mounts)

# Ways to end that leave exactly one profile.
EXITS = ['return', 'exit', '_exit', '_Exit', 'quick_exit', 'thread_exit', 'thread__exit', 'main_pthread_exit',
         'handler__exit', 'small_stack__exit', 'atexit__exit', 'busy_threads_exit', 'busy_threads__exit', 'closed_fds', 'vfork']


class Service:
    """linked_service, or any program that answers each line with one."""

    def __init__(self, t, env, argv=None):
        self.t = t
        self.process = t.start(argv or [program('linked_service')], env, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.pid = self.process.pid
        self.first = self.answer()

    def answer(self):
        line = b''
        while not line.endswith(b'\n'):
            byte = self.process.stdout.read(1)
            if not byte:
                raise Failed('the program ended: %r' % self.process.stderr.read())
            line += byte
        return line.decode()

    def ask(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        return self.answer()

    def signal(self, number=signal.SIGUSR1):
        os.kill(self.pid, number)

    def end(self):
        return self.t.finish(self.process)


def valid_prefix(t, paths):
    """All of them are whole and distinct."""
    contents = [open(p, 'rb').read() for p in paths]
    t.equal(len(set(contents)), len(paths), 'distinct profiles')


@test
def sawtooth(t):
    """A program that links heaptap: ten SIGUSR1 give ten profiles, and in-use follows what it holds."""
    service = Service(t, t.linked(at_exit=0))
    for turn in range(10):
        held = truth(service.ask('-3000' if turn % 3 == 2 else '+2000'))
        service.signal()
        path = t.wait_for_files(turn + 1)[turn]
        check_exact(t, t.load(path, period=1, program='linked_service'), held, 'turn %d: ' % turn)
        time.sleep(0.1)
    result = service.end()
    t.equal((result.status, result.err), (0, b''), 'the program')
    t.profiles(10)
    numbers = [int(p.split('.')[-3]) for p in t.files()]
    t.equal(numbers, list(range(numbers[0], numbers[0] + 10)), 'numbers of the files')


@test
def sampled_sawtooth(t):
    """The same at 4 KiB: within six standard errors (1 in 500 million each)."""
    service = Service(t, t.linked(interval=4096, at_exit=0))
    for turn in range(10):
        held = truth(service.ask('-15000' if turn % 3 == 2 else '+10000'))['site_hold'].values
        service.signal()
        profile = t.load(t.wait_for_files(turn + 1)[turn], period=4096)
        found = profile.with_function('site_hold').inuse_bytes
        p = 1 - 2.718281828 ** (-1000 / 4096)
        sigma = 1000 * (held.inuse_objects * (1 - p) / p) ** 0.5
        t.check(abs(found - held.inuse_bytes) <= 6 * sigma + 1, 'turn %d: %d bytes in use, found %d, sigma %d' % (
            turn, held.inuse_bytes, found, sigma))
    service.end()


@test
def interrupted_calls(t):
    """A read that the signal interrupts goes on; thirty signals in a row harm nothing."""
    service = Service(t, t.linked(at_exit=0))
    for _ in range(30):
        service.signal()
        time.sleep(0.005)
    t.check('site_hold leaf 5 5000 5 5000' in service.ask('+5'), 'another answer')
    t.equal(service.end().status, 0, 'status')
    t.check(1 <= len(t.profiles()) <= 30, '%d profiles' % len(t.files()))
    valid_prefix(t, t.files())


@test
def all_at_once(t):
    """HEAPTAP_EVERY, SIGUSR1 and the API at the same time: every file complete and distinct."""
    env = t.linked(at_exit=1, every='200ms')
    service = t.start([program('api'), t.output, '1200'], env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: takes_signal(service.pid, signal.SIGUSR1))
    deadline = time.monotonic() + 30
    while service.poll() is None and time.monotonic() < deadline:
        os.kill(service.pid, signal.SIGUSR1)
        time.sleep(0.02)
    result = t.finish(service)
    t.equal((result.status, result.err), (0, b''), 'the program')
    t.profiles()
    t.check(len(t.files('parallel-*')) == 20, '%d profiles through the API' % len(t.files('parallel-*')))
    t.check(len(t.files('api.*')) >= 15, '%d profiles by signal and clock' % len(t.files('api.*')))
    valid_prefix(t, t.files('api.*'))


@test
def privileges(t):
    """setuid() and its kin, which wait for every thread, come back, and snapshots go on after them."""
    result = t.run_preloaded([program('privileges')], timeout=20)
    t.equal(result.text, 'back\n', 'output')
    t.profiles(2)


@test
def clock_and_signal(t):
    """HEAPTAP_EVERY=200ms for two seconds, with five signals between."""
    service = Service(t, t.linked(at_exit=0, every='200ms'))
    service.ask('+1000')
    for _ in range(5):
        time.sleep(0.35)
        service.signal()
        t.check('1000000' in service.ask('?'), 'another answer')
    time.sleep(0.25)
    service.end()
    count = len(t.profiles(period=1))
    t.check(11 <= count <= 17, '%d profiles in 2 s, of 10 by the clock and 5 by signal' % count)
    valid_prefix(t, t.files())
    t.equal({tuple(t.load(p).with_function('site_hold')) for p in t.files()[1:]}, {(1000, 1000000, 1000, 1000000)},
            'in use')


@test
def clock_units(t):
    """HEAPTAP_EVERY takes ms and s; a minute does not come at once."""
    for every, low, high in (('100ms', 5, 12), ('1s', 1, 1), ('1m', 0, 0), ('2h', 0, 0)):
        t.new_output(every)
        service = Service(t, t.linked(at_exit=0, every=every))
        service.ask('+10')
        time.sleep(1.15)
        service.end()
        t.check(low <= len(t.profiles()) <= high, 'every %s: %d profiles in 1.15 s' % (every, len(t.files())))


@test
def other_signal(t):
    """HEAPTAP_SIGNAL: another by name or number, or none."""
    for setting, number in (('USR2', signal.SIGUSR2), ('SIGUSR2', signal.SIGUSR2), ('WINCH', signal.SIGWINCH),
                            ('RTMIN+3', signal.SIGRTMIN + 3), ('12', signal.SIGUSR2)):
        t.new_output('signal-' + setting)
        service = Service(t, t.linked(at_exit=0, signal=setting))
        if service.process.poll() is None:
            service.ask('+10')
            service.signal(number)
            t.wait_for_files(1)
        result = service.end()
        t.equal((result.status, result.err), (0, b''), 'HEAPTAP_SIGNAL=%s' % setting)
    t.new_output('signal-none')
    service = Service(t, t.linked(at_exit=0, signal='none'))
    service.signal()
    t.equal(service.process.wait(20), -signal.SIGUSR1, 'status with HEAPTAP_SIGNAL=none')
    t.profiles(0)


@test
def owned_signal(t):
    """A program that has plans for SIGUSR1 keeps it: handler, ignored, sigwait, and taken later."""
    for how, wanted in (('handler', 'got 3\n'), ('ignore', 'got 0\n'), ('wait', 'got 1\n')):
        t.new_output('owned-' + how)
        owner = Service(t, t.preload(at_exit=0), [program('owner'), how])
        for _ in range(3):
            owner.signal()
            time.sleep(0.03)
        t.equal(owner.ask(''), wanted, how)
        t.equal(owner.end().status, 5, 'status of ' + how)
        t.profiles(0)
    t.new_output('owned-later')
    owner = Service(t, t.preload(at_exit=0), [program('owner'), 'take_later'])
    owner.signal()
    t.wait_for_files(1)
    t.equal(owner.ask(''), 'got 0\n', 'before it is taken')
    owner.signal()
    wait_until(lambda: owner.ask('') != 'got 0\n', 5)
    t.equal(owner.ask(''), 'got 1\n', 'after it is taken')
    t.equal(owner.end().status, 5, 'status')
    t.profiles(1)


def snapshot(t, pid):
    """The profile that heaptap snapshot reports."""
    return t.run([COMMAND, 'snapshot', str(pid)]).text.rpartition(': ')[0]


@test
def snapshot_without_signal(t):
    """heaptap snapshot has a profile of a program that handles, ignores, blocks or awaits SIGUSR1, which gets none."""
    for how, wanted in (('handler', 'got 0\n'), ('ignore', 'got 0\n'), ('wait', 'got 0\n')):
        t.new_output('unsignalled-' + how)
        owner = Service(t, t.preload(at_exit=0), [program('owner'), how])
        for _ in range(2):
            t.equal(snapshot(t, owner.pid), t.files()[-1], how)
        t.equal(owner.ask(''), wanted, how)
        t.equal(owner.end().status, 5, 'status of ' + how)
        t.profiles(2, period=1)
    t.new_output('unsignalled-parent')
    shell = ['/bin/sh', '-c', 'trap "" USR1; exec "$@"', 'sh', program('linked_service')]
    service = Service(t, t.linked(at_exit=0), shell)
    t.equal(snapshot(t, service.pid), t.files()[-1], 'ignored by the parent')
    service.end()


@test
def undisturbed_sleep(t):
    """heaptap snapshot and heaptap doctor interrupt no system call of the program."""
    process = t.start([program('signal_edges'), 'sleep'], t.preload(at_exit=0), stdin=-1, stdout=-1)
    process.stdout.readline()
    for _ in range(5):
        snapshot(t, process.pid)
        t.run([COMMAND, 'doctor', str(process.pid)])
    process.stdin.close()
    t.equal(process.stdout.read(), b'interrupted 0\n', 'sleeps and reads')
    t.equal(process.wait(20), 0, 'status')
    t.profiles(5)


@test
def no_queued_signals(t):
    """Where the limit of queued signals is 0, SIGUSR1 still has a profile written."""
    def limited():
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
    process = t.start([program('linked_service')], t.linked(at_exit=0), stdin=-1, stdout=-1, preexec_fn=limited)
    wait_until(lambda: takes_signal(process.pid, signal.SIGUSR1))
    os.kill(process.pid, signal.SIGUSR1)
    t.wait_for_files(1)
    process.stdin.close()
    t.equal(process.wait(20), 0, 'status')


@test
def inherited_ignore(t):
    """A signal that the parent ignores stays ignored."""
    service = Service(t, t.linked(at_exit=0), ['/bin/sh', '-c', 'trap "" USR1; exec ' + program('linked_service')])
    service.signal()
    t.check('site_hold leaf 1' in service.ask('+1'), 'no answer')
    t.equal(service.end().status, 0, 'status')
    t.profiles(0)


@test
def exits(t):
    """Each way to exit leaves exactly one profile, with the last allocation in it."""
    for how in EXITS:
        t.new_output('exit-' + how)
        result = t.run_preloaded([program('exits'), how], status=None)
        t.equal(result.status, 7, 'status of ' + how)
        t.equal(result.err, b'', 'standard error of ' + how)
        profiles = t.profiles()
        if t.equal(len(profiles), 1, 'profiles of ' + how):
            last = profiles[0].with_function('site_last')
            t.equal(tuple(last), (1, 4321, 1, 4321), 'site_last, ' + how)


@test
def last_thread(t):
    """A process ends with its last thread, although the collector is one, too; so does the child of a thread."""
    for how, count in (('last_thread', 1), ('last_thread_of_child', 2)):
        t.new_output(how)
        t.run_preloaded([program('exits'), how], timeout=20)
        t.profiles(count)
        t.run_preloaded([program('exits'), how], timeout=20, interval='512K')
    for interval in (1, '512K'):
        t.run_preloaded([program('exits'), 'last_threads_of_children'], timeout=40, interval=interval, at_exit=0)


@test
def other_ends(t):
    """abort and SIGKILL end the program as ever, and leave no half profile; without AT_EXIT there is none."""
    for how, status in (('abort', -signal.SIGABRT), ('kill', -signal.SIGKILL)):
        t.new_output('end-' + how)
        t.run_preloaded([program('exits'), how], status=status)
        t.profiles()
    t.new_output('no-at-exit')
    t.run_preloaded([program('exits'), 'exit'], status=7, at_exit=0)
    t.profiles(0)
    t.new_output('default')
    t.run_preloaded([program('exits'), 'exit'], status=7, at_exit=None)
    t.profiles(0)


@test
def forks(t):
    """Children have files of their own, with the blocks they inherited."""
    result = t.run_preloaded([program('fork_exec'), 'fork', '5'])
    blocks = re.split(r'^pid (\d+)\n', result.text, flags=re.M)[1:]
    wanted = {pid: truth(text) for pid, text in zip(blocks[::2], blocks[1::2])}
    t.equal(len(wanted), 6, 'processes')
    t.profiles(6, period=1)
    for pid, sites in wanted.items():
        paths = t.files('fork_exec.%s.*' % pid)
        if t.equal(len(paths), 1, 'files of process ' + pid):
            check_exact(t, t.load(paths[0]), sites, 'process %s: ' % pid)


@test
def fork_storm(t):
    """60 children forked while four threads allocate: none hangs, each leaves a profile."""
    t.run_preloaded([program('fork_exec'), 'storm', '60'], timeout=60)
    t.profiles(61, period=1)
    pids = {os.path.basename(p).split('.')[1] for p in t.files()}
    t.equal(len(pids), 61, 'distinct pids')


@test
def signal_at_start(t):
    """SIGUSR1 to heaptap run as soon as it has a child, which has not begun: the child lives, and writes a profile."""
    for _ in range(10):
        process = t.start([COMMAND, 'run', '--quiet', '--no-at-exit', '--output', os.path.join(t.output, '%e.%p.%n.pb.gz'),
                           '--', '/bin/sleep', '0.3'])
        children = '/proc/%d/task/%d/children' % (process.pid, process.pid)
        while not open(children).read():
            pass
        os.kill(process.pid, signal.SIGUSR1)
        t.equal(t.finish(process).status, 0, 'status')
    t.profiles(10)


@test
def thread_locals(t):
    """A program with 300 KB of thread-local variables: the collector starts, and answers."""
    result = t.run_preloaded([program('thread_locals')], at_exit=None)
    t.equal(result.err, b'', 'errors')
    t.profiles(1)


@test
def fork_waits_for_a_lock(t):
    """A fork that waits, with our locks, for one that an allocating thread has: it does not wait for ever."""
    t.run_preloaded([program('fork_exec'), 'locks', '3'], timeout=30)
    t.profiles(4, period=1)


@test
def execs(t):
    """A process that executes itself with the same pid overwrites nothing it wrote before."""
    t.run_preloaded([program('fork_exec'), 'exec', '3'], {'SNAPSHOT_FIRST': '1'}, follow=1)
    t.profiles(4, period=1)
    for follow, count in ((1, 4), (0, 1), (None, 1)):
        t.new_output('follow-%s' % follow)
        t.run_preloaded([program('fork_exec'), 'spawn', '3'], follow=follow)
        t.profiles(count, period=1)


@test
def patterns(t):
    """%e %p %n %t %h %% in HEAPTAP_OUTPUT; an existing file is not overwritten."""
    t.run_preloaded([program('plain'), 'exit', '0'], output=os.path.join(t.output, 'a%%b-%e-%p-%n-%t-%h.pb.gz'))
    name = os.path.basename(t.files()[0])
    match = re.fullmatch(r'a%b-plain-(\d+)-1-([\d TZ:.+-]+)-(.+)\.pb\.gz', name)
    t.check(match and match.group(3) == os.uname().nodename, 'name: ' + name)
    t.only_profile()
    t.new_output('same')
    for _ in range(3):
        t.run_preloaded([program('plain'), 'exit', '0'], output=os.path.join(t.output, 'same.%n.pb.gz'))
    t.profiles(3)
    t.new_output('relative')
    t.run_preloaded([program('plain'), 'exit', '0'], output='here.pb.gz', cwd=t.output)
    t.equal([os.path.basename(p) for p in t.files()], ['here.pb.gz'], 'files')
    t.new_output('default-name')
    t.run_preloaded([program('plain'), 'exit', '0'], output=None, cwd=t.output, env={'HEAPTAP_OUTPUT': ''})
    names = [os.path.basename(p) for p in t.files()]
    t.check(len(names) == 1 and re.fullmatch(r'heaptap\.plain\.\d+\.1\.pb\.gz', names[0]), 'names: %r' % names)


@test
def keep(t):
    """HEAPTAP_KEEP=3: the newest three of this process stay, and all that it did not write."""
    others = {'linked_service.2.pb.gz', 'notes'}
    for name in others:
        with open(os.path.join(t.output, name), 'w') as file:
            file.write('somebody else\n')
    service = Service(t, t.linked(at_exit=0, keep=3, output=os.path.join(t.output, '%e.%n.pb.gz')))
    written = [1, 3, 4, 5, 6, 7, 8]  # 2 is taken
    for turn, number in enumerate(written):
        service.ask('+10')
        service.signal()
        path = os.path.join(t.output, 'linked_service.%d.pb.gz' % number)
        if not wait_until(lambda: os.path.exists(path)):
            raise Failed('no ' + path)
        wanted = {'linked_service.%d.pb.gz' % n for n in written[max(0, turn - 2):turn + 1]} | others
        t.check(wait_until(lambda: set(os.listdir(t.output)) == wanted, 5),
                'after %d: %s' % (number, sorted(os.listdir(t.output))))
        if number == 5:  # somebody else's from now on
            with open(path, 'ab') as file:
                file.write(b'more')
            others.add(os.path.basename(path))
    t.equal(service.end().status, 0, 'status')
    for name in ('linked_service.2.pb.gz', 'notes'):
        t.equal(open(os.path.join(t.output, name)).read(), 'somebody else\n', name)


@test
def keep_in_children(t):
    """With HEAPTAP_KEEP=1 a forked child removes none of its parent's profiles, nor the parent the child's."""
    t.run_preloaded([sys.executable, '-S', '-c',
                     'import os, signal, time\n'
                     'def profiles():\n'
                     '    for _ in range(4):\n'
                     '        os.kill(os.getpid(), signal.SIGUSR1)\n'
                     '        bytearray(100000); time.sleep(0.15)\n'
                     'profiles()\n'
                     'child = os.fork()\n'
                     'profiles()\n'
                     'if child: os.waitpid(child, 0)\n'
                     'os._exit(0)'], at_exit=0, interval=4096, keep=1)
    processes = [os.path.basename(p).split('.')[-4] for p in t.files('*.pb.gz')]
    t.equal(sorted(processes), sorted(set(processes)), 'one profile of each process')
    t.equal(len(processes), 2, 'processes')


@test
def command_snapshot(t):
    """heaptap snapshot PID --every 300ms --count 3: three files, each reported."""
    service = Service(t, t.linked(at_exit=0))
    service.ask('+100')
    result = t.run([COMMAND, 'snapshot', str(service.pid), '--every', '300ms', '--count', '3'])
    t.profiles(3, period=1)
    said = result.text + result.err.decode()
    for path in t.files():
        t.check(path in said, '%s is not reported: %s' % (os.path.basename(path), said))
    result = t.run([COMMAND, 'snapshot', str(service.pid)])
    t.profiles(4)
    t.check('site_hold leaf 100 ' in service.ask('?'), 'no answer')
    service.end()


@test
def command_run_status(t):
    """heaptap run passes the exit status and death by signal through."""
    run = [COMMAND, 'run', '--quiet', '--output', os.path.join(t.output, '%e.%p.%n.pb.gz'), '--']
    for status in (0, 1, 2, 42, 125, 126, 127, 128, 200, 255):
        result = t.run(run + [program('plain'), 'exit', str(status)], status=None)
        t.equal((result.status, result.out, result.err), (status, b'', b''), 'exit %d' % status)
    t.profiles(10)
    for number in (signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGINT, signal.SIGPIPE,
                   signal.SIGUSR2):
        result = t.run(run + [program('plain'), 'signal', str(int(number))], status=None)
        t.check(result.status in (-number, 128 + number), 'signal %d: status %d' % (number, result.status))
        t.note('signal %d: status %d' % (number, result.status))


@test
def command_run_signals(t):
    """Signals to heaptap run reach the program, and SIGUSR1 gives a profile."""
    process = t.start([COMMAND, 'run', '--output', os.path.join(t.output, '%p.%n.pb.gz'), '--',
                       program('plain'), 'sleep', '20000'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    children = '/proc/%d/task/%d/children' % (process.pid, process.pid)

    def running():
        pids = open(children).read().split()
        return any(os.path.exists('/proc/%s/exe' % p) and os.readlink('/proc/%s/exe' % p).endswith('/plain')
                   for p in pids)

    t.check(wait_until(running), 'the program does not start')
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    result = t.finish(process, 10)
    t.check(result.status in (-signal.SIGTERM, 128 + signal.SIGTERM), 'status %d' % result.status)


@test
def command_run_speaks(t):
    """heaptap run says one line at the start and one for each profile."""
    result = t.run([COMMAND, 'run', '--interval', '1', '--output', os.path.join(t.output, '%p.%n.pb.gz'), '--',
                    program('sites'), '10000', 'keep'])
    path = t.files()[0]
    t.equal(len(result.err_lines), 2, 'lines: %r' % result.err_lines)
    t.check(os.path.basename(path) in result.err_lines[-1], 'the profile is not named: %r' % result.err_lines)
    t.check(result.text.startswith('site site_16'), 'output: %r' % result.text[:100])
    t.only_profile(period=1)


@test
def command_run_no_at_exit(t):
    """--no-at-exit, --signal, --every and --depth reach the program."""
    output = os.path.join(t.output, '%p.%n.pb.gz')
    t.run([COMMAND, 'run', '--quiet', '--no-at-exit', '--output', output, '--', program('plain'), 'exit', '0'])
    t.profiles(0)
    t.run([COMMAND, 'run', '--quiet', '--no-at-exit', '--every', '100ms', '--output', output, '--',
           program('plain'), 'sleep', '650'], status=5)
    t.check(3 <= len(t.profiles()) <= 7, '%d profiles in 650 ms' % len(t.files()))
    t.new_output('depth')
    t.run([COMMAND, 'run', '--quiet', '--interval', '1', '--depth', '20', '--memory', '32M', '--output',
           os.path.join(t.output, '%p.%n.pb.gz'), '--', program('deep'), '500'])
    names = max((s.names for s in t.only_profile().samples), key=len)
    t.equal((len(names), names[-1]), (21, '[truncated]'), 'depth')


@test
def one_thread_only(t):
    """unshare and setns, which refuse a process of several threads: the same results as without us."""
    plain = t.run([program('alone')])
    for interval in (1, '512K'):
        t.new_output(str(interval))
        result = t.run_preloaded([program('alone')], interval=interval, every='50ms')
        said = result.err
        if IN_CHROOT:
            # setns() leads out of it, to where the directory of the profiles is another one, or none.
            said = re.sub(rb'heaptap: no profile: .*: No such file or directory\n', b'', said)
        t.equal((result.status, result.text, said), (plain.status, plain.text, plain.err), 'at %s' % interval)
        t.profiles()


@test
def capabilities(t):
    """A program that gives up its user but keeps capabilities of its one thread for a moment is not aborted."""
    setpriv = shutil.which('setpriv')
    if os.geteuid() != 0 or not setpriv:
        return t.note('not root, or no setpriv')
    t.need(others_reach_the_library(), 'it becomes nobody, who may not enter the build directory')
    command = [setpriv, '--reuid', '65534', '--clear-groups', 'id', '-u']
    plain = t.run(command)
    t.new_output('preloaded')
    result = t.run_preloaded(command, follow=1, at_exit=0)
    t.equal((result.status, result.text, result.err), (plain.status, plain.text, plain.err), 'setpriv')


@test
def memory_limit(t):
    """A small HEAPTAP_MEMORY: the profile is valid, says what it dropped, and the program is unharmed."""
    python3 = sys.executable
    script = 'import json; x = [json.loads(json.dumps({str(i): [i] * 3})) for i in range(8000)]; print(len(x))'
    result = t.run_preloaded([python3, '-c', script], {'PYTHONMALLOC': 'malloc'}, memory='4M')
    t.equal((result.text, result.err), ('8000\n', b''), 'the program')
    profile = t.only_profile()
    t.note('; '.join(c for c in profile.comments if 'dropped' in c or 'memory' in c or 'interval' in c))
    dropped = re.match(r'\d+', profile.comment('dropped') or '')
    t.check(profile.period > 1 or (dropped and int(dropped.group()) > 0), 'nothing was dropped within 4 MiB?')


if __name__ == '__main__':
    main()
