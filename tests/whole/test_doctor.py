#!/usr/bin/env python3
"""heaptap doctor: each way in which no profile comes out is named, and a healthy process is said to be so."""
import os
import pwd
import resource
import shutil
import signal
import struct
import subprocess
import sys

from harness import (COMMAND, SO, Failed, Skip, allocator, find_program, main, program, takes_signal, test, wait_until)

SECCOMP = '''
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
# openat is refused for all threads: SECCOMP_SET_MODE_FILTER with TSYNC; load nr, jeq openat, EPERM, allow.
code = b''.join(struct.pack('HBBI', *i) for i in
                [(0x20, 0, 0, 0), (0x15, 0, 1, 257), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)])
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_char_p)]
filter = Program(4, code)
libc.prctl(38, 1, 0, 0, 0)
if libc.syscall(317, 1, 1, ctypes.byref(filter)) != 0:
    print('no filter', flush=True)
else:
    print('ready', flush=True)
sys.stdin.read()
'''


def start(t, argv, env=None, **popen):
    """A program that has said that it is ready."""
    process = t.start(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen)
    line = process.stdout.readline()
    if not line:
        raise Failed('%s said nothing and ended: %r' % (argv[0], process.wait(10)))
    return process, line.decode().strip()


def idle(t, env, how='take_later', **popen):
    """A program that waits for its standard input, and leaves SIGUSR1 alone unless told otherwise."""
    return start(t, [program('owner'), how], env, **popen)[0]


def doctor(t, what, *arguments, env=None, wrong=(), right=(), status=None):
    """Runs it; all of `wrong` are in what is wrong, all of `right` in what is printed before that."""
    result = t.run([COMMAND, 'doctor'] + [str(a) for a in arguments], env, status=None)
    facts, _, problems = result.text.partition('wrong: ')
    t.equal(result.status, (1 if wrong else 0) if status is None else status, '%s: status\n%s' % (what, result.text))
    said = [line for line in result.err_lines if 'ld.so' not in line]
    t.equal(said, [], what + ': standard error')
    t.equal('all is well' in facts, not wrong, what + ': all is well')
    for text in wrong:
        t.check(text in problems, '%s: %r is not said to be wrong:\n%s' % (what, text, result.text))
    for text in right:
        t.check(text in facts, '%s: %r is not said:\n%s' % (what, text, result.text))
    return result


def end(t, process, what, status=5):
    t.check(process.poll() is None, what + ': the doctor ended it')
    process.stdin.close()
    t.equal(process.wait(20), status, what + ': status')


@test
def healthy(t):
    """A healthy process: counts, allocator, signal, the next profile; no profile is written by asking."""
    env = t.linked(at_exit=0, interval=1)
    process, _ = start(t, [program('linked_service')], env)
    process.stdin.write(b'+1000\n')
    process.stdin.flush()
    process.stdout.readline()
    wait_until(lambda: takes_signal(process.pid, signal.SIGUSR1))
    result = doctor(t, 'linked', process.pid, right=['libc.so.6, underneath', 'every allocation', ' 0 dropped', 'USR1',
                                                     '0 written', 'linked_service.%d.1.pb.gz' % process.pid])
    samples = int(result.text.split(' samples so far')[0].split()[-1])
    t.check(1000 <= samples <= 1100, '%d samples' % samples)
    t.profiles(0)
    os.kill(process.pid, signal.SIGUSR1)
    t.wait_for_files(1)
    doctor(t, 'after a profile', process.pid, right=['1 written', '.2.pb.gz'])
    for _ in range(20):  # no slot is lost
        doctor(t, 'again', process.pid)
    t.profiles(1)
    end(t, process, 'linked', 0)
    t.check(not [n for n in os.listdir('/tmp') if n.startswith('.heaptap-report')
                 and os.stat('/tmp/' + n).st_uid == os.geteuid() and os.stat('/tmp/' + n).st_size == 0],
            'files are left in /tmp')


