#!/usr/bin/env python3
"""Other people's tests give the same results with heaptap as without: CPython's own, and stress-ng.

The suite takes what is fast of both. The rest, an hour and more, is run by hand, and so is any module of CPython's:

    SUITES=all python3 tests/whole/test_suites.py
    SUITES='test_socket test_io' python3 tests/whole/test_suites.py cpython cpython_512k

A module runs without us and then preloaded, in the program and in all that it starts, and the outcomes are compared
case by case. A case that differs runs alone, both ways, three times, and counts as a difference when heaptap's
outcomes are never among those without us: tests that fail now and then on their own are forgiven. What heaptap would
make fail now and then is forgiven too, so these cases are noted, and many notes are worth a look."""
import os
import re
import time
import xml.etree.ElementTree

from harness import find_program, main, others_reach_the_library, test

PYTHON = '/usr/bin/python3'
CHOSEN = os.environ.get('SUITES', '').split()
REPETITIONS = 3
MODULE_SECONDS = 900
ALONE_SECONDS = 120
PROFILES_JUDGED = 20

# Of processes, threads, signals and memory.
FAST = '''test_atexit test_ctypes test_epoll test_faulthandler test_fcntl test_mmap test_os test_popen test_posix
    test_pty test_resource test_signal test_subprocess test_thread test_threading test_threading_local'''.split()
ALL = FAST + '''test_asyncio test_concurrent_futures test_embed test_exceptions test_fork1 test_gc test_hashlib test_io
    test_locale test_multiprocessing_fork test_multiprocessing_forkserver test_multiprocessing_main_handling
    test_multiprocessing_spawn test_poll test_queue test_readline test_select test_shutil test_socket test_ssl test_sys
    test_tempfile test_threadedtempfile test_threadsignals test_tracemalloc test_wait3 test_wait4 test_weakref
    test_zlib'''.split()

# Those that wait for seconds.
SLOW = '''*timeout* *Timeout* *test_stress* *ProcessTestCaseNoPoll* *_dead *after_stdout_close *leaking_fds* *_later*
    *siginterrupt* *Itimer* *PendingSignals* *WakeupSignal* *interprocess* *join_nondaemon*'''.split()
# Sockets between virtual machines, which hang in some of them.
NEVER = ['*VSOCK*']

# Differences that are meant.
KNOWN = {'test_setsigdef': 'SIGUSR1 at its default asks for a profile, and is not the death of a child that we follow'}


