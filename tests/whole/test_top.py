#!/usr/bin/env python3
"""heaptap top and heaptap diff: the numbers are those of pprof and of the profile, the errors those of their
variances, and what is no heap profile is refused in one line."""
import collections
import fcntl
import gzip
import json
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import termios

import pprof_writer
from harness import COMMAND, Failed, find_program, go_pprof, main, test
from pprof_reader import Values

COLUMNS = ('alloc_objects', 'alloc_space', 'inuse_objects', 'inuse_space')
Z = 1.959963984540054
SQL = ('create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000) '
       'insert into t select x, hex(x) from c; create index i on t(b); select count(*) from t;')

GO_PROGRAM = '''package main

import (
	"os"
	"runtime"
	"runtime/pprof"
)

var keep [][]byte

func leaf(n int) []byte { return make([]byte, n) }

func recurse(n int) {
	if n > 0 {
		keep = append(keep, leaf(1000*n))
		recurse(n - 1)
	}
}

func main() {
	cpu, _ := os.Create("cpu.pb.gz")
	pprof.StartCPUProfile(cpu)
	runtime.MemProfileRate = 512
	for i := 0; i < 200; i++ {
		recurse(20)
	}
	pprof.StopCPUProfile()
	heap, _ := os.Create("heap.pb.gz")
	runtime.GC()
	pprof.WriteHeapProfile(heap)
	heap.Close()
}
'''


def top(t, *arguments, **how):
    return t.run([COMMAND, 'top'] + [str(a) for a in arguments], **how)


def report(t, *arguments):
    """The object of top --json, or of diff --json."""
    result = t.run([COMMAND] + [str(a) for a in arguments] + ['--json'])
    t.equal(result.err, b'', '%s says' % arguments[0])
    return json.loads(result.out)


def by_name(rows):
    """function (with file and line, where there are any) -> row"""
    return {row['function'] + (' %s:%d' % (row['file'], row.get('line', 0)) if 'file' in row else ''): row
            for row in rows}


def confidence(value, variance):
    """Wilson's interval, as confidence.h has it."""
    if value <= 0 or variance <= 0:
        return value, value
    half = Z * variance / value / 2
    reach = Z * math.sqrt(variance + half * half)
    return max(value + Z * half - reach, 0), value + Z * half + reach


def close(a, b):
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b), 1)


# --- beside pprof ----------------------------------------------------------------------------------------

def pprof_rows(t, path, column, *options):
    """name -> (flat, cum), as go tool pprof -top prints them."""
    text = go_pprof(t, '-top', '-sample_index=' + column, '-nodefraction=0', '-nodecount=1000000', '-unit=B', *options,
                    path)
    rows = {}
    for line in text.splitlines():
        match = re.match(r' *(-?\d+)B? +\S+% +\S+% +(-?\d+)B? +\S+%  (.*)', line)
        if match:
            name = re.sub(r' \((partial-)?inline\)$', '', match.group(3))
            rows[name] = int(match.group(1)), int(match.group(2))
    return rows


def check_pprof(t, path, by, *options):
    ours = by_name(report(t, 'top', path, '--by', by)['rows'])
    for column in COLUMNS:
        theirs = pprof_rows(t, path, column, *options)
        mine = {name: (row['flat'][column]['value'], row['cum'][column]['value']) for name, row in ours.items()}
        mine = {name: values for name, values in mine.items() if values != (0, 0)}
        t.check(len(theirs) > 3, 'pprof shows %d rows of %s' % (len(theirs), column))
        for name in sorted(set(mine) ^ set(theirs)):
            t.complain('%s by %s: only %s has %s' % (column, by, 'pprof' if name in theirs else 'heaptap', name))
        for name in sorted(set(mine) & set(theirs)):
            t.equal(mine[name], theirs[name], '%s of %s' % (column, name))