@test
def fixed_address(t):
    """A program that is not position-independent, such as Debian's python3, seems to have a malloc of its own: it has not."""
    t.need(os.path.exists('/usr/bin/python3'), 'no /usr/bin/python3')
    process = t.start(['/usr/bin/python3', '-c', 'import sys; print("ready", flush=True); sys.stdin.read()'],
                      t.preload(at_exit=0), stdin=-1, stdout=-1)
    process.stdout.readline()
    doctor(t, 'python3', process.pid, right=['underneath', 'every allocation'])
    process.stdin.close()
    t.equal(process.wait(20), 0, 'status')


@test
def preloaded_allocator(t):
    """The allocator underneath is named."""
    path = allocator('jemalloc')
    t.need(path, 'no jemalloc')
    process = idle(t, t.preload(path, at_exit=0))
    doctor(t, 'jemalloc', process.pid, right=[os.path.basename(path) + ', underneath'])
    end(t, process, 'jemalloc')
    process = idle(t, dict(t.preload(at_exit=0), LD_PRELOAD='%s %s' % (path, SO)))
    doctor(t, 'in front', process.pid, wrong=['calls the malloc of ' + path, 'Put libheaptap.so before it'])
    end(t, process, 'in front')


@test
def without(t):
    """A process without the library, and why: nothing set, settings only, LD_PRELOAD that leads nowhere or to another class."""
    process = idle(t, None)
    doctor(t, 'without', process.pid, wrong=['started without heaptap', 'heaptap run'])
    process = idle(t, {'HEAPTAP_INTERVAL': '1'})
    doctor(t, 'settings', process.pid, wrong=['without its library in LD_PRELOAD', 'sudo', 'HEAPTAP_FOLLOW'])
    missing = t.path('nowhere', 'libheaptap.so')
    process = idle(t, {'LD_PRELOAD': missing})
    doctor(t, 'missing', process.pid, wrong=[missing + ', which is not there'])
    other = t.path('libheaptap.so.0')
    with open(other, 'wb') as file:
        file.write(b'\x7fELF\x01\x01\x01' + bytes(9) + struct.pack('<HHI', 3, 3, 1) + bytes(200))
    process = idle(t, {'LD_PRELOAD': other})
    doctor(t, 'class', process.pid, wrong=[other + ', which is a 32-bit library'])
    doctor(t, 'class, before', '--', program('plain'), env={'LD_PRELOAD': other}, wrong=['which is a 32-bit library'])
    end(t, process, 'class')


@test
def follow(t):
    """The child of a program that runs with HEAPTAP_FOLLOW=0."""
    process, _ = start(t, ['/bin/sh', '-c', '"$0" take_later; exit 5', program('owner')], t.preload(follow=0, at_exit=0))
    with open('/proc/%d/task/%d/children' % (process.pid, process.pid)) as file:
        child = int(file.read().split()[0])
    doctor(t, 'child', child, wrong=['HEAPTAP_FOLLOW=0'])
    end(t, process, 'shell')


@test
def nobody(t):
    """No such process, no such program, a wrong command line."""
    ended = t.start(['/bin/true'])
    ended.wait()
    for arguments, status, word in (([ended.pid], 1, 'no process %d' % ended.pid), (['--', '/no/such'], 127, '/no/such'),
                                    (['--', '/etc/passwd'], 126, '/etc/passwd'), ([], 2, 'named'),
                                    (['--frob'], 2, '--frob'), ([1, 2], 2, 'one process'), ([0], 2, '0 is not')):
        result = t.run([COMMAND, 'doctor'] + [str(a) for a in arguments], status=status)
        t.equal(result.out, b'', '%r: output' % (arguments,))
        t.equal(len(result.err_lines), 1, '%r: lines' % (arguments,))
        t.check(word in result.err_lines[0], '%r: %r' % (arguments, result.err_lines))
    t.check('doctor PID' in t.run([COMMAND, 'help', 'doctor']).text, 'no help')


