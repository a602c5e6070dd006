#!/usr/bin/env python3
"""Real programs under `heaptap run`: redis under load, python3, sqlite3, and g++ with its children.

Each leaves valid profiles with names in them, and `go tool pprof` shows them without a complaint."""
import os
import signal
import sys

from harness import COMMAND, ROOT, find_program, go_pprof, main, program, test, truth
from pprof_reader import ZERO
from redis import Redis

# Sampled finely enough that 20 MB are known to a few percent.
INTERVAL = 16384

SMALL = os.path.join(ROOT, 'tests', 'programs', 'small.cc')

PYTHON = '''
import json
one, size = b"x", 1000
held = [one * size for _ in range(20000)]
text = json.dumps([{"name": str(i), "values": list(range(10))} for i in range(5000)])
tree = json.loads(text)
print(len(held), len(tree))
'''

SQL = '''
PRAGMA cache_size = -50000;
CREATE TABLE word(id INTEGER PRIMARY KEY, text TEXT, length INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
    INSERT INTO word SELECT i, hex(randomblob(40)), i % 97 FROM n;
CREATE INDEX word_text ON word(text);
SELECT count(*) FROM word WHERE length = 5;
'''


def run_command(t, *options, interval=INTERVAL):
    return [COMMAND, 'run', '--quiet', '--interval', str(interval), '--output',
            os.path.join(t.output, '%e.%p.%n.pb.gz')] + list(options) + ['--']


def check_views(t, path, base=None):
    """Every view of go tool pprof, and that the top view names something."""
    top = go_pprof(t, '-top', path)
    t.check('Type: inuse_space' in top, 'top does not start with in-use space:\n' + top[:300])
    top = go_pprof(t, '-top', '-nodecount=30', '-sample_index=alloc_space', path)
    rows = [line.split() for line in top.splitlines() if '%' in line and 'Showing' not in line and
            'Dropped' not in line and 'flat' not in line]
    t.check(len(rows) >= 3, 'top has %d rows' % len(rows))
    for index in ('alloc_objects', 'inuse_objects'):
        go_pprof(t, '-top', '-sample_index=' + index, path)
    for view in ('-tree', '-traces', '-tags', '-raw', '-peek=.'):
        t.check(go_pprof(t, view, '-sample_index=alloc_space', path).strip(), view + ' says nothing')
    if find_program('dot'):
        go_pprof(t, '-svg', '-output=' + t.path('graph.svg'), path)
        with open(t.path('graph.svg')) as file:
            t.check('</svg>' in file.read(), 'no picture')
    else:
        t.note('no dot: -svg left out')
    if base:
        t.check(go_pprof(t, '-top', '-diff_base=' + base, path).strip(), '-diff_base says nothing')
        go_pprof(t, '-top', '-base=' + base, '-sample_index=alloc_space', path)


