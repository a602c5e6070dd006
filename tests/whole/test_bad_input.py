#!/usr/bin/env python3
"""Bad input: one clear line on standard error that names the thing, and the program runs as without us."""
import os
import pwd
import shutil
import subprocess
import tempfile

from harness import (COMMAND, SO, Skip, find_program, main, program, test, wait_until)


def own_words(result):
    """What was said beside the program's own word."""
    return [line for line in result.err_lines if line != 'and a word of its own']


def check_program_unchanged(t, result, what):
    t.equal((result.status, result.text), (5, 'hello from plain\n'), 'the program, ' + what)
    t.check('and a word of its own' in result.err_lines, 'the program, %s: %r' % (what, result.err))


def check_one_line(t, result, names, what):
    """One line, which has all of `names` in it."""
    lines = own_words(result)
    if t.equal(len(lines), 1, 'lines, %s: %r' % (what, lines)):
        for name in names:
            t.check(name in lines[0], '%s: %r does not say %r' % (what, lines[0], name))


def say(t, **values):
    """plain, which says hello; HEAPTAP_* as given, and no profile at exit."""
    return t.run_preloaded([program('plain'), 'say'], status=None, **values)


@test
def settings(t):
    """A setting that is none is refused with its name and value, and the default holds."""
    for name, value in (('INTERVAL', '12Q'), ('INTERVAL', '-1'), ('INTERVAL', 'abc'), ('INTERVAL', '99999999T'),
                        ('INTERVAL', '1.5.2K'), ('EVERY', '5'), ('EVERY', '10 parsecs'), ('EVERY', '-1s'),
                        ('SIGNAL', 'NOSUCH'), ('SIGNAL', '999'), ('SIGNAL', 'KILL'), ('DEPTH', '0x'), ('DEPTH', '-5'),
                        ('DEPTH', '1000000'), ('MEMORY', 'much'), ('MEMORY', '0'), ('AT_EXIT', 'perhaps'),
                        ('FOLLOW', '2x'), ('OUTPUT', '/tmp/%q.pb.gz')):
        values = dict(interval=None, at_exit=None)
        values[name.lower()] = value
        result = say(t, **values)
        check_program_unchanged(t, result, '%s=%s' % (name, value))
        check_one_line(t, result, ['HEAPTAP_' + name, value], '%s=%s' % (name, value))
    t.profiles(0)


@test
def default_holds(t):
    """After a refused interval the default is in force."""
    result = say(t, interval='12Q')
    check_one_line(t, result, ['HEAPTAP_INTERVAL', '12Q'], 'interval')
    t.only_profile(period=512 * 1024)


@test
def no_directory(t):
    """An output directory that does not exist."""
    missing = t.path('missing', 'x.%p.pb.gz')
    result = say(t, output=missing)
    check_program_unchanged(t, result, 'missing directory')
    check_one_line(t, result, [t.path('missing')], 'missing directory')
    t.check(not os.path.exists(t.path('missing')), 'the directory was made')
    result = say(t, output='/dev/null/x.pb.gz')
    check_program_unchanged(t, result, 'no directory')
    check_one_line(t, result, ['/dev/null/x.pb.gz'], 'no directory')