@test
def output(t):
    """The directory of the profiles is missing, full of errors, or not for the user of the process."""
    process = idle(t, t.preload(at_exit=0, output=t.path('gone', 'x.%n.pb.gz')))
    doctor(t, 'missing', process.pid, wrong=['no directory ' + t.path('gone'), 'HEAPTAP_OUTPUT'])
    os.kill(process.pid, signal.SIGUSR1)
    wait_until(lambda: b'last profile could not be written' in
               t.run([COMMAND, 'doctor', str(process.pid)], status=1).out)
    doctor(t, 'failed', process.pid, wrong=['No such file or directory'])
    os.mkdir(t.path('gone'))
    os.kill(process.pid, signal.SIGUSR1)
    wait_until(lambda: os.listdir(t.path('gone')))
    doctor(t, 'made', process.pid)
    end(t, process, 'missing')
    process = idle(t, t.preload(at_exit=0, output='/dev/null/x.pb.gz'))
    doctor(t, 'no directory', process.pid, wrong=['/dev/null', 'Not a directory'])
    end(t, process, 'no directory')
    doctor(t, 'before', '--', program('plain'), env={'HEAPTAP_OUTPUT': t.path('lost', '%n.pb.gz')},
           wrong=['no directory ' + t.path('lost')])


def as_nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def for_nobody(t):
    """A copy of the library and of owner that user nobody can run. Skips when we are not root."""
    if os.geteuid() != 0:
        raise Skip('only root can be somebody else')
    pwd.getpwuid(65534)
    os.chmod(t.directory, 0o755)
    shutil.copy(SO, t.path('libheaptap.so'))
    shutil.copy(program('owner'), t.path('owner'))
    return dict(t.preload(at_exit=0), LD_PRELOAD=t.path('libheaptap.so'))


@test
def other_user(t):
    """The directory can be written to by us, but not by the user of the process."""
    env = for_nobody(t)
    os.chmod(t.output, 0o700)
    process, _ = start(t, [t.path('owner'), 'take_later'], env, preexec_fn=as_nobody)
    doctor(t, 'closed', process.pid, wrong=[t.output, 'by user 65534', 'Permission denied'])
    os.chmod(t.output, 0o777)
    doctor(t, 'open', process.pid, right=['USR1'])
    end(t, process, 'nobody')


@test
def no_thread(t):
    """The collector's thread could not be made."""
    env = dict(for_nobody(t), HEAPTAP_EVERY='1h')
    os.chmod(t.output, 0o777)

    def limited():
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    process, _ = start(t, [t.path('owner'), 'take_later'], env, preexec_fn=limited)
    doctor(t, 'no thread', process.pid, wrong=["thread is not there", 'RLIMIT_NPROC'])
    end(t, process, 'no thread')


@test
def signals(t):
    """Who owns the signal: the program from the start or later, its parent, nobody."""
    later = idle(t, t.preload(at_exit=0))
    doctor(t, 'ours', later.pid, right=['kill -USR1 %d' % later.pid, 'heaptap snapshot %d' % later.pid])
    later.stdin.write(b'\n')
    later.stdin.flush()
    later.stdout.readline()
    doctor(t, 'taken', later.pid, right=['USR1 is handled by the program, which keeps it', 'heaptap snapshot'])
    end(t, later, 'taken')
    ignored = idle(t, t.preload(at_exit=0), 'ignore')
    doctor(t, 'ignored', ignored.pid, right=['USR1 is ignored by the program', 'heaptap snapshot'])
    end(t, ignored, 'ignored')
    blocked = idle(t, t.preload(at_exit=0), 'wait')
    doctor(t, 'blocked', blocked.pid, right=['USR1 is blocked by all threads', 'heaptap snapshot'])
    end(t, blocked, 'blocked')
    shell = ['/bin/sh', '-c', 'trap "" USR1; exec "$@"', 'sh']
    parent, _ = start(t, shell + [program('owner'), 'take_later'], t.preload(at_exit=0, follow=1))
    doctor(t, 'parent', parent.pid, right=['ignored by the program or its parent', 'heaptap snapshot'])
    end(t, parent, 'parent')
    result = t.run(shell + [COMMAND, 'doctor', '--', program('plain')], status=1)
    t.check('USR1 is ignored here' in result.text, 'before: ' + result.text)
    none = idle(t, t.preload(at_exit=0, signal='none'))
    doctor(t, 'none', none.pid, wrong=['HEAPTAP_SIGNAL is none'])
    end(t, none, 'none')
    at_exit = idle(t, t.preload(at_exit=1, signal='none'))
    doctor(t, 'none, but at exit', at_exit.pid, right=['none (HEAPTAP_SIGNAL)', 'HEAPTAP_AT_EXIT'])
    at_exit.kill()
    clock = idle(t, t.preload(at_exit=0, signal='none', every='1h'))
    doctor(t, 'clock', clock.pid, right=['HEAPTAP_EVERY has profiles written'])
    end(t, clock, 'clock')
    stopped = idle(t, t.preload(at_exit=0))
    stopped.send_signal(signal.SIGSTOP)
    doctor(t, 'stopped', stopped.pid, wrong=['is stopped', 'CONT'])
    stopped.send_signal(signal.SIGCONT)
    end(t, stopped, 'stopped')
    t.profiles(0)