@test
def exact_program(t):
    """sqlite3 at interval 1: each function's numbers are those of the profile and of go tool pprof, and exact"""
    sqlite = find_program('sqlite3')
    t.need(sqlite, 'no sqlite3 on this machine')
    t.run_preloaded([sqlite, ':memory:', SQL])
    profile, path = t.only_profile(), t.files()[0]
    found = report(t, 'top', path)
    t.equal(found['errors'], 'exact', 'errors')
    for column, total in zip(COLUMNS, profile.total()):
        t.equal(found['total'][column], dict(value=total, low=total, high=total, variance=0), 'total ' + column)
    # The reader counts frames that drop_frames hides as well.
    shown, leaves = collections.Counter(), collections.Counter()
    for sample in profile.samples:
        names = profile.shown(sample)
        leaves[names[0]] += sample.values.alloc_bytes
        for name in set(names):
            shown[name] += sample.values.alloc_bytes
    rows = by_name(found['rows'])
    t.equal({n: r['cum']['alloc_space']['value'] for n, r in rows.items()}, dict(shown), 'cum alloc_space')
    t.equal({n: r['flat']['alloc_space']['value'] for n, r in rows.items() if r['flat']['alloc_space']['value']},
            {n: v for n, v in leaves.items() if v}, 'flat alloc_space')
    text = top(t, path).text
    t.check('all numbers are exact' in text and '+-' not in text, 'text: %s' % text[:300])
    check_pprof(t, path, 'function')


@test
def go_profiles(t):
    """Go's own heap profile, by function and by line, is what go tool pprof makes of it; its CPU profile is refused"""
    go = find_program('go')
    t.need(go, 'no go on this machine')
    with open(t.path('main.go'), 'w') as file:
        file.write(GO_PROGRAM)
    env = dict(GOTOOLCHAIN='local', GOFLAGS='-mod=mod')
    if 'HOME' not in os.environ:
        env.update(HOME=t.directory)
    t.run([go, 'build', '-o', 'program', 'main.go'], env, timeout=170)
    t.run([t.path('program')])
    path = t.path('heap.pb.gz')
    check_pprof(t, path, 'function')
    check_pprof(t, path, 'line', '-lines')
    found = report(t, 'top', path)
    t.equal((found['errors'], found['total']['inuse_space']['variance']), ('unknown', None), 'errors')
    text = top(t, path).text
    t.check('no error is known' in text and '+-' not in text, 'text: %s' % text[:300])
    t.check('no error is known' in t.run([COMMAND, 'diff', path, path]).text, 'diff does not say it')
    check_refused(t, ['top', t.path('cpu.pb.gz')],
                  'cpu.pb.gz: a profile of samples/count and cpu/nanoseconds, not of a heap')


@test
def written_anew(t):
    """A profile that pprof wrote anew has the same numbers, and no errors."""
    path = sample_profile().save(t.path('ours.pb.gz'))
    go_pprof(t, '-proto', '-output=' + t.path('theirs.pb.gz'), path)
    ours, theirs = report(t, 'top', path), report(t, 'top', t.path('theirs.pb.gz'))
    t.equal((ours['errors'], theirs['errors']), ('known', 'unknown'), 'errors')
    for column in COLUMNS:
        t.equal(theirs['total'][column]['value'], ours['total'][column]['value'], column)


# --- errors ----------------------------------------------------------------------------------------------

def sample_profile(factor=1, **head):
    """main calls leak, which is on the stack twice in one sample, and many small ones; numbers that are known."""
    heap = pprof_writer.Heap(**head)
    heap.add('leak main', Values(10 * factor, 1000000 * factor, 8 * factor, 800000 * factor),
             variance=(10, 1e10 * factor, 8, 0.8e10 * factor), bytes=100000)
    heap.add('leak leak main', Values(20, 2000000, 0, 0), variance=(20, 2e10, 0, 0))
    heap.add('malloc hold main', Values(100, 64000000, 100, 64000000), variance=(1, 64e9, 1, 64e9))
    heap.add('once main', Values(1, 65536, 1, 65536), variance=(1, 65536.0**2, 1, 65536.0**2))
    heap.comments += ['# samples taken: 174', 'odd', 'dropped: 3 (of all)']
    return heap


SUMS = {  # name -> flat, cum: value and variance of alloc_space and of inuse_space
    'leak': (((3e6, 3e10), (0.8e6, 0.8e10)), ((3e6, 3e10), (0.8e6, 0.8e10))),
    'hold': (((64e6, 64e9), (64e6, 64e9)), ((64e6, 64e9), (64e6, 64e9))),
    'once': (((65536, 65536**2), (65536, 65536**2)), ((65536, 65536**2), (65536, 65536**2))),
    'main': (((0, 0), (0, 0)), ((67065536, 94e9 + 65536**2), (64865536, 72e9 + 65536**2))),
}