def check_named(t, profile, wanted):
    """All of these functions hold or held something."""
    by_function = profile.by_function()
    for name in wanted:
        t.check(by_function.get(name, ZERO).alloc_bytes > 0, 'no stack has ' + name)
    standing_in = profile.total(lambda s: bool(s.names) and s.names[0].startswith('['))
    t.note('%d samples, %.1f MB in use, %d %% of what was allocated has a nameless leaf' % (
        len(profile.samples), profile.total().inuse_bytes / 1e6,
        100 * standing_in.alloc_bytes // max(1, profile.total().alloc_bytes)))


def check_share(t, got, true, low, high, what):
    t.check(low * true <= got <= high * true, '%s: %.2f of the truth (%d of %d), not %.2f to %.2f' % (
        what, got / true, got, true, low, high))


@test
def redis(t):
    """redis-server under load: SIGUSR1 twice and SHUTDOWN give three profiles."""
    server = Redis(t, run_command(t))
    load = server.benchmark(15000)
    t.wait_for_files(0)
    os.kill(server.pid, signal.SIGUSR1)
    t.wait_for_files(1)
    t.equal(t.finish(load, 120).status, 0, 'status of redis-benchmark')
    server.settle()
    used = server.used_memory()
    os.kill(server.pid, signal.SIGUSR1)
    t.wait_for_files(2)
    t.check(server.used_memory() > 0, 'no answer after the snapshot')
    result = server.shutdown()
    t.equal(result.out, b'', 'output of redis-server')
    t.equal(result.err_lines, [], 'heaptap run --quiet and redis-server say')
    profiles = t.profiles(3, period=INTERVAL, program='redis-check-rdb' if os.path.basename(
        os.path.realpath(find_program('redis-server'))) == 'redis-check-rdb' else None, limits=True)
    # Debian's redis has no .symtab, but exports its functions.
    # The first may be written before any command was sampled.
    for profile, names in zip(profiles, (['main'], ['main', 'aeMain', 'call'], ['main', 'aeMain', 'call'])):
        check_named(t, profile, names)
    # What redis itself counts has the allocator's rounding in it.
    check_share(t, profiles[1].total().inuse_bytes, used, 0.70, 1.06, 'in use')
    t.check(profiles[1].total().alloc_bytes > profiles[0].total().alloc_bytes, 'nothing between the snapshots')
    paths = t.files()
    check_views(t, paths[1], base=paths[0])


@test
def python(t):
    """python3 with PYTHONMALLOC=malloc: 20000 objects of 1000 bytes."""
    python3 = sys.executable
    result = t.run(run_command(t) + [python3, '-c', PYTHON], {'PYTHONMALLOC': 'malloc'})
    t.equal(result.text, '20000 5000\n', 'output')
    profile = t.only_profile(period=INTERVAL, limits=True)
    check_named(t, profile, ['_PyEval_EvalFrameDefault'])
    # A bytes object of 1000 is a block of 1033, whatever function of this python asks for it. 20 % are seven
    # standard errors at 16 KiB.
    made = profile.total(lambda sample: sample.block_bytes == 1033)
    check_share(t, made.alloc_bytes, 20000 * 1033, 0.8, 1.2, 'bytes objects')
    check_views(t, t.files()[0])


@test
def sqlite(t):
    """sqlite3 building a table and an index."""
    sqlite3 = find_program('sqlite3')
    t.need(sqlite3, 'no sqlite3')
    result = t.run(run_command(t) + [sqlite3, t.path('words.db')], input=SQL.encode())
    plain = t.run([sqlite3, t.path('words.db')], input=SQL.split(';')[-2].encode() + b';')
    t.equal(result.text, plain.text, 'output')
    profile = t.only_profile(period=INTERVAL, program='sqlite3', limits=True)
    check_named(t, profile, ['sqlite3_step'])  # Debian's is stripped
    check_views(t, t.files()[0])


@test
def compiler(t):
    """g++ compiling and linking: each child leaves a profile of its own, none is overwritten."""
    gxx = find_program('g++')
    t.need(gxx, 'no g++')
    t.run(run_command(t) + [gxx, '-O1', SMALL, '-o', 'small'], timeout=120)
    t.equal(t.run([t.path('small')]).text, '100\n', 'the compiled program')
    paths = t.files()
    profiles = t.profiles(limits=True)
    programs = [os.path.basename(p.mappings[0].filename) for p in profiles]
    t.note(' '.join(sorted(os.path.basename(p) for p in paths)))
    for wanted in ('g++', 'cc1plus', 'as', 'collect2', 'ld'):
        t.equal(len([p for p in programs if wanted in p.replace('-', '.').split('.') or p == wanted
                     or (wanted == 'g++' and 'g++' in p)]), 1, 'profiles of ' + wanted)
    t.equal(len(profiles), 5, 'profiles')
    pids = [os.path.basename(p).split('.')[-4] for p in paths]
    t.equal(len(set(pids)), len(pids), 'distinct pids in %r' % pids)
    largest = max(profiles, key=lambda p: p.total().alloc_bytes)
    t.check('cc1plus' in largest.mappings[0].filename, 'the largest is ' + largest.mappings[0].filename)
    check_views(t, paths[profiles.index(largest)])


@test
def not_followed(t):
    """--no-follow profiles the program and none of its children."""
    t.run(run_command(t, '--no-follow') + ['/bin/sh', '-c', '%s exit 0; %s exit 0; exit 0' % (
        (program('plain'),) * 2)])
    profile = t.only_profile()
    t.check('plain' not in profile.mappings[0].filename, 'a child was profiled')
    t.new_output('followed')
    t.run(run_command(t) + ['/bin/sh', '-c', '%s exit 0; %s exit 0; exit 0' % ((program('plain'),) * 2)])
    t.profiles(3)


@test
def known_sites(t):
    """A whole profile of known sites opens in every view, and pprof's sums are the truth."""
    result = t.run(run_command(t, interval=1) + [program('sites'), '200000', 'keep'])
    path = t.files()[0]
    t.only_profile(period=1)
    check_views(t, path)
    sites = truth(result.text)
    for index, column in (('inuse_space', 3), ('alloc_objects', 0)):
        top = go_pprof(t, '-top', '-unit=b' if column == 3 else '-unit=auto', '-nodecount=1000', '-nodefraction=0',
                       '-sample_index=' + index, path)
        flat = {line.split()[-1]: line.split()[0] for line in top.splitlines()
                if line.split() and line.split()[-1] in sites}
        for name, site in sites.items():
            if site.how == 'leaf' and site.values[column]:
                t.equal(flat.get(name, '-').rstrip('B'), str(site.values[column]), index + ' of ' + name)


if __name__ == '__main__':
    main()