@test
def sampling(t):
    """Nothing is sampled: interval 0, a malloc inside the program, RTLD_DEEPBIND."""
    process = idle(t, t.preload(at_exit=0, interval=0))
    doctor(t, 'off', process.pid, wrong=['sampling is off'], right=['sampling    off'])
    end(t, process, 'off')
    doctor(t, 'off, before', '--', program('plain'), env={'HEAPTAP_INTERVAL': '0'}, wrong=['HEAPTAP_INTERVAL is 0'])
    process, _ = start(t, [program('inside_malloc')], t.preload(at_exit=0))
    doctor(t, 'inside', process.pid, wrong=['calls the malloc of ' + program('inside_malloc')])
    end(t, process, 'inside')
    doctor(t, 'inside, before', '--', program('inside_malloc'), wrong=['has a malloc of its own inside it'])
    plugin = program('libdeepbind_plugin.so')
    process, _ = start(t, [program('deepbind'), plugin], t.preload(at_exit=0, interval='1M'))
    doctor(t, 'deepbind', process.pid, wrong=['no call of malloc has been sampled', 'RTLD_DEEPBIND'])
    end(t, process, 'deepbind')
    process = idle(t, t.preload(at_exit=0, interval='1G'))
    doctor(t, 'little', process.pid, right=['nothing sampled yet'])
    end(t, process, 'little')


@test
def settings(t):
    """A setting that was refused, and one that is none."""
    process = idle(t, t.preload(at_exit=0, interval='12Q', intervall=1))
    doctor(t, 'refused', process.pid, wrong=['HEAPTAP_INTERVAL=12Q is refused', 'HEAPTAP_INTERVALL is not a setting'])
    end(t, process, 'refused')


@test
def memory(t):
    """The memory limit is reached: how many samples were dropped, and what to set."""
    code = ('import sys\n'
            'def f(n, path): return [bytearray(16)] if n == 0 else '
            '(f(n - 1, path >> 1) if path & 1 else g(n - 1, path >> 1))\n'
            'def g(n, path): return [f(n, path)]\n'
            'keep = [bytearray(1) for i in range(2000000)]\n'
            'print("ready", flush=True)\n'
            'sys.stdin.read()')
    process, _ = start(t, [sys.executable, '-S', '-c', code], dict(t.preload(at_exit=0, memory='4M'),
                                                                   PYTHONMALLOC='malloc'))
    result = t.run([COMMAND, 'doctor', str(process.pid)], status=None)
    t.check('of 4 MiB' in result.text, 'limit: ' + result.text)
    dropped = int(result.text.split(' dropped')[0].split()[-1])
    t.check(('memory limit of 4 MiB is reached' in result.text and 'HEAPTAP_MEMORY' in result.text and dropped)
            or 'was doubled' in result.text, result.text)
    end(t, process, 'memory', 0)