@test
def errors(t):
    """Variances of a function's samples add up, and its range is that of the sum"""
    path = sample_profile().save(t.path('a.pb.gz'))
    found = report(t, 'top', path)
    rows = by_name(found['rows'])
    t.equal(list(rows), ['hold', 'leak', 'once', 'main'], 'rows')
    for name, kinds in SUMS.items():
        for kind, wanted in zip(('flat', 'cum'), kinds):
            for column, (value, variance) in zip(('alloc_space', 'inuse_space'), wanted):
                cell, where = rows[name][kind][column], '%s %s %s' % (name, kind, column)
                low, high = confidence(value, variance)
                t.equal(cell['value'], value, where)
                t.check(close(cell['variance'], variance) and close(cell['low'], low) and close(cell['high'], high),
                        '%s: %r, not %r' % (where, cell, (low, high, variance)))
    t.check(close(found['total']['inuse_space']['variance'], 72e9 + 65536**2), 'total: %r' % found['total'])


def text_bytes(value):
    unit = 0
    while value >= 1023.95:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 else 2 if value < 9.995 else 1
    return '0' if value == 0 else '%.*f %s' % (digits, value, ('B', 'KiB', 'MiB', 'GiB')[unit])


@test
def text_is_json(t):
    """The table says what the JSON says: names, order, values, errors, parts of the whole"""
    path = sample_profile().save(t.path('a.pb.gz'))
    rows = report(t, 'top', path)['rows']
    lines = top(t, path).text.splitlines()
    t.check(lines[0].startswith(path) and 'one sample per 64 KiB' in lines[0], 'first line: %r' % lines[0])
    # What its errors are worth, X^2 / V, is not the number of samples that were taken, 174.
    worth = 64865536**2 / (72e9 + 65536**2)
    t.equal(lines[1], 'inuse_space: 61.9 MiB +-0.5 in all, worth about %.0f samples' % worth, 'second line')
    head = next(i for i, line in enumerate(lines) if line.split()[:1] == ['flat'])
    t.equal(lines[head].split(), ['flat', '+-95%', 'flat%', 'cum', '+-95%', 'cum%', 'function'], 'head')
    for row, line in zip(rows, lines[head + 1:]):
        flat, cum = row['flat']['inuse_space'], row['cum']['inuse_space']
        t.check(line.split('  ')[-1] == row['function'], 'name: %r, not %s' % (line, row['function']))
        t.check(line.strip().startswith(text_bytes(flat['value'])), 'flat: %r' % line)
        t.check('  %s  ' % text_bytes(cum['value']) in line, 'cum: %r, not %s' % (line, text_bytes(cum['value'])))
        t.check(' %.1f%% ' % (100 * flat['value'] / 64865536) in line, 'part: %r' % line)
    t.check(re.search(r'64\.0 KiB +-52\.\d \+298\.\d few', lines[head + 3].replace('+-', '~')), lines[head + 3])
    t.check(any(line.startswith('few: of fewer than 5 samples') for line in lines), 'no legend of few')
    every = top(t, path, '--all', '--sort', 'alloc_o').text
    t.equal([every.count(c + '\n') + every.count(c + '  ') for c in COLUMNS], [4] * 4, 'lines of --all')
    t.equal(top(t, path, '--count', 1).text.splitlines()[-1], 'and 3 more functions: --count 0 shows all', '--count')


@test
def orders(t):
    """Rows by function, line and stack, and what they are sorted by"""
    heap = pprof_writer.Heap()
    heap.add('a:1 main:9', Values(1, 10, 1, 10))
    heap.add('a:2 main:9', Values(9, 20, 9, 20))
    heap.add('a:2 a:2 main:9', Values(3, 5, 0, 0))
    heap.add('a:2 main:9', Values(1, 1, 0, 0), lifetime='<1ms')
    path = heap.save(t.path('a.pb.gz'))

    def rows(*options):
        return [(r.get('line', 0), r['flat']['alloc_space']['value'], r['cum']['alloc_space']['value'])
                for r in report(t, 'top', path, *options)['rows']]
    t.equal(rows('--sort', 'alloc_space'), [(0, 36, 36), (0, 0, 36)], 'functions')
    t.equal(rows('--sort', 'alloc_space', '--by', 'line'), [(2, 26, 26), (1, 10, 10), (9, 0, 36)], 'lines')
    t.equal(rows('--sort=alloc_space', '--by=line', '--cum'), [(9, 0, 36), (2, 26, 26), (1, 10, 10)], 'lines, --cum')
    found = report(t, 'top', path, '--by', 'stack', '--sort', 'alloc_objects')['rows']
    t.equal([(len(r['stack']), r['stack'][0]['line'], r['flat']['alloc_objects']['value']) for r in found],
            [(2, 2, 10), (3, 2, 3), (2, 1, 1)], 'stacks')
    lines = top(t, path, '--by', 'st').text.splitlines()
    stacks = [line.split('%  ')[-1].strip() for line in lines[-4:]]
    t.equal(stacks, ['a :2', 'main :9', 'a :1', 'main :9'], 'blocks')
    t.equal(lines[-1].index('main'), lines[-2].index('a :1') + 2, 'indent of a caller')


