#!/usr/bin/env python3
"""heaptap run and heaptap snapshot give each profile its lines by themselves: at once, whole or not at all, and without
an effect on the program."""
import os
import re
import shutil
import signal
import time

from harness import COMMAND, find_program, main, takes_signal, test, wait_until
from symbols import Program, check_stacks, same_text

# Allocates, then does as its argument says.
SERVICE = r'''
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *volatile kept, *volatile passed;
__attribute__((noinline)) static void hold(size_t size)
{
    kept = malloc(size); /* line 10 */
    __asm__ volatile("" : : : "memory");
}
int main(int argc, char **argv)
{
    (void)argc;
    hold(100003);
    for (int i = 0; i < 100; i++) {
        passed = malloc(50021);
        free(passed);
    }
    if (strcmp(argv[1], "exit") == 0)
        return 7;
    if (strcmp(argv[1], "die") == 0) {
        raise(SIGUSR1);
        usleep(500000);
        raise(SIGTERM);
    }
    puts("ready");
    fflush(stdout);
    return getchar() == 'e' ? 7 : 8;
}
'''


def service(t):
    t.need(find_program('gcc'), 'no gcc on this machine')
    with open(t.path('service.c'), 'w') as file:
        file.write(SERVICE)
    t.run([find_program('gcc'), '-O2', '-g', '-Wl,--build-id', 'service.c', '-o', 'service'],
          env=dict(PATH=os.environ['PATH']))
    return t.path('service')


def run(t, *arguments, **how):
    return t.run([COMMAND, 'run', '--interval', '1', '--output', t.output + '/%e.%n.pb.gz'] + list(arguments), **how)


def has_lines(t, path):
    profile = t.load(path)
    return any(f.filename == t.path('service.c') for f in profile.functions)


def check_service(t, path):
    """hold() in line 10, called in line 16."""
    profile = t.load(path)
    held = [s for s in profile.samples if s.values.alloc_bytes == 100003]
    found = [(f.name, f.filename, line) for s in held for l in s.locations[:2]
             for f, (_, line) in zip(l.functions, l.lines)]
    t.equal(found, [('hold', t.path('service.c'), 10), ('main', t.path('service.c'), 16)], os.path.basename(path))


def lone_files(t, count):
    """Profiles, and nothing that is left over."""
    names = sorted(os.listdir(t.output))
    t.check(all(n.endswith('.pb.gz') for n in names), 'left over: %r' % names)
    t.equal(len(names), count, 'profiles')
    return t.files()


def state(pid):
    with open('/proc/%d/stat' % pid) as file:
        return file.read().rpartition(')')[2].split()[0]


def children(pid):
    try:
        with open('/proc/%d/task/%d/children' % (pid, pid)) as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


@test
def at_exit(t):
    """The profile of the end has lines, and the status is the program's; --no-symbolize and the setting leave them out"""
    path = service(t)
    run(t, path, 'exit', status=7)
    check_service(t, lone_files(t, 1)[0])
    mode = os.stat(t.files()[0]).st_mode & 0o777
    t.equal(oct(mode), '0o600', 'mode')
    t.new_output('without')
    run(t, '--no-symbolize', path, 'exit', status=7)
    t.check(not has_lines(t, lone_files(t, 1)[0]), '--no-symbolize: there are lines')


@test
def known_stacks(t):
    """All that heaptap symbolize finds, heaptap run finds"""
    source = Program(t, 'c++')
    run(t, source.path)
    check_stacks(t, source, lone_files(t, 1)[0])


@test
def by_signal(t):
    """A profile of SIGUSR1 gets its lines while the program goes on; one that a signal ends, has that status"""
    path = service(t)
    run(t, path, 'die', status=-signal.SIGTERM)
    for profile in lone_files(t, 1):
        check_service(t, profile)


