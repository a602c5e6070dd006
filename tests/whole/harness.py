"""harness.py: what the whole-program tests stand on.

A test is a function of one argument, a Test, with the decorator @test; the first line of its doc string is
its name. main() runs those named on the command line (all by default) and speaks TAP.

    python3 tests/whole/test_exact.py                   all of one file, against ./build
    python3 tests/whole/test_exact.py preloaded_glibc   one of them
    TEST_BUILD=build-clang python3 tests/whole/...      against another build

A test that lacks a package skips with a reason, except where CI=true says that nothing may be lacking.
"""
import collections
import fnmatch
import glob
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import pprof_reader

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get('TEST_BUILD', 'build'))
SO = os.environ.get('TEST_LIBHEAPTAP_SO') or os.path.join(BUILD, 'profiler', 'libheaptap.so')
COMMAND = os.environ.get('TEST_HEAPTAP_COMMAND') or os.path.join(BUILD, 'tools', 'heaptap')
PROGRAMS = os.environ.get('TEST_PROGRAMS') or os.path.join(BUILD, 'tests', 'programs')
UNDER_MESON = 'TEST_UNDER_MESON' in os.environ
IN_CI = os.environ.get('CI') == 'true'

COMPLAINTS_MAX = 20


class Skip(Exception):
    """This machine lacks what the test needs."""


class Failed(Exception):
    """The test cannot go on."""


class Result:
    """How a program ended: its status (negative: the signal) and what it wrote."""

    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.out, self.err = argv, status, out, err

    @property
    def text(self):
        return self.out.decode('utf-8', 'replace')

    @property
    def err_lines(self):
        return self.err.decode('utf-8', 'replace').splitlines()


def program(name):
    return os.path.join(PROGRAMS, name)


def clean_environment():
    """Ours, without what would change how a program allocates or is profiled."""
    gone = re.compile('HEAPTAP_|LD_|MALLOC_|GLIBC_|TCMALLOC_|MIMALLOC_|PYTHON|ASAN_|UBSAN_|MAKEFLAGS')
    env = {k: v for k, v in os.environ.items() if not gone.match(k)}
    env['LC_ALL'] = 'C'
    return env


def settings(**values):
    """interval=1, at_exit=1 ... -> HEAPTAP_INTERVAL=1, ..."""
    return {'HEAPTAP_' + k.upper(): str(v) for k, v in values.items() if v is not None}