@test
def few_samples(t):
    """A profile of next to nothing says so in words; --stats has comments and totals"""
    heap = pprof_writer.Heap().add('once main', Values(1, 65536, 1, 65536), variance=(1, 65536.0**2, 1, 65536.0**2))
    path = heap.save(t.path('few.pb.gz'))
    t.check('too few samples to tell: about 1;' in top(t, path).text, 'top: %s' % top(t, path).text)
    t.check('too few samples to tell: about 2 in both;' in t.run(
        [COMMAND, 'diff', path, pprof_writer.Heap(process=8).add('x', Values(1, 65536, 1, 65536), variance=(
            1, 65536.0**2, 1, 65536.0**2)).save(t.path('other.pb.gz'))]).text, 'diff does not say it')
    path = sample_profile().save(t.path('a.pb.gz'))
    lines = top(t, path, '--stats').text.splitlines()
    t.equal([line.split(':')[0] for line in lines[1:5]],
            ['inuse_space', 'inuse_objects', 'alloc_space', 'alloc_objects'], 'totals')
    t.equal(lines[5], '4 functions in 4 rows of the profile', 'counts')
    t.equal(lines[-4:], ['heaptap 0.1.0', 'samples taken           174', 'odd', 'dropped                 3 (of all)'],
            'comments')
    found = report(t, 'top', path, '--stats')
    t.equal((found['rows'], found['row_count'], found['profile']['comments'][1]), ([], 4, '# samples taken: 174'),
            'as JSON')
    # A large block is hardly ever missed, but others are; and an interval of 1 may have been a longer one before.
    for period, interval, wanted in ((1, '1 bytes', 'exact'), (65536, '65536 bytes', 'known'),
                                     (1, '1 bytes now, 1 to 4096 so far', 'known')):
        heap = pprof_writer.Heap(period=period).add('large', Values(1, 1 << 30, 1, 1 << 30))
        heap.comments.append('# interval: ' + interval)
        t.equal(report(t, 'top', heap.save(t.path('large.pb.gz')))['errors'], wanted, interval)
    nothing = pprof_writer.Heap().save(t.path('nothing.pb.gz'))
    t.check('there is no inuse_space' in top(t, nothing).text, 'an empty heap: %s' % top(t, nothing).text)


# --- diff ------------------------------------------------------------------------------------------------

def pair(t, more=None, **head):
    """Two profiles of many rows that differ by chance, and what `more` does to the new one."""
    paths = []
    for new in (False, True):
        heap = pprof_writer.Heap(time=60 * new, process=head.get('processes', (7, 8))[new])
        for i in range(40):
            # 100 samples of 1000 bytes, give or take what is likely in one of 40 rows.
            samples = 100 + (i % 5 - 2) * 7 * (1 if new else -1)
            heap.add('row%d main' % i, Values(*[samples * k for k in (1, 1000, 1, 1000)]),
                     variance=[samples * k for k in (1, 1e6, 1, 1e6)])
        if new and more:
            more(heap)
        paths.append(heap.save(t.path('%s.pb.gz' % ('new' if new else 'old'))))
    return paths