@test
def while_it_runs(t):
    """Lines come while the program runs, and each profile of --every has them; --keep keeps as many as it says"""
    path = service(t)
    process = t.start([COMMAND, 'run', '--interval', '1', '--every', '100ms', '--keep', '3', '--output',
                       t.output + '/%e.%n.pb.gz', path, 'wait'], stdin=-1, stdout=-1, stderr=-1)
    t.check(wait_until(lambda: any(re.search(r'\.\d\d\.', p) for p in t.files())), 'profiles: %r' % t.files())
    t.check(wait_until(lambda: any(lines_now(t, p) for p in t.files())), 'no lines while it runs')
    process.send_signal(signal.SIGTERM)
    t.equal(t.finish(process).status, -signal.SIGTERM, 'status')
    paths = lone_files(t, 3)
    numbers = [int(re.search(r'(\d+)\.pb', p).group(1)) for p in paths]
    t.equal(numbers, list(range(numbers[0], numbers[0] + 3)), 'the profiles kept')
    for profile in paths:
        check_service(t, profile)
    t.equal([os.stat(p).st_mtime_ns for p in paths], sorted(os.stat(p).st_mtime_ns for p in paths), 'times')


def lines_now(t, path):
    """Of a profile that may be removed at any time."""
    try:
        shutil.copy(path, t.path('now.pb.gz'))
    except FileNotFoundError:
        return False
    os.chmod(t.path('now.pb.gz'), 0o600)
    return has_lines(t, t.path('now.pb.gz'))


@test
def children_of_it(t):
    """Each process that a program starts has its profile with lines"""
    path = service(t)
    shell = '%s exit; %s exit; true' % (path, path)
    t.run([COMMAND, 'run', '--interval', '1', '--output', t.output + '/%e.%p.pb.gz', '/bin/sh', '-c', shell])
    found = [p for p in t.files() if os.path.basename(p).startswith('service')]
    t.equal(len(found), 2, 'profiles of the children')
    for profile in found:
        check_service(t, profile)


@test
def lifetimes(t):
    """A profile of lifetimes has lines, too"""
    path = service(t)
    run(t, '--lifetimes', path, 'exit', status=7)
    for profile in lone_files(t, 2):
        t.check(has_lines(t, profile), os.path.basename(profile) + ' has no lines')


@test
def output_of_it(t):
    """The program's own output and input are its own; --quiet says nothing"""
    path = service(t)
    result = t.run([COMMAND, 'run', '--quiet', '--output', t.output + '/%n.pb.gz', path, 'exit'], status=7)
    t.equal((result.out, result.err), (b'', b''), 'output')
    result = t.run([COMMAND, 'run', '--quiet', '--output', t.output + '/%n.pb.gz', '/bin/cat'], input=b'as it is\n')
    t.equal((result.out, result.err), (b'as it is\n', b''), 'output of cat')


@test
def snapshot(t):
    """heaptap snapshot gives lines to the file it reports, and only with --no-symbolize does not"""
    path = service(t)
    process = t.start([path, 'wait'], t.preload(at_exit=0), stdin=-1, stdout=-1)
    t.check(wait_until(lambda: takes_signal(process.pid, signal.SIGUSR1)), 'no handler')
    process.stdout.readline()
    told = t.run([COMMAND, 'snapshot', str(process.pid)]).text
    t.check(lone_files(t, 1)[0] in told, 'it says %s' % told)
    check_service(t, t.files()[0])
    t.run([COMMAND, 'snapshot', '--no-symbolize', str(process.pid)])
    t.check(not has_lines(t, lone_files(t, 2)[1]), '--no-symbolize: there are lines')
    t.run([COMMAND, 'snapshot', '--every', '50ms', '--count', '3', str(process.pid)])
    for profile in lone_files(t, 5)[2:]:
        check_service(t, profile)


# --- when it is ended ------------------------------------------------------------------------------------

def interrupted(t, path, number):
    """A signal that comes while the lines of the last profile are added, after the program's end."""
    t.new_output('interrupted-%d' % number)
    process = t.start([COMMAND, 'run', '--quiet', '--interval', '1', '--output', t.output + '/%n.pb.gz', path, 'wait'],
                      stdin=-1, stdout=-1, stderr=-1)
    process.stdout.readline()
    first = children(process.pid)
    process.send_signal(signal.SIGUSR1)
    t.wait_for_files(1)
    if not t.check(wait_until(lambda: has_lines(t, t.files()[0])), 'no lines of the first profile'):
        return
    symbolizer = [pid for pid in children(process.pid) if pid not in first]
    t.equal(len(symbolizer), 1, 'processes that add lines')
    for pid in symbolizer:
        os.kill(pid, signal.SIGSTOP)
    process.stdin.write(b'e')
    process.stdin.flush()
    t.check(wait_until(lambda: not set(first) & set(children(process.pid))), 'the program is still there')
    time.sleep(0.05)  # what is sent at the very end is the program's
    process.send_signal(number)
    time.sleep(0.05)
    t.equal(process.poll(), None, 'heaptap run ended before its process did')
    for pid in symbolizer:
        os.kill(pid, signal.SIGCONT)
    t.equal(t.finish(process, 20).status, 7, 'status after signal %d' % number)
    paths = lone_files(t, 2)
    t.equal([has_lines(t, p) for p in paths], [True, False], 'signal %d: lines' % number)
    t.check(not any(os.path.exists('/proc/%d' % pid) for pid in symbolizer), 'a process is left')


