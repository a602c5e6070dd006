#!/usr/bin/env python3
"""heaptap leaks: a leak of 1 % in a server under load is found, and nothing else is; what it cannot judge it refuses.

The server asks for its profiles itself, at equal numbers of requests, so that the machine's speed does not matter.
Odds of a false alarm: a correct report names something on the server without a leak in less than 1 of 100 runs by its
own promise, which is for the worst that in-use memory can do; in 360 runs (64K, 16K, 4K) it named nothing. So a test
that hears an alarm runs twice more, and fails at the second one: less than 3 in 10,000."""
import json
import os

from harness import COMMAND, main, program, test
from pprof_writer import CPU_TYPES, Heap

SNAPSHOTS = 20
REQUESTS = 60000


def leaks(t, paths, *options, status=0):
    return t.run([COMMAND, 'leaks', *options, *paths], status=status)


def named(t, paths, *options):
    """What is named, as JSON has it."""
    return json.loads(leaks(t, paths, '--json', *options).text)['leaks']


def serve(t, interval, *arguments):
    """Profiles of a run of the server, and the line that it ends with."""
    t.new_output('server')
    result = t.run_preloaded([program('leaky_server'), str(REQUESTS), str(SNAPSHOTS), *arguments],
                             interval=interval, at_exit=0)
    paths = t.files()
    t.equal(len(paths), SNAPSHOTS + 1, 'profiles')
    allocated, leaked = (int(word) for word in result.text.split()[1::2])
    return paths, allocated, leaked


@test
def planted_leak(t):
    """A leak of 1 % of what a server allocates is named, by its function, and nothing else is."""
    for interval in ('64K', '16K'):
        paths, allocated, leaked = serve(t, interval, 'leak')
        t.check(0.009 < leaked / allocated < 0.011, '%d of %d bytes leaked' % (leaked, allocated))
        for by in ('stack', 'function'):
            rows = named(t, paths, '--by', by)
            if t.equal([row['stack'][0] for row in rows], ['parse_header'], 'named at %s by %s' % (interval, by)):
                growth, reach = rows[0]['growth_bytes'], (rows[0]['growth_high'] - rows[0]['growth_low']) / 2
                t.check(abs(growth - leaked) < 2.5 * reach,  # five standard errors
                        'leaked %d, said to be %d within %d' % (leaked, growth, reach))
                t.check(rows[0]['chance'] < 0.001, 'chance %g' % rows[0]['chance'])
                t.check(6000 < rows[0]['bytes_per_mib_allocated'] < 15000,
                        '%g bytes a MiB' % rows[0]['bytes_per_mib_allocated'])
        text = leaks(t, paths).text
        t.check('1 of ' in text and 'stacks grows:' in text and 'parse_header' in text, text)
        leaks(t, paths, '--exit-code', status=3)
        t.note(text)


@test
def no_leak(t):
    """The same server without a leak: one line, which says what would have been seen."""
    for interval in ('64K', '16K'):
        for attempt in range(3):
            paths, _, leaked = serve(t, interval)
            t.equal(leaked, 0, 'leaked')
            rows = named(t, paths)
            if not rows:
                break
            t.note('false alarm: %r' % rows)
        t.check(attempt < 2, 'two false alarms at %s' % interval)
        result = leaks(t, paths, '--exit-code', status=3 if rows else 0)
        t.check(rows or (len(result.text.splitlines()) == 1 and result.text.startswith('nothing grows: 21 profiles')
                         and 'would have been named' in result.text), result.text)
        t.note(result.text)