@test
def changes(t):
    """Changes, their ranges and z are those of both variances; --significant leaves what is no noise"""
    def grow(heap):
        heap.add('grown main', Values(50, 50000, 50, 50000), variance=(50, 50e6, 50, 50e6))
        heap.add('some main', Values(4, 4000, 4, 4000), variance=(4, 4e6, 4, 4e6))
    old, new = pair(t, grow)
    found = report(t, 'diff', old, new)
    t.equal((found['errors'], found['same_process']), ('known', False), 'head')
    rows = by_name(found['rows'])
    t.equal(found['rows'][0]['function'], 'grown', 'the largest')
    cell = rows['row0']['flat']['inuse_space']
    low, high = confidence(114000, 114e6), confidence(86000, 86e6)
    wanted = (-28000 - math.hypot(86000 - high[0], low[1] - 114000),
              -28000 + math.hypot(high[1] - 86000, 114000 - low[0]), -(28000 - 1000) / math.sqrt(200e6))
    t.equal((cell['old'], cell['new'], cell['change'], cell['few']), (114000, 86000, -28000, False), 'row0')
    t.check(all(close(cell[key], value) for key, value in zip(('low', 'high', 'z'), wanted)),
            '%r, not %r' % (cell, wanted))
    t.equal((rows['some']['flat']['inuse_space']['few'], rows['some']['noise']), (True, True), 'four samples')
    # |z| of 1.9 in 16 rows of 42 is noise; 49 samples and none before are not.
    t.equal([r['function'] for r in report(t, 'diff', old, new, '--significant')['rows']], ['grown'], 'significant')
    lines = t.run([COMMAND, 'diff', old, new, '--count', '0']).text.splitlines()
    noisy = [line for line in lines if line.startswith('~  ')]
    t.check(len(noisy) >= 30 and not any('grown' in line for line in noisy), '%d lines of noise' % len(noisy))
    t.check(any(re.match(r'~: noise explains', line) for line in lines), 'no legend')
    text = t.run([COMMAND, 'diff', old, new, '--significant']).text
    t.check('grown' in text and not re.search('row[0-9]|~', text), 'significant: %s' % text)


@test
def old_and_new(t):
    """The values before and after stand beside the change that is sorted by, where there is room"""
    def heap(leaf):
        return pprof_writer.Heap().add('leaf main', Values(1, leaf, 1, leaf), variance=(0, 1, 0, 1)).add(
            'main', Values(1, 5000, 1, 5000))
    old, new = heap(2000).save(t.path('old.pb.gz')), heap(9000).save(t.path('new.pb.gz'))
    for options, columns in (
            ([], ['flat', '+-95%', 'z', 'old', 'new', 'cum', '+-95%', 'z', 'function']),
            (['--cum'], ['flat', '+-95%', 'z', 'cum', '+-95%', 'z', 'old', 'new', 'function']),
            (['--by', 'stack'], ['change', '+-95%', 'z', 'old', 'new', 'stack'])):
        lines = t.run([COMMAND, 'diff', old, new] + options).text.splitlines()
        head = next(i for i, line in enumerate(lines) if line.split()[-1:] == columns[-1:])
        t.equal(lines[head].split(), columns, 'head with %r' % options)
        row = next(line for line in lines[head:] if re.search(r' leaf$', line))
        t.check('1.95 KiB  8.79 KiB' in row, '%r: %r' % (options, row))
        main_row = next((line for line in lines[head:] if re.search(r'[0-9B]  main$', line)), '')
        if '--cum' in options:
            t.check('6.84 KiB  13.7 KiB  main' in main_row, 'cum of main: %r' % main_row)
    for width, wanted in ((109, False), (110, True)):
        text = on_terminal(t, ['diff', old, new], width)
        t.equal(bool(re.search(r' old +new ', text)), wanted, 'old and new at %d columns' % width)


@test
def same_process(t):
    """Of one process, the increase of what was allocated is a sampled sum itself"""
    def grow(heap):
        heap.add('row3 main', Values(30, 30000, 0, 0), variance=(30, 30e6, 0, 0))
    heap = pprof_writer.Heap(process=7)
    heap.add('row3 main', Values(100, 100000, 100, 100000), variance=(100, 100e6, 100, 100e6))
    old = heap.save(t.path('old.pb.gz'))
    heap.time = 5
    grow(heap)
    new = heap.save(t.path('new.pb.gz'))
    found = report(t, 'diff', old, new, '--sort', 'alloc_space')
    cell, low_high = found['rows'][0]['flat']['alloc_space'], confidence(30000, 30e6)
    t.check(found['same_process'] and close(cell['variance'], 30e6) and close(cell['z'], math.sqrt(30)) and
            close(cell['low'], low_high[0]) and close(cell['high'], low_high[1]), 'alloc_space: %r' % cell)
    cell = found['rows'][0]['flat']['inuse_space']
    t.check(cell['change'] == 0 and close(cell['variance'], 200e6), 'inuse_space: %r' % cell)
    # The wrong way round, it is done, and said.
    result = t.run([COMMAND, 'diff', new, old])
    t.equal(len(result.err_lines), 1, 'lines: %r' % result.err_lines)
    t.check('wrong order' in result.err_lines[0] and '-' in result.text, 'backwards: %r' % result.err_lines)


