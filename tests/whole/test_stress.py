#!/usr/bin/env python3
"""Everything at once, at random (tests/programs/stress.c): nothing crashes, hangs or is lost.

    STRESS_SEED=7 STRESS_SECONDS=60 STRESS_ROUNDS=10 python3 tests/whole/test_stress.py exact

repeats a run, or makes it longer. Seeds grow by two from round to round: the last bit, which says whether RLIMIT_AS
is lowered, is the test's own choice."""
import os
import random
import re
import subprocess

from harness import Failed, find_program, kill_group, main, program, test, truth

SECONDS = float(os.environ.get('STRESS_SECONDS', 3))
ROUNDS = int(os.environ.get('STRESS_ROUNDS', 1))
# How much longer than it should a run may take: the machine may be busy with other tests.
PATIENCE = 60
IN_HANDLER = 'site_in_handler'


def processes_of(session):
    """The processes of a session: the program and its children."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                if os.getsid(int(name)) == session:
                    found.append(int(name))
            except OSError:
                pass
    return found


def tell_where(t, process):
    """The stacks of all that hangs."""
    gdb = find_program('gdb')
    for pid in processes_of(process.pid):
        with open('/proc/%d/cmdline' % pid) as file:
            t.note('hangs: %d %s' % (pid, file.read().replace('\0', ' ')))
        if gdb:
            t.note(subprocess.run([gdb, '-p', str(pid), '-batch', '-ex', 'thread apply all bt 30'],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60,
                                  stdin=subprocess.DEVNULL).stdout.decode('utf-8', 'replace'))


def run_stress(t, env, seed):
    """One run to its end. What it printed."""
    process = t.start([program('stress'), str(seed), str(SECONDS), program('libplugin_a.so'),
                       program('libplugin_b.so')], env, stdout=-1, stderr=-1)
    try:
        out, err = process.communicate(timeout=SECONDS + PATIENCE)
    except subprocess.TimeoutExpired:
        tell_where(t, process)
        kill_group(process)
        raise Failed('seed %d hangs' % seed) from None
    said = err.decode('utf-8', 'replace').splitlines()
    if process.returncode != 0:
        raise Failed('seed %d: status %d\n%s' % (seed, process.returncode, '\n'.join(said[-8:])))
    # The program lowers RLIMIT_NOFILE, RLIMIT_FSIZE and RLIMIT_AS: that is said, a line each, and nothing else.
    t.equal([line for line in said if not line.startswith('heaptap: ')], [], 'seed %d says' % seed)
    text = out.decode()
    t.check('balance ok\n' in text, 'seed %d: no balance' % seed)
    return process.pid, text


def check_freed(t, profile, sites, what):
    """Nothing of any site is in use, but for frees that the profiler says it missed: while the machine is so busy that
    a fork takes half a second, they may be more than it can keep for later."""
    missed = re.search(r'frees missed (\d+)', profile.comment('dropped'))
    missed = int(missed.group(1)) if missed else 0
    for name in list(sites) + [IN_HANDLER]:
        in_use = profile.with_function(name)
        if missed == 0:
            t.equal((in_use.inuse_objects, in_use.inuse_bytes), (0, 0), what + 'in use of ' + name)
        elif profile.period == 1:
            t.check(in_use.inuse_objects <= missed, what + 'in use of %s: %d objects, with %d frees missed' % (
                name, in_use.inuse_objects, missed))


def check_allocated(t, profile, text, sites, what):
    """At interval 1: what each site allocated is the truth, but for what the profiler says it dropped. A handler
    may interrupt a hook that a site has called, before the profiler is at work or after; its block is recorded
    then, rightly, with a stack that leads through the site. So the site's own are those that are no handler's."""
    dropped = int(profile.comment('dropped').split()[0])
    for name, site in sites.items():
        own = profile.total(lambda sample: name in sample.names and IN_HANDLER not in sample.names)
        t.equal(tuple(own), tuple(profile.as_leaf(name)), what + name + ' as leaf')
        if dropped == 0:
            t.equal(tuple(own), tuple(site.values), what + name)
        else:
            t.check(site.values.alloc_objects - dropped <= own.alloc_objects <= site.values.alloc_objects,
                    what + '%s: %d objects, not %d, with %d dropped' % (
                        name, own.alloc_objects, site.values.alloc_objects, dropped))
    least, most = (int(n) for n in re.search(r'^in handlers (\d+) to (\d+)$', text, re.M).groups())
    seen = profile.with_function(IN_HANDLER)
    t.check(least - dropped <= seen.alloc_objects <= most and seen.alloc_bytes == 200 * seen.alloc_objects,
            what + 'in handlers: %d objects, %d bytes, not %d to %d objects' % (
                seen.alloc_objects, seen.alloc_bytes, least, most))


def judge(t, seed, **values):
    """Runs it and loads what it leaves: the last profile of the process itself, and what it printed."""
    t.new_output('seed-%d' % seed)
    t.note('seed %d' % seed)
    pid, text = run_stress(t, t.preload(follow=1, **values), seed)
    count = count_of_program = 0
    last = None
    for path in t.files():  # one at a time: in ten minutes they are thousands
        t.check(path.endswith('.pb.gz'), 'left over: ' + os.path.basename(path))
        profile = t.load(path)
        count += 1
        if os.path.basename(path).startswith('stress.%d.' % pid):
            count_of_program += 1
            last = profile
    if last is None:
        raise Failed('seed %d: no profile at exit' % seed)
    t.note('%d profiles, %d of the program; %s' % (count, count_of_program, last.comment('dropped')))
    return last, text


def first_seed(parity):
    return int(os.environ.get('STRESS_SEED', random.randrange(2 * 10**6))) & ~1 | parity


@test
def exact(t):
    """At interval 1, every site has what the program says, and all is freed."""
    seed = first_seed(0)
    for turn in range(ROUNDS):
        last, text = judge(t, seed + 2 * turn)
        what = 'seed %d: ' % (seed + 2 * turn)
        check_freed(t, last, truth(text), what)
        check_allocated(t, last, text, truth(text), what)


@test
def short_of_memory(t):
    """While RLIMIT_AS is lowered now and then, what is in use is still nothing in the end."""
    seed = first_seed(1)
    for turn in range(ROUNDS):
        last, text = judge(t, seed + 2 * turn)
        check_freed(t, last, truth(text), 'seed %d: ' % (seed + 2 * turn))


@test
def sampled(t):
    """At 4 KiB with every stack compared with libgcc's."""
    seed = first_seed(0)
    for turn in range(ROUNDS):
        last, text = judge(t, seed + 2 * turn, interval=4096, check_unwind=1)
        what = 'seed %d: ' % (seed + 2 * turn)
        check = last.comment('unwind check')
        t.note(check)
        t.check(check and ' 0 mismatches' in check, what + str(check))
        check_freed(t, last, truth(text), what)


if __name__ == '__main__':
    main()