@test
def seccomp(t):
    """A seccomp filter that forbids the collector to open files."""
    process, said = start(t, [sys.executable, '-S', '-c', SECCOMP], t.preload(at_exit=0))
    if said != 'ready':
        raise Skip('no seccomp filters here')
    doctor(t, 'seccomp', process.pid, wrong=['a seccomp filter is in force', 'openat'])
    end(t, process, 'seccomp', 0)


@test
def namespace(t):
    """A process in a mount namespace of its own: its paths are meant as it sees them."""
    script = 'mount -t tmpfs -o %s tmpfs "$1" || exit 96; shift; exec env "$@"'
    env = ['%s=%s' % pair for pair in t.preload(at_exit=0).items()]
    for flags in (['-m'], ['-rm']):
        if subprocess.run(['unshare'] + flags + ['mount', '-t', 'tmpfs', 'tmpfs', t.output], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0:
            break
    else:
        raise Skip('no mount namespace for this user')
    for options, wrong in (('size=1m', []), ('ro', ['Read-only file system'])):
        process, _ = start(t, ['unshare'] + flags + ['/bin/sh', '-c', script % options, 'sh', t.output] + env
                           + [program('owner'), 'take_later'])
        doctor(t, options, process.pid, wrong=wrong, right=['file systems of its own', '/proc/%d/root' % process.pid])
        end(t, process, options)


@test
def programs(t):
    """Programs before they are started: plain, static, musl, 32-bit, another machine, a script, linked, setuid."""
    doctor(t, 'plain', '--', program('plain'), '5', right=[os.path.realpath(SO)])
    doctor(t, 'plain, without --', program('plain'))
    doctor(t, 'static', '--', program('static_hello'), wrong=['statically linked'])
    doctor(t, 'linked', '--', program('sites_so'), right=['with heaptap'])
    doctor(t, 'archive', '--', program('sites_a'), right=['with heaptap'])
    doctor(t, 'stripped', '--', program('sites_stripped'))
    with open(program('plain'), 'rb') as file:
        plain = file.read()

    def changed(name, content):
        with open(t.path(name), 'wb') as file:
            file.write(content)
        os.chmod(t.path(name), 0o755)
        return t.path(name)
    loader = b'/lib64/ld-linux-x86-64.so.2\0'
    musl = plain.replace(loader, b'/lib/ld-musl-x86_64.so.1'.ljust(len(loader), b'\0'), 1)
    doctor(t, 'musl', '--', changed('musl', musl), wrong=['musl'])
    doctor(t, '32-bit', '--', changed('old', plain[:4] + b'\x01' + plain[5:]), wrong=['32-bit'])
    doctor(t, 'machine', '--', changed('arm', plain[:18] + b'\xb7\0' + plain[20:]), wrong=['not made for x86-64'])
    script = changed('script', b'#!%s\n' % program('plain').encode())
    doctor(t, 'script', '--', script, right=['run by ' + program('plain')])
    doctor(t, 'script of a static', '--', changed('script2', b'#!%s\n' % program('static_hello').encode()),
           wrong=[program('static_hello') + ' is statically linked'])
    for size in (64, 200, 4096, len(plain) // 2):  # nothing in a file is believed
        result = t.run([COMMAND, 'doctor', '--', changed('cut', plain[:size])], status=None)
        t.check(result.status in (0, 1), 'cut at %d: status %d' % (size, result.status))
    if allocator('jemalloc') and os.path.exists(program('sites_jemalloc')):
        doctor(t, 'jemalloc', '--', program('sites_jemalloc'), right=['libjemalloc.so.2'])
    if os.geteuid() == 0:
        path = changed('setuid', plain)
        os.chown(path, 65534, -1)
        os.chmod(path, 0o4755)
    else:
        path = find_program('su')
    if path:
        doctor(t, 'setuid', '--', path, wrong=['is setuid'])


if __name__ == '__main__':
    main()