@test
def same_file(t):
    """A profile and itself: nothing changed, and nothing is unsure"""
    path = sample_profile().save(t.path('a.pb.gz'))
    text = t.run([COMMAND, 'diff', path, path]).text
    t.check('both are the same profile' in text and 'nothing changed' in text, 'text: %s' % text)
    for row in report(t, 'diff', path, path)['rows']:
        for cell in list(row['flat'].values()) + list(row['cum'].values()):
            t.equal((cell['change'], cell['low'], cell['high'], cell['z']), (0, 0, 0, 0), row['function'])


# --- what is refused -------------------------------------------------------------------------------------

def check_refused(t, arguments, words, status=1):
    result = t.run([COMMAND] + arguments, status=None)
    t.equal((result.status, result.out), (status, b''), '%r: status and output' % arguments)
    if t.equal(len(result.err_lines), 1, '%r: lines %r' % (arguments, result.err_lines)):
        t.check(result.err_lines[0].startswith('heaptap: ') and words in result.err_lines[0],
                '%r: %r' % (arguments, result.err_lines[0]))


@test
def refused(t):
    """What is no heap profile is refused in one line that names the file and what is wrong"""
    good = sample_profile().save(t.path('good.pb.gz'))
    with open(good, 'rb') as file:
        packed = file.read()
    plain = gzip.decompress(packed)
    files = {
        'cut off': (packed[:-20], 'cut off'),
        'cut off at once': (packed[:2], 'cut off'),
        'damaged': (packed[:40] + bytes([packed[40] ^ 255]) + packed[41:], 'damaged'),
        'followed': (packed + b'x', 'damaged'),
        'plain and cut off': (plain[:-3], "not a profile in pprof's format"),
        'text': (b'hello\n', "not a profile in pprof's format"),
        'gzipped text': (gzip.compress(b'hello\n'), "not a profile in pprof's format"),
        'old': (b'heap profile: 1: 2 [3: 4] @ heap_v2/524288\n', 'in the old text format'),
        'empty': (b'', 'empty'),
        'cpu': (gzip.compress(pprof_writer.Heap(types=pprof_writer.CPU_TYPES).bytes()),
                'a profile of samples/count and cpu/nanoseconds, not of a heap (alloc_objects'),
        'values': (plain + b'\x12\x00', 'a sample has 0 values, not 4'),
        'dangling': (plain.replace(b'\x0a\x02\x01\x02', b'\x0a\x02\x01\x63', 1), 'location 99, which is not there'),
        'huge': (gzip.compress(bytes(1 << 20)) * 1030, 'larger than 1 GiB when it is unpacked'),
    }
    for name, (data, words) in files.items():
        with open(t.path(name), 'wb') as file:
            file.write(data)
        check_refused(t, ['top', t.path(name)], t.path(name) + ': ')
        check_refused(t, ['top', t.path(name), '--json'], words)
        check_refused(t, ['diff', good, t.path(name)], words)
        check_refused(t, ['diff', t.path(name), good], words)
    check_refused(t, ['top', t.directory], 'Is a directory')
    check_refused(t, ['top', t.path('nothing')], 'No such file')
    result = t.run([COMMAND, 'top', '-'], status=1, input=b'')
    t.equal(result.err_lines, ['heaptap: standard input: it is empty'], 'standard input')


@test
def usage(t):
    """A wrong command line is one line and status 2"""
    good = sample_profile().save(t.path('good.pb.gz'))
    for arguments, words in ((['top'], 'no profile'), (['top', good, good], 'too many'),
                             (['diff', good], 'two profiles'),
                             (['diff', '-', '-'], 'standard input'), (['diff'] + [good] * 3, 'too many'),
                             (['top', '--by', 'file', good], 'function, line or stack'),
                             (['top', '--sort', 'inuse', good], 'inuse_space, inuse_objects'),
                             (['top', '--sort', '', good], 'inuse_space, inuse_objects'),
                             (['top', good, '--count', '-1'], 'a number'), (['top', good, '--count'], 'needs a value'),
                             (['top', '--significant', good], 'not an option'), (['diff', '--frob'], '--frob')):
        check_refused(t, arguments, words, status=2)
    for command in ('top', 'diff'):
        t.equal(t.run([COMMAND, command, '--help']).text, t.run([COMMAND, 'help', command]).text, command + ' --help')
    # It can be read from a pipe, plain as well, and from a file with an odd name.
    with open(good, 'rb') as file:
        packed = file.read()
    for data in (packed, gzip.decompress(packed)):
        t.check('standard input, ' in t.run([COMMAND, 'top', '-'], input=data).text, 'from a pipe')
    shutil.copy(good, t.path('--by'))
    t.check('hold' in t.run([COMMAND, 'top', '--', '--by']).text, 'a file called --by')