def heaps(t, count=12, grows=40, process=7, version=1, name='heap', still=300, **more):
    """Profiles of a program with a leak of `grows` samples of 64 KiB between two of them, as files."""
    paths = []
    for k in range(count):
        heap = Heap(time=60 * k, process=process, version=version, **more)
        for stack, samples, oldest in (('leak parse main', grows * k + k % 3, 60 * k), ('table main', still, 60 * k + 9),
                                       ('pool main', still + (37 * k) % 11 * 9, 1)):
            size = samples * 65536
            alloc = max(size, 100000000 * (k + 1) if stack.startswith('pool') else 0)
            values = (alloc // 64, alloc, size // 64, size)
            variance = tuple(v * 65536 * (64 if i % 2 else 1 / 64) for i, v in enumerate(
                (alloc // 64, alloc / 64, size // 64, size / 64)))
            heap.add(stack, values, variance, oldest=oldest if samples else 0, bytes=64)
        paths.append(heap.save(t.path('%s.%d.pb.gz' % (name, k))))
    return paths


@test
def order_and_columns(t):
    """Profiles in any order; growth, rates, age and the words of the table."""
    paths = heaps(t)
    rows = named(t, paths[::-1])
    t.equal([row['stack'] for row in rows], [['leak', 'parse', 'main']], 'named')
    row = rows[0]
    t.equal(row['growth_bytes'], (40 * 11 + 2) * 65536, 'growth')
    t.check(abs(row['bytes_per_minute'] - row['growth_bytes'] / 11) < 1, 'a minute: %r' % row)
    t.equal(row['oldest_seconds'], 660, 'oldest')
    t.equal(rows, named(t, paths[3:] + paths[:3]), 'another order')
    text = leaks(t, paths).text
    for word in ('12 profiles over 11 min', '1 of 3 stacks grows', '27.6 MiB', '2.5 MiB', '\n11 min  ', 'leak\n    parse\n    main'):
        t.check(word in text, '%r is not in:\n%s' % (word, text))


@test
def oldest_first(t):
    """The row with the oldest live block is the first, whatever grows most; --count shows so many."""
    paths = []
    for k in range(12):
        heap = Heap(time=10 * k, period=1)
        for name, grows, oldest in (('fast', 9000, 5), ('old', 500, 50), ('slow', 300, 20)):
            objects = grows * (k + 1)
            heap.add(name + ' main', (objects, objects * 64) * 2, oldest=oldest, bytes=64)
        paths.append(heap.save(t.path('heap.%d.pb.gz' % k)))
    t.equal([row['stack'][0] for row in named(t, paths)], ['old', 'slow', 'fast'], 'order')
    t.equal([row['stack'][0] for row in named(t, paths, '--count', '1')], ['old'], 'the first')
    t.check('... and 1 more' in leaks(t, paths, '--count=2').text, 'not said that there are more')


@test
def too_few(t):
    """In words: too few profiles, and too few samples."""
    result = leaks(t, heaps(t)[:3])
    t.check(result.text.startswith('too few profiles to tell') and len(result.text.splitlines()) == 1, result.text)
    paths = [Heap(time=k).add('f main', (10, 640, 10, 640), (9, 9e6, 9, 9e6), bytes=64).save(t.path('few.%d' % k))
             for k in range(12)]
    result = leaks(t, paths)
    t.check(result.text.startswith('too few samples to tell') and len(result.text.splitlines()) == 1, result.text)


@test
def foreign(t):
    """Profiles without heaptap's fields: the error is estimated from the period, the process from what was allocated."""
    rows = named(t, heaps(t, version=0))
    t.equal([row['stack'][0] for row in rows], ['leak'], 'named')
    t.check(rows[0]['samples'] < 460, 'more samples than there were: %r' % rows[0])


def refused(t, paths, words, status=1, command='leaks'):
    result = t.run([COMMAND, command, *paths], status=status)
    t.equal(result.out, b'', 'output')
    if t.equal(len(result.err_lines), 1, 'lines: %r' % result.err_lines):
        for word in words:
            t.check(word in result.err_lines[0], '%r does not say %r' % (result.err_lines[0], word))


@test
def bad_input(t):
    """One clear line for what is no sequence of heap profiles of one process."""
    good = heaps(t)
    paths = {'truncated': good[0][:-6] + '-truncated', 'text': t.path('text'), 'empty': t.path('empty')}
    with open(good[3], 'rb') as file:
        data = file.read()
    for name, content in (('truncated', data[:len(data) // 2]), ('text', b'hello\n' * 100), ('empty', b'')):
        with open(paths[name], 'wb') as file:
            file.write(content)
    cpu = Heap(time=9, types=CPU_TYPES).add('work main', (3, 30000000)).save(t.path('cpu'))
    lifetimes = Heap(time=9).add('f main', (3, 30, 0, 0), lifetime='<1ms', freed_by='same thread').save(t.path('lives'))
    timeless = Heap(time=-1700000000).add('f main', (3, 30, 3, 30)).save(t.path('timeless'))
    for path in [cpu, lifetimes, timeless, *paths.values(), t.path('missing'), t.directory]:
        refused(t, good[:5] + [path], [os.path.basename(path)])
    refused(t, good[:5] + [lifetimes], ['lives', 'lifetimes', 'heap'])
    others = heaps(t, process=8, name='other')
    refused(t, good[:3] + others[5:7], ['heap.2', 'other.5', 'different processes'])
    refused(t, good[:5] + heaps(t, version=0, name='foreign')[6:], ['different processes'])
    # No process is known, and the counters of what was allocated start again.
    restarted = heaps(t, count=4, version=0, name='first') + [
        Heap(time=900, version=0).add('leak parse main', (5, 320, 5, 320)).save(t.path('second'))]
    refused(t, restarted, ['second', 'less was allocated', 'different processes'])


@test
def same_moment(t):
    """Two files of one moment are one, with a word; then three have to be left."""
    paths = heaps(t)
    result = leaks(t, paths + paths[4:6])
    t.equal(len(result.err_lines), 2, 'lines: %r' % result.err_lines)
    t.check(all('same moment' in line for line in result.err_lines), result.err_lines)
    t.check('12 profiles' in result.text, result.text)
    result = leaks(t, paths[:2] + paths[1:2], status=1)
    t.check('3 profiles or more' in result.err_lines[-1] and '2 moments' in result.err_lines[-1], result.err_lines)


@test
def command_line(t):
    """Wrong options and too few files: one line, status 2; --help is no error."""
    paths = heaps(t, count=3)
    for arguments, words in ((paths[:2], ['3 profiles']), ([], ['3 profiles']), (paths + ['--by', 'day'], ['day']),
                             (paths + ['--by'], ['--by']), (paths + ['--count', '0'], ['--count 0']),
                             (paths + ['--frobnicate'], ['--frobnicate'])):
        refused(t, arguments, words + ['heaptap help leaks'], status=2)
    t.check('--exit-code' in t.run([COMMAND, 'leaks', '--help']).text, 'help')


if __name__ == '__main__':
    main()