def judge_some(t):
    """There may be thousands of profiles."""
    paths = t.files('*.pb.gz')
    for path in paths[::max(1, len(paths) // PROFILES_JUDGED)]:
        t.load(path)
    t.note('%d profiles' % len(paths))
    t.check(paths, 'no profiles')


# --- CPython -------------------------------------------------------------------------------------------

def outcome(case):
    """ok, failure, error, or why it was skipped."""
    for kind in ('failure', 'error'):
        if case.find(kind) is not None:
            return kind
    if case.find('skipped') is not None:
        return 'skipped: ' + (case.find('skipped').text or '')
    return 'ok' if case.get('name') and case.find('outcome') is None else 'another'


class Outcomes:
    """What came out of a module: {case: outcomes}, empty when it did not come to its end."""

    def __init__(self, result, path):
        self.status, self.cases = result.status, {}
        # A module which cannot be imported has no cases, and a status.
        self.tail = result.text.splitlines()[-3:] + result.err_lines[-3:]
        if os.path.exists(path):
            for case in xml.etree.ElementTree.parse(path).getroot().iter('testcase'):
                self.cases.setdefault(case.get('name') or 'without a name', []).append(outcome(case))
            os.unlink(path)


class CPython:
    def __init__(self, t, **values):
        t.need(os.path.exists(PYTHON), 'no ' + PYTHON)
        version = t.run([PYTHON, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])']).text.strip()
        found = t.run([PYTHON, '-c', 'import test.test_subprocess'], status=None).status == 0
        t.need(found, 'no tests of Python %s: package libpython%s-testsuite' % (version, version))
        self.t, self.directory = t, t.path('cpython')
        os.makedirs(self.directory)
        self.preload = t.preload(follow=1, **values)

    def run(self, module, preloaded, match=(), ignore=(), seconds=MODULE_SECONDS):
        path = os.path.join(self.directory, 'outcomes.xml')
        argv = [PYTHON, '-m', 'test', '-v', '--junit-xml', path]
        for pattern in match:
            argv += ['-m', pattern]
        for pattern in list(ignore) + NEVER:
            argv += ['-i', pattern]
        env = dict(self.preload if preloaded else {}, TMPDIR=self.directory, HOME=self.directory)
        return Outcomes(self.t.run(argv + [module], env, seconds, status=None, cwd=self.directory), path)

    def alone(self, module, case):
        """Whether a case differs by more than chance."""
        sets = [set(), set()]
        for _ in range(REPETITIONS):
            for preloaded in (False, True):
                outcomes = self.run(module, preloaded, [case], seconds=ALONE_SECONDS)
                sets[preloaded].add(' '.join(outcomes.cases.get(case, ['status %d' % outcomes.status])))
        return sets[1].isdisjoint(sets[0]), '%s alone: %s; without heaptap: %s' % (
            case, ', '.join(sorted(sets[1])), ', '.join(sorted(sets[0])))

    def compare(self, module, ignore=()):
        """How many cases were compared."""
        plain = self.run(module, False, ignore=ignore)
        ours = self.run(module, True, ignore=ignore)
        if plain.cases and not ours.cases:
            self.t.note('%s did not come to its end, and is repeated' % module)
            ours = self.run(module, True, ignore=ignore)
        if not ours.cases and (plain.cases or plain.status != ours.status):
            self.t.complain('%s: status %d, and %d without heaptap: %s' % (
                module, ours.status, plain.status, ' / '.join(ours.tail)))
            return 0
        for case in sorted(set(plain.cases) | set(ours.cases)):
            before, after = plain.cases.get(case, ['missing']), ours.cases.get(case, ['missing'])
            if before == after:
                continue
            known = KNOWN.get(case.split('.')[-1])
            if known:
                self.t.note('%s: %s' % (case, known))
                continue
            differs, what = self.alone(module, case)
            if differs:
                self.t.complain(what)
            else:
                self.t.note('%s: %s, and %s without heaptap, by chance; %s' % (case, after, before, what))
        return len(plain.cases)


def compare_modules(t, **values):
    python = CPython(t, **values)
    modules = CHOSEN if CHOSEN and CHOSEN != ['all'] else ALL if CHOSEN else FAST
    count = 0
    for module in modules:
        cases = python.compare(module, [] if CHOSEN else SLOW)
        count += cases
        if CHOSEN:
            t.note('%s: %d cases' % (module, cases))
    t.note('%d cases of %d modules' % (count, len(modules)))
    t.check(count >= 20 * len(modules) or CHOSEN, 'only %d cases' % count)


@test
def cpython(t):
    """CPython's tests of processes, threads, signals and memory, every allocation recorded."""
    compare_modules(t, interval=1)
    judge_some(t)


def cpython_512k(t):
    """The same at 512 KiB, with SIGUSR1 alone."""
    compare_modules(t, interval='512K', at_exit=0)


if CHOSEN:  # by hand
    test(cpython_512k)


# --- stress-ng -----------------------------------------------------------------------------------------

# What to do, how often; at most for a second.
STRESSORS = {'bigheap': 500, 'clone': 20, 'daemon': 50, 'dynlib': 50, 'exec': 20, 'fork': 100, 'kill': 2000,
             'malloc': 3000, 'mmap': 1, 'pthread': 1024, 'session': 50, 'set': 200, 'sigabrt': 100, 'sigfpe': 2000,
             'sigq': 5000, 'sigsegv': 2000, 'stack': 1, 'vfork': 300, 'zombie': 200}


def stress(t, name, env):
    """How it ended, what it said but for numbers, and how long it took."""
    argv = [find_program('stress-ng'), '--' + name, '1', '--%s-ops' % name, str(STRESSORS[name]), '--timeout', '1s',
            '--temp-path', t.directory, '--mmap-bytes', '4m', '--bigheap-growth', '64k']
    # exec does nothing as root.
    user = {'user': 'nobody', 'group': 'nogroup', 'extra_groups': []} if os.geteuid() == 0 else {}
    started = time.monotonic()
    result = t.run(argv, env, status=None, **user)
    seconds = time.monotonic() - started
    return result.status, sorted(set(re.sub(r'[\d.]+', '#', line) for line in result.err_lines)), seconds


@test
def stress_ng(t):
    """stress-ng's processes, threads, signals and memory end and say the same, at 512 KiB and at interval 1."""
    t.need(find_program('stress-ng'), 'no stress-ng: package stress-ng')
    t.need(os.geteuid() != 0 or others_reach_the_library(), 'it runs as nobody, who may not enter the build directory')
    for directory in (t.directory, t.output):
        os.chmod(directory, 0o777)
    notes = []
    for name in STRESSORS:
        *plain, seconds = stress(t, name, {})
        note = name
        for interval in ('512K', 1):
            env = t.preload(interval=interval, follow=1, at_exit=1 if interval == 1 else 0)
            for _ in range(REPETITIONS):
                *ours, ours_seconds = stress(t, name, env)
                if ours == plain:
                    break
                *plain, seconds = stress(t, name, {})
            t.equal(ours, plain, '%s at %s' % (name, interval))
            note += ' %.1f' % (ours_seconds / seconds)
        notes.append(note)
    t.note('time to that without heaptap: ' + ', '.join(notes))
    judge_some(t)


if __name__ == '__main__':
    main()