# --- terminals -------------------------------------------------------------------------------------------

def on_terminal(t, arguments, columns, **env):
    """What a command writes to a terminal of so many columns."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ('COLUMNS', 'NO_COLOR')}
    environment.update(dict(TERM='xterm', LC_ALL='C.UTF-8'), **env)
    process = subprocess.Popen([COMMAND] + arguments, stdin=subprocess.DEVNULL, stdout=inner, stderr=subprocess.PIPE,
                               env=environment)
    os.close(inner)
    text = b''
    while True:
        try:
            piece = os.read(outer, 65536)
        except OSError:  # all others have closed it
            break
        if not piece:
            break
        text += piece
    os.close(outer)
    err = process.stderr.read()
    process.stderr.close()
    if process.wait() != 0:
        raise Failed('%r on a terminal: %s' % (arguments, err))
    return text.decode().replace('\r\n', '\n')


def widths(text):
    plain = re.sub(r'\x1b\[\d*m', '', text)
    return [len(line) for line in plain.splitlines()]


@test
def terminal(t):
    """Names are cut to the terminal, which alone gets colours; a pipe gets all"""
    name = 'a_function_with_' + 'quite_' * 30 + 'long_name'
    old, new = pair(t, lambda heap: heap.add(name + ' main', Values(900, 900000, 900, 900000),
                                               variance=(900, 9e8, 900, 9e8)))
    for columns in (76, 100, 500):
        text = on_terminal(t, ['top', new], columns)
        rows = [line for line in text.splitlines() if '% ' in line]
        t.check(rows and max(widths('\n'.join(rows))) <= columns, '%d columns: %r' % (columns, widths(text)))
        t.equal('\u2026' in text, columns < 300, 'an ellipsis at %d columns' % columns)
    text = on_terminal(t, ['diff', old, new], 100)
    t.check('\x1b[2m~' in text and '\x1b[1m' in text, 'no colours: %r' % text[:400])
    grey = re.findall(r'\x1b\[2m(.*?)\x1b\[0m', text)
    t.check(grey and not any('a_function' in line for line in grey), 'grey: %r' % grey[:3])
    for env in (dict(NO_COLOR='1'), dict(TERM='dumb')):
        text = on_terminal(t, ['diff', old, new], 100, **env)
        t.check('\x1b' not in text and '\u00b1' in text, '%r: %r' % (env, text[:200]))
    t.check(max(widths(on_terminal(t, ['top', new], 100, COLUMNS='70'))[3:]) <= 70, 'COLUMNS is not heeded')
    plain = t.run([COMMAND, 'diff', old, new], dict(LC_ALL='C.UTF-8', TERM='xterm')).text
    t.check('\x1b' not in plain and name in plain and '\u2026' not in plain, 'a pipe: %r' % plain[:400])


@test
def odd_names(t):
    """Nothing that a terminal would obey comes out, whatever the names are; JSON keeps them"""
    name = '\x1b]0;title\x07evil\u009b2J'
    heap = pprof_writer.Heap().add(name + ' \u4e2d\u6587\u51fd\u6570 main', Values(1, 1, 1, 1))
    path = heap.save(t.path('odd.pb.gz'))
    for text in (top(t, path).text, on_terminal(t, ['top', path], 80)):
        shown = re.sub(r'\x1b\[[012]m', '', text)
        t.check('evil' in shown and not re.search('[\x00-\x09\x0b-\x1f\x7f-\x9f]', shown), 'text: %r' % shown)
        t.check('\u4e2d\u6587\u51fd\u6570' in text, 'no Chinese: %r' % text)
    t.equal(report(t, 'top', path)['rows'][0]['function'], name, 'as JSON')


if __name__ == '__main__':
    main()