@test
def ended_meanwhile(t):
    """Ctrl-C and its like while lines are added leave the plain profile, the program's status, and nothing else"""
    path = service(t)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        interrupted(t, path, number)


@test
def killed_meanwhile(t):
    """heaptap symbolize that is killed or interrupted leaves the profile as it was, and no other file"""
    source = Program(t, 'c++')
    path = source.profile()
    before = shutil.copy2(path, t.path('before.pb.gz'))
    changed, began = 0, time.monotonic()
    t.run([COMMAND, 'symbolize', path])
    whole = time.monotonic() - began
    for number, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        for delay in range(12):
            shutil.copy2(before, path)
            process = t.start([COMMAND, 'symbolize', path], stdout=-1, stderr=-1)
            time.sleep(whole * delay / 10)
            process.send_signal(number)
            result = t.finish(process, 20)
            t.check(result.status in (0, status, -number), 'signal %d: status %d' % (number, result.status))
            lone_files(t, 1)
            changed += not same_text(path, before)
            t.load(path)
            if not same_text(path, before):
                check_stacks(t, source, path)
    t.note('%d of 36 had been done by then' % changed)


@test
def removed_meanwhile(t):
    """A profile that is removed or replaced while lines are added is not put back"""
    source = Program(t, 'c++')
    path = source.profile()
    before = shutil.copy2(path, t.path('before.pb.gz'))
    seen = set()
    for replace in (False, True):
        for _ in range(6):
            shutil.copy2(before, path)
            process = t.start([COMMAND, 'symbolize', path], stdout=-1, stderr=-1)
            wait_until(lambda: children(process.pid) or process.poll() is not None, 5)
            process.send_signal(signal.SIGSTOP)
            if not wait_until(lambda: state(process.pid) in ('T', 'Z'), 5):
                continue
            done = not same_text(path, before)
            os.unlink(path)
            if replace:
                with open(path, 'w') as file:
                    file.write('mine')
            process.send_signal(signal.SIGCONT)
            result = t.finish(process, 20)
            if done:
                continue
            seen.add(replace)
            t.check(result.status == 1 and len(result.err_lines) == 1, 'status %d, says %r' % (
                result.status, result.err))
            if replace:
                with open(path) as file:
                    t.equal(file.read(), 'mine', 'what was put there')
                os.unlink(path)
            t.equal(os.listdir(t.output), [], 'files')
    t.equal(seen, {False, True}, 'cases that were seen')


@test
def not_delayed(t):
    """The program does not wait for lines: profiles that are asked for at once come as fast as without"""
    seconds = []
    for option in ('--no-symbolize', '--quiet'):
        t.new_output(option[2:])
        process = t.start([COMMAND, 'run', option, '--output', t.output + '/%p.%n.pb.gz', find_program('python3'), '-c',
                           'import os, signal, time\nt = time.monotonic()\nfor i in range(50): os.kill(os.getpid(), '
                           'signal.SIGUSR1); time.sleep(.002)\nprint(time.monotonic() - t)'], stdout=-1, stderr=-1)
        result = t.finish(process, 60)
        seconds.append(float(result.text.split()[-1]))
        t.check(t.files(), 'no profile')
    t.note('%.3f s without, %.3f s with lines' % tuple(seconds))
    t.check(seconds[1] < seconds[0] * 3 + 0.5, '%.3f s, and %.3f s without lines' % (seconds[1], seconds[0]))


if __name__ == '__main__':
    main()