def in_mount(t, options, inside, argv, env):
    """Runs a program in a namespace where self.output is a tmpfs of its own; afterwards `inside` has run in it
    and written to descriptor 3. Skips where such a mount is not allowed."""
    script = 'mount -t tmpfs -o %s tmpfs "$1" || exit 96; dir=$1; shift; %s; "$@"; status=$?; ' \
             'ls -A "$dir" >&3; exit $status' % (options, inside)
    for flags in (['-m'], ['-rm']):
        probe = subprocess.run(['unshare'] + flags + ['mount', '-t', 'tmpfs', 'tmpfs', t.output],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if probe.returncode == 0:
            break
    else:
        raise Skip('no mount namespace for this user')
    # The environment is for the program alone: not for unshare, the shell and mount.
    words = ['env'] + ['%s=%s' % pair for pair in env.items()] + argv
    listing = open(t.path('listing'), 'w+')
    process = t.start(['unshare'] + flags + ['/bin/sh', '-c', 'exec 3>"$0"; ' + script, t.path('listing'),
                                             t.output] + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    result = t.finish(process)
    files = listing.read().split()
    listing.close()
    return result, files


@test
def read_only_directory(t):
    """An output directory that is read-only."""
    result, files = in_mount(t, 'ro', ':', [program('plain'), 'say'], t.preload())
    check_program_unchanged(t, result, 'read-only directory')
    check_one_line(t, result, [t.output, 'ead-only'], 'read-only directory')
    t.equal(files, [], 'files')


@test
def proc_directory(t):
    """An output directory in which nobody can create files."""
    result = say(t, output='/proc/self/x.%p.pb.gz')
    check_program_unchanged(t, result, '/proc')
    check_one_line(t, result, ['/proc/self/x.'], '/proc')


@test
def full_disk(t):
    """A full disk: one line, no half profile, and what was there stays."""
    for name, argv, status in (('plain', [program('plain'), 'say'], 5),
                               ('sites', [program('sites'), '300000', 'keep'], 0)):
        result, files = in_mount(t, 'size=8k', 'echo old > "$dir/old"; head -c 9000 /dev/zero > "$dir/rest" '
                                 '2>/dev/null', argv, t.preload())
        t.equal(result.status, status, 'status of ' + name)
        check_one_line(t, result, [t.output, 'space'], name + ' on a full disk')
        t.equal(sorted(files), ['old', 'rest'], 'files after ' + name)


@test
def file_size_limit(t):
    """RLIMIT_FSIZE of 0: no SIGXFSZ, one line."""
    env = t.preload()
    words = ['env'] + ['%s=%s' % pair for pair in env.items()]
    result = t.run(['/bin/sh', '-c', 'ulimit -f 0; exec "$@"', 'sh'] + words + [program('plain'), 'say'],
                   status=None)
    check_program_unchanged(t, result, 'ulimit -f 0')
    check_one_line(t, result, [t.output], 'ulimit -f 0')
    t.profiles(0)


@test
def special_files(t):
    """A pipe or a device as output: one line, and nothing beside it."""
    fifo = t.path('fifo')
    os.mkfifo(fifo)
    for path in (fifo, '/dev/full', '/dev/null'):
        before = os.listdir(os.path.dirname(path))
        result = say(t, output=path, at_exit=1)
        check_one_line(t, result, [path, 'File exists'], path)
        check_program_unchanged(t, result, path)
        new = set(os.listdir(os.path.dirname(path))) - set(before)
        t.equal({name for name in new if os.path.basename(path) in name}, set(), 'files beside ' + path)


@test
def long_paths(t):
    """A setting that is too long, a name that is too long with the program's in it, a directory 4 KiB deep."""
    for output in (t.path('x' * 1024), t.path('x' * 250 + '.%e')):
        result = say(t, output=output, at_exit=1)
        check_program_unchanged(t, result, 'a name of %d bytes' % len(output))
        check_one_line(t, result, [output[:150]], 'a name of %d bytes' % len(output))

    def deep():
        os.chdir(t.path())
        for _ in range(21):
            os.mkdir('d' * 200)
            os.chdir('d' * 200)
    env = t.preload(output='deep.pb.gz', at_exit=1)
    result = t.run([program('plain'), 'say'], env, status=None, preexec_fn=deep)
    check_program_unchanged(t, result, 'a directory of 4,221 bytes')
    t.equal(own_words(result), [], 'a directory of 4,221 bytes')
    found = [names for _, _, names, _ in os.fwalk(t.path('d' * 200)) if names]
    t.equal(found, [['deep.pb.gz']], 'files in it')


@test
def deleted_directory(t):
    """A program that is started in a directory which is not there any more."""
    def gone():
        os.mkdir(t.path('gone'))
        os.chdir(t.path('gone'))
        os.rmdir(t.path('gone'))
    env = t.preload(output='%p.pb.gz', at_exit=1)
    result = t.run([program('plain'), 'say'], env, status=None, preexec_fn=gone)
    check_program_unchanged(t, result, 'no directory')
    check_one_line(t, result, ['.pb.gz', 'No such file'], 'no directory')


@test
def few_descriptors(t):
    """No descriptor left: one line, the program unharmed."""
    env = t.preload()
    words = ['env'] + ['%s=%s' % pair for pair in env.items()]
    result = t.run(['/bin/sh', '-c', 'ulimit -n 4; exec "$@"', 'sh'] + words + [program('plain'), 'say'],
                   status=None)
    check_program_unchanged(t, result, 'ulimit -n 4')
    # One free descriptor is enough for a profile, or is not: both are fine, silence about a missing one is not.
    if not t.files('*.pb.gz'):
        check_one_line(t, result, [t.output], 'ulimit -n 4')


@test
def no_program(t):
    """heaptap run of a program that is not there, is none, or may not be run."""
    with open(t.path('text'), 'w') as file:
        file.write('not a program\n')
    os.chmod(t.path('text'), 0o644)
    for path, statuses in ((t.path('not-there'), (127,)), ('no-such-command-anywhere', (127,)), (t.path('text'), (126,)),
                           (t.directory, (126,))):
        result = t.run([COMMAND, 'run', '--', path], status=None)
        t.check(result.status in statuses, '%s: status %d' % (path, result.status))
        t.equal(result.out, b'', 'output for ' + path)
        check_one_line(t, result, [path], path)


@test
def bad_options(t):
    """heaptap itself: unknown options, commands and values."""
    for arguments, names in ((['run', '--interval', '12Q', '--', program('plain'), 'say'], ['interval', '12Q']),
                             (['run', '--every', 'often', '--', program('plain'), 'say'], ['every', 'often']),
                             (['run', '--signal', 'NOSUCH', '--', program('plain'), 'say'], ['signal', 'NOSUCH']),
                             (['run', '--no-such-option', '--', program('plain')], ['--no-such-option']),
                             (['frobnicate'], ['frobnicate']), (['snapshot', 'abc'], ['abc']),
                             (['snapshot'], []), (['run'], []),
                             (['snapshot', '1', '--count', 'x'], ['x'])):
        result = t.run([COMMAND] + arguments, status=None)
        t.check(result.status not in (0, 5) and result.status > 0, '%r: status %d' % (arguments, result.status))
        t.equal(result.out, b'', '%r: output' % (arguments,))
        t.check(result.err_lines and all(n in result.err_lines[0] for n in names),
                '%r: %r' % (arguments, result.err_lines))
        t.check(len(result.err_lines) <= 2, '%r: %d lines' % (arguments, len(result.err_lines)))


def has_setuid(directory):
    return not os.statvfs(directory).f_flag & os.ST_NOSUID


@test
def setuid_program(t):
    """A setuid program ignores all settings; heaptap run says that it cannot be profiled."""
    if os.geteuid() == 0:
        t.need(has_setuid(t.directory), 'temporary directory is mounted nosuid')
        path = t.path('setuid')
        shutil.copy(program('plain'), path)
        os.chown(path, pwd.getpwnam('nobody').pw_uid, -1)
        os.chmod(path, 0o4755)
        for directory in (t.directory, t.output):
            os.chmod(directory, 0o777)
        argv, plain = [path, 'say'], t.run([path, 'say'], status=None)
    else:
        path = find_program('su')
        argv = [path, '--version']
        plain = t.run(argv, status=None)
    # The loader itself says no more than a line about LD_PRELOAD, and the library is not in.
    result = t.run_preloaded(argv, status=None)
    t.equal((result.status, result.out), (plain.status, plain.out), 'preloaded')
    t.profiles(0)
    result = t.run([COMMAND, 'run', '--'] + argv, status=None)
    t.equal((result.status, result.out), (plain.status, plain.out), 'heaptap run')
    lines = [line for line in result.err_lines if line not in plain.err_lines and 'LD_PRELOAD' not in line]
    if t.equal(len(lines), 1, 'lines: %r' % lines):
        t.check(path in lines[0] and 'set' in lines[0], 'line: %r' % lines[0])


@test
def static_program(t):
    """heaptap run says why it cannot profile a static program, and runs it."""
    result = t.run([COMMAND, 'run', '--', program('static_hello')], status=5)
    t.equal(result.text, 'hello from a static program\n', 'output')
    if t.equal(len(result.err_lines), 1, 'lines: %r' % result.err_lines):
        t.check('static' in result.err_lines[0] and program('static_hello') in result.err_lines[0],
                'line: %r' % result.err_lines)
    result = t.run_preloaded([program('static_hello')], status=5)
    t.equal((result.text, result.err), ('hello from a static program\n', b''), 'preloaded')
    t.profiles(0)


@test
def script(t):
    """A script is profiled through its interpreter."""
    with open(t.path('script'), 'w') as file:
        file.write('#!/bin/sh\necho hello\nexit 3\n')
    os.chmod(t.path('script'), 0o755)
    result = t.run([COMMAND, 'run', '--quiet', '--output', os.path.join(t.output, '%e.%p.pb.gz'), '--',
                    t.path('script')], status=3)
    t.equal((result.text, result.err), ('hello\n', b''), 'the script')
    t.only_profile()


@test
def snapshot_of_stranger(t):
    """heaptap snapshot of a process without heaptap: one line, and the process lives on."""
    stranger = t.start([program('plain'), 'sleep', '30000'])
    wait_until(lambda: 'libc.so' in open('/proc/%d/maps' % stranger.pid).read())
    result = t.run([COMMAND, 'snapshot', str(stranger.pid)], status=None)
    t.check(result.status > 0, 'status %d' % result.status)
    t.equal(result.out, b'', 'output')
    check_one_line(t, result, [str(stranger.pid)], 'stranger')
    t.check(stranger.poll() is None, 'the stranger is dead: %r' % stranger.poll())
    # Nobody at all.
    ended = t.start(['/bin/true'])
    ended.wait()
    result = t.run([COMMAND, 'snapshot', str(ended.pid)], status=None)
    t.check(result.status > 0, 'status %d' % result.status)
    check_one_line(t, result, [str(ended.pid)], 'nobody')
    # A process that has heaptap, but nobody in it who could be asked.
    owner = t.start([program('owner'), 'handler'], t.preload(at_exit=0, signal='none'), stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE)
    owner.stdout.readline()
    result = t.run([COMMAND, 'snapshot', '--timeout', '300ms', str(owner.pid)], status=None)
    t.check(result.status > 0, 'status %d for a program without the thread' % result.status)
    check_one_line(t, result, [str(owner.pid), 'HEAPTAP_SIGNAL is none'], 'no thread')
    t.check(owner.poll() is None, 'it is dead')


@test
def no_library(t):
    """A preload that cannot be found is the loader's business; ours is never half there."""
    t.check(os.path.exists(SO), 'no ' + SO)
    with tempfile.TemporaryDirectory() as directory:
        # The library works from anywhere, under any name.
        copy = os.path.join(directory, 'renamed.so')
        shutil.copy(SO, copy)
        env = t.preload()
        env['LD_PRELOAD'] = copy
        result = t.run([program('plain'), 'say'], env, status=5)
        check_program_unchanged(t, result, 'renamed')
        t.equal(own_words(result), [], 'said')
    t.profiles(1)


if __name__ == '__main__':
    main()
