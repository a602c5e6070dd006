#!/usr/bin/env python3
"""Everything at once, at random (tests/programs/stress.c): nothing crashes, hangs or is lost.

    STRESS_SEED=7 STRESS_SECONDS=60 STRESS_ROUNDS=10 python3 tests/whole/test_stress.py exact

repeats a run, or makes it longer. A round's seed is the first seed plus the round's number."""
import os
import random
import subprocess

from harness import Failed, check_exact, find_program, kill_group, main, program, test, truth

SECONDS = float(os.environ.get('STRESS_SECONDS', 3))
ROUNDS = int(os.environ.get('STRESS_ROUNDS', 1))
# How much longer than it should a run may take: the machine may be busy with other tests.
PATIENCE = 60


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


def judge(t, seed, **values):
    """Runs it and loads what it leaves: the profiles of the process itself, in order, and the truth."""
    t.new_output('seed-%d' % seed)
    t.note('seed %d' % seed)
    pid, text = run_stress(t, t.preload(follow=1, **values), seed)
    profiles = t.profiles()
    of_program = [p for p, path in zip(profiles, t.files()) if
                  os.path.basename(path).startswith('stress.%d.' % pid)]
    t.check(of_program, 'seed %d: no profile at exit' % seed)
    t.note('%d profiles, %d of the program; %s' % (
        len(profiles), len(of_program), of_program[-1].comment('dropped')))
    return of_program, truth(text)


def first_seed(t, parity):
    """One whose last bit says whether RLIMIT_AS is lowered."""
    return int(os.environ.get('STRESS_SEED', random.randrange(10**6) * 2 + parity))


@test
def exact(t):
    """At interval 1, every site has what the program says, and all is freed."""
    seed = first_seed(t, 0)
    for turn in range(ROUNDS):
        profiles, sites = judge(t, seed + 2 * turn)
        last = profiles[-1]
        for name in list(sites) + ['site_in_handler']:
            in_use = last.with_function(name)
            t.equal((in_use.inuse_objects, in_use.inuse_bytes), (0, 0), 'seed %d: in use of %s' % (seed, name))
        if last.comment('dropped') == '0':
            check_exact(t, last, sites, 'seed %d: ' % (seed + 2 * turn))


@test
def short_of_memory(t):
    """While RLIMIT_AS is lowered now and then, what is in use is still nothing in the end."""
    seed = first_seed(t, 1)
    for turn in range(ROUNDS):
        profiles, sites = judge(t, seed + 2 * turn)
        for name in sites:
            in_use = profiles[-1].with_function(name)
            t.equal((in_use.inuse_objects, in_use.inuse_bytes), (0, 0), 'seed %d: in use of %s' % (seed, name))


@test
def sampled(t):
    """At 4 KiB with every stack compared with libgcc's."""
    seed = first_seed(t, 0)
    for turn in range(ROUNDS):
        profiles, sites = judge(t, seed + 2 * turn, interval=4096, check_unwind=1)
        check = profiles[-1].comment('unwind check')
        t.note(check)
        t.check(check and ' 0 mismatches' in check, 'seed %d: %s' % (seed + 2 * turn, check))
        for name in sites:
            in_use = profiles[-1].with_function(name)
            t.equal((in_use.inuse_objects, in_use.inuse_bytes), (0, 0), 'seed %d: in use of %s' % (seed, name))


if __name__ == '__main__':
    main()