class Test:
    def __init__(self, name):
        self.name = name
        self.complaints = []
        self.directory = tempfile.mkdtemp(prefix='heaptap-test-')
        self.output = self.path('profiles')
        self.outputs = 0
        os.mkdir(self.output)
        self.started = []

    def path(self, *names):
        return os.path.join(self.directory, *names)

    # --- judging -------------------------------------------------------------------------------------

    def complain(self, what):
        self.complaints.append(what)

    def check(self, condition, what):
        if not condition:
            self.complain(what)
        return bool(condition)

    def equal(self, got, wanted, what):
        return self.check(got == wanted, '%s: %r, not %r' % (what, got, wanted))

    def need(self, condition, reason):
        """Skips when something outside this project is missing; in CI that is a failure."""
        if not condition:
            raise Failed('CI lacks: ' + reason) if IN_CI else Skip(reason)

    def note(self, text):
        for line in str(text).splitlines():
            print('#   ' + line, flush=True)

    # --- running -------------------------------------------------------------------------------------

    def start(self, argv, env=None, **popen):
        """Starts a program in a process group of its own, which cleanup() kills."""
        popen.setdefault('stdout', subprocess.DEVNULL)
        popen.setdefault('stderr', subprocess.DEVNULL)
        process = subprocess.Popen(argv, env=dict(clean_environment(), **(env or {})),
                                   cwd=popen.pop('cwd', self.directory), start_new_session=True,
                                   stdin=popen.pop('stdin', subprocess.DEVNULL), **popen)
        self.started.append(process)
        return process

    def finish(self, process, timeout=60, input=None):
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
            out, err = process.communicate()
            raise Failed('still running after %d s: %s\n%s' % (
                timeout, ' '.join(process.args), stderr_tail(err))) from None
        return Result(process.args, process.returncode, out or b'', err or b'')

    def run(self, argv, env=None, timeout=60, status=0, input=None, **popen):
        """Runs a program to its end. A status other than the expected one (None: any) ends the test."""
        if input is not None:
            popen['stdin'] = subprocess.PIPE
        process = self.start(argv, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
        result = self.finish(process, timeout, input)
        if status is not None and result.status != status:
            raise Failed('%s: status %d, not %d\n%s' % (
                ' '.join(argv), result.status, status, stderr_tail(result.err)))
        return result

    def preload(self, *more, **values):
        """The environment of a preloaded program that leaves a profile in self.output at its end."""
        values.setdefault('interval', 1)
        values.setdefault('at_exit', 1)
        values.setdefault('output', os.path.join(self.output, '%e.%p.%n.pb.gz'))
        return dict(settings(**values), LD_PRELOAD=' '.join((SO,) + more))

    def linked(self, **values):
        """The same for a program that has heaptap in it."""
        env = self.preload(**values)
        del env['LD_PRELOAD']
        return env

    def run_preloaded(self, argv, env=None, preload=(), timeout=60, status=0, input=None, cwd=None,
                      **values):
        """A preloaded program at interval 1 with a profile at exit, unless `values` say otherwise."""
        full = dict(self.preload(*preload, **values), **(env or {}))
        popen = {'cwd': cwd} if cwd else {}
        return self.run(argv, full, timeout, status, input, **popen)

    # --- profiles ------------------------------------------------------------------------------------

    def files(self, pattern='*'):
        """The profiles written so far, oldest first."""
        names = [n for n in os.listdir(self.output) if fnmatch.fnmatch(n, pattern)]
        return sorted((os.path.join(self.output, n) for n in names), key=file_order)

    def wait_for_files(self, count, timeout=20, pattern='*.pb.gz'):
        deadline = time.monotonic() + timeout
        while len(self.files(pattern)) < count:
            if time.monotonic() > deadline:
                raise Failed('%d profiles after %d s, not %d' % (
                    len(self.files(pattern)), timeout, count))
            time.sleep(0.01)
        return self.files(pattern)

    def load(self, path, **expected):
        """One profile, judged by the rules."""
        try:
            profile = pprof_reader.load(path)
        except (pprof_reader.Malformed, OSError) as e:
            raise Failed('%s: %s' % (os.path.basename(path), e)) from None
        for what in profile.complaints(**expected):
            self.complain('%s: %s' % (os.path.basename(path), what))
        mode = os.stat(path).st_mode & 0o777
        self.equal(oct(mode), oct(0o600), os.path.basename(path) + ' mode')
        return profile

    def profiles(self, count=None, pattern='*', **expected):
        """All profiles, judged; anything else in the directory is left over from a dump."""
        paths = self.files(pattern)
        for path in paths:
            self.check(path.endswith('.pb.gz'), 'left over: ' + os.path.basename(path))
        loaded = [self.load(p, **expected) for p in paths if p.endswith('.pb.gz')]
        if count is not None and len(loaded) != count:
            raise Failed('%d profiles, not %d: %s' % (
                len(loaded), count, ' '.join(os.path.basename(p) for p in paths)))
        return loaded

    def only_profile(self, **expected):
        return self.profiles(1, **expected)[0]

    def new_output(self, name):
        """A second directory for profiles, when one test runs several programs."""
        self.outputs += 1
        self.output = self.path('profiles-%d-%s' % (self.outputs, name))
        os.mkdir(self.output)

    def cleanup(self):
        for process in self.started:
            kill_group(process)
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def file_order(path):
    """By the number that %n gave, in names like sites.1234.10.pb.gz, then by name."""
    numbers = re.findall(r'\d+', os.path.basename(path).replace('.pb.gz', ''))
    return (int(numbers[-1]) if numbers else 0, path)


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def stderr_tail(err):
    return '\n'.join((err or b'').decode('utf-8', 'replace').splitlines()[-8:])


def takes_signal(pid, number):
    """Whether a process has a handler for a signal."""
    with open('/proc/%d/status' % pid) as file:
        caught = re.search(r'^SigCgt:\s*(\w+)', file.read(), re.M)
    return bool(caught and int(caught.group(1), 16) >> (number - 1) & 1)


def wait_until(condition, timeout=20):
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- programs and libraries of this machine ------------------------------------------------------------

def find_library(name):
    """The path of an installed shared library such as libjemalloc.so.2, or None."""
    for pattern in ('/usr/lib/*-linux-gnu/', '/usr/lib64/', '/usr/lib/', '/usr/local/lib/'):
        found = sorted(glob.glob(pattern + name))
        if found:
            return found[0]
    return None


ALLOCATORS = {'jemalloc': 'libjemalloc.so.2', 'mimalloc': 'libmimalloc.so.2*',
              'tcmalloc': 'libtcmalloc.so.4', 'tcmalloc_minimal': 'libtcmalloc_minimal.so.4'}


def allocator(name):
    return find_library(ALLOCATORS[name])


def others_reach_the_library():
    """Whether a program that runs as another user can load it: not from a build below root's home."""
    return all(directory.stat().st_mode & 0o005 == 0o005 for directory in pathlib.Path(SO).resolve().parents)


def find_program(name):
    path = shutil.which(name)
    for directory in ('/usr/local/go/bin', '/usr/lib/go/bin', '/usr/sbin', '/sbin'):
        path = path or shutil.which(name, path=directory)
    return path


def go_pprof(test, *arguments):
    """Runs `go tool pprof`, which must have nothing to complain about. Returns what it printed."""
    go = find_program('go')
    test.need(go, 'no go on this machine, so no go tool pprof')
    env = dict(PPROF_TMPDIR=test.path('pprof'), PPROF_BINARY_PATH=test.path('pprof'))
    if 'HOME' not in os.environ:
        env['HOME'] = test.directory
    result = test.run([go, 'tool', 'pprof'] + list(arguments), env, timeout=240)
    # What it says while it works is no warning.
    said = [line for line in result.err_lines
            if not re.match(r'Generating report|Saved profile|go: downloading', line)]
    test.equal(said, [], 'go tool pprof %s says' % arguments[0])
    return result.text


# --- the truth that sites and its kin print ------------------------------------------------------------

Truth = collections.namedtuple('Truth', 'name how values')


def truth(text):
    """The `site` lines of tests/programs/truth.h."""
    result = {}
    for line in text.splitlines():
        word = line.split(' ')
        if word[0] == 'site':
            result[word[1]] = Truth(word[1], word[2],
                                    pprof_reader.Values(*(int(w) for w in word[3:7])))
    return result


def check_exact(test, profile, sites, what=''):
    """Every site has exactly what the program says, in all four columns."""
    test.check(sites, what + 'the program printed no truth')
    for name, site in sites.items():
        if site.how != 'leaf-only':
            test.equal(tuple(profile.with_function(name)), tuple(site.values), what + name)
        if site.how != 'through':
            test.equal(tuple(profile.as_leaf(name)), tuple(site.values), what + name + ' as leaf')


# --- TAP -----------------------------------------------------------------------------------------------

TESTS = []


def test(function):
    TESTS.append((function.__name__, function))
    return function


def tell_complaints(case):
    """Each once: those that differ in numbers alone are counted."""
    alike = collections.OrderedDict()
    for complaint in case.complaints:
        alike.setdefault(re.sub(r'0x[0-9a-f]+|\d+', '#', complaint), []).append(complaint)
    lines = [group[0][:2000] + (' (and %d like it)' % (len(group) - 1) if len(group) > 1 else '')
             for group in list(alike.values())[:COMPLAINTS_MAX]]
    if len(alike) > COMPLAINTS_MAX:
        lines.append('... and %d other kinds' % (len(alike) - COMPLAINTS_MAX))
    for line in lines:
        case.note(line)
    if UNDER_MESON and lines:  # which keeps comments to itself, but shows this
        print('%s:\n  %s' % (case.name, '\n  '.join(lines)), file=sys.stderr, flush=True)


def run_one(number, name, function):
    title = name + ': ' + (function.__doc__ or name).strip().splitlines()[0].rstrip('.')
    started = time.monotonic()
    case = Test(name)
    skipped = None
    try:
        function(case)
    except Skip as e:
        skipped = str(e)
    except Failed as e:
        case.complain(str(e))
    except Exception:  # a bug of the test is a failure, not an end of the run
        case.complain(traceback.format_exc())
    if os.environ.get('TEST_KEEP') and case.complaints:
        case.note('kept: ' + case.directory)
        shutil.copytree(case.directory, case.directory + '-kept')
    case.cleanup()
    tell_complaints(case)
    if case.complaints:
        print('not ok %d - %s' % (number, title), flush=True)
    elif skipped:
        print('ok %d - %s # SKIP %s' % (number, title, skipped), flush=True)
    else:
        print('ok %d - %s' % (number, title), flush=True)
    print('#   %.1f s' % (time.monotonic() - started), flush=True)
    return not case.complaints


def main():
    wanted = sys.argv[1:]
    unknown = set(wanted) - {name for name, _ in TESTS}
    if unknown:
        sys.exit('no such test: %s; there are: %s' % (
            ' '.join(sorted(unknown)), ' '.join(name for name, _ in TESTS)))
    chosen = [(n, f) for n, f in TESTS if not wanted or n in wanted]
    print('1..%d' % len(chosen), flush=True)
    good = [run_one(i, name, function) for i, (name, function) in enumerate(chosen, 1)]
    # Under meson the lines above are the verdict; a status would turn a failure into an error.
    sys.exit(0 if all(good) or UNDER_MESON else 1)
