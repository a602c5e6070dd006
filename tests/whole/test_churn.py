#!/usr/bin/env python3
"""heaptap churn, on profiles of lifetimes that are put together here, number by number, and on a real one."""
import json

from harness import COMMAND, main, program, test
from pprof_writer import CPU_TYPES, Heap


def freed(heap, stack, objects, size, lifetime, where, by='same thread'):
    """Blocks that were freed; `where`: (place, frame) that the stack of the free has instead."""
    values = (objects, objects * size, 0, 0)
    heap.add(stack, values, (objects, objects * size ** 2, 0, 0), freed=where, bytes=size, lifetime=lifetime, freed_by=by)


def example(t):
    """A row for each candidate, and some that are none."""
    heap = Heap(period=65536)
    freed(heap, 'scratch:10 parse:20 serve:30 main:40', 5000, 64, '<10us', ('scratch:12', 0))
    for size, objects in ((100, 3000), (4000, 3000)):
        freed(heap, 'append:1 render:2 serve:31 main:40', objects, size, '<100us', ('render:9', 1))
    freed(heap, 'new_node:1 insert:2 serve:32 main:40', 4000, 200, '<1ms', ('reap:7', 2), 'other thread')
    freed(heap, 'read_all:1 load:2 main:41', 2000, 3000, '<10s', ('load:3', 1))
    heap.add('read_all:1 load:2 main:41', (500, 1500000) * 2, (1, 1, 1, 1), bytes=3000, lifetime='<100s')
    freed(heap, 'once:1 main:42', 3, 64, '<10us', ('once:2', 0))
    return heap.save(t.path('lives.pb.gz'))


def rows(t, path, *options):
    return json.loads(t.run([COMMAND, 'churn', '--json', *options, path]).text)['rows']


@test
def candidates(t):
    """Each row: what it is a candidate for, where it is freed, and how soon."""
    path = example(t)
    got = {row['stack'][0]: row for row in rows(t, path)}
    for name, candidate, below, median in (
            ('scratch', 'stack', 'scratch', '<10us'), ('append', 'reuse buffer', 'render', '<100us'),
            ('new_node', 'pool', 'main', '<1ms'), ('read_all', '', 'load', '<10s'), ('once', '?', 'once', '<10us')):
        row = got[name]
        t.equal((row['candidate'], row.get('freed_below'), row['median']), (candidate, below, median), name)
    t.equal(got['new_node']['other_thread_objects'], 4000, 'other thread')
    t.equal((got['read_all']['alloc_objects'], got['read_all']['freed_objects']), (2500, 2000), 'read_all')
    t.equal(got['read_all']['freed_within_objects'], 0, 'not within 1 ms')
    text = t.run([COMMAND, 'churn', path]).text
    t.note(text)
    for word in ('<1ms', 'reuse buffer', 'append', '100 % render', '20 %'):
        t.check(word in text, '%r is not in:\n%s' % (word, text))


@test
def order(t):
    """What is freed soon comes first, by bytes or objects; --within says what soon is, --by what a row is."""
    path = example(t)
    t.equal([row['stack'][0] for row in rows(t, path)][:3], ['append', 'new_node', 'scratch'], 'by bytes')
    t.equal([row['stack'][0] for row in rows(t, path, '--sort', 'objects')][:3], ['append', 'scratch', 'new_node'],
            'by objects')
    t.equal(rows(t, path, '--within', '10us', '--count', '1')[0]['stack'], ['scratch'], 'within 10us')
    t.equal(rows(t, path, '--within=10s', '--count=2')[1]['stack'], ['read_all'], 'within 10s')
    t.equal(len(rows(t, path, '--by', 'stack')[0]['stack']), 4, 'frames of a stack')
    t.check(rows(t, path, '--by', 'line')[0]['stack'][0].endswith(':1'), 'line')
    t.check('stack 1:\n    append' in t.run([COMMAND, 'churn', '--by=stack', path]).text, 'stack 1')


@test
def server(t):
    """A real profile, of the server of test_leaks.py: what lives for a request, what stays, and who frees it."""
    t.run_preloaded([program('leaky_server'), '60000', '1'], interval='16K', lifetimes=1, at_exit=0)
    path = t.files('*.lifetimes.pb.gz')[-1]
    got = {row['stack'][0]: row for row in rows(t, path)}
    for name, candidate, below in (('page_part', 'reuse buffer', 'page'), ('receive_upload', 'reuse buffer', 'upload'),
                                   ('parse_header', 'reuse buffer', 'handle'), ('upload', 'reuse buffer', 'upload'),
                                   ('load_table', '', None)):
        t.equal((got[name]['candidate'], got[name].get('freed_below')), (candidate, below), name)
    cache = got['cache_value']
    t.equal(cache['candidate'], '', 'candidate of cache_value')
    # Four workers share the cache: one in four values is evicted by the one that made it. Some 300 samples.
    share = cache['same_thread_objects'] / cache['freed_objects']
    t.check(0.1 < share < 0.4, '%.2f of the cache is evicted by the thread that filled it' % share)
    t.check(cache['freed_below'] == 'get', 'cache_value is freed below %s' % cache['freed_below'])
    t.note(t.run([COMMAND, 'churn', path]).text)


@test
def nothing(t):
    """A profile without samples is said to be one."""
    result = t.run([COMMAND, 'churn', Heap().save(t.path('empty'))])
    t.check('nothing was sampled in ' in result.text and len(result.text.splitlines()) == 1, result.text)


@test
def bad_input(t):
    """One clear line for what is no profile of lifetimes; wrong options have status 2."""
    def refused(arguments, words, status=1):
        result = t.run([COMMAND, 'churn', *arguments], status=status)
        t.equal(result.out, b'', 'output')
        if t.equal(len(result.err_lines), 1, 'lines: %r' % result.err_lines):
            for word in words:
                t.check(word in result.err_lines[0], '%r does not say %r' % (result.err_lines[0], word))

    good = example(t)
    heap = Heap().add('f main', (3, 30, 3, 30), bytes=10).save(t.path('heap'))
    refused([heap], ['heap is a heap profile', 'churn needs', 'HEAPTAP_LIFETIMES=1', 'snapshot --lifetimes'])
    refused([Heap(types=CPU_TYPES).add('f main', (3, 30)).save(t.path('cpu'))], ['cpu'])
    with open(good, 'rb') as file:
        data = file.read()
    for name, content in (('truncated', data[:len(data) // 2]), ('text', b'hello\n'), ('nil', b'')):
        with open(t.path(name), 'wb') as file:
            file.write(content)
        refused([t.path(name)], [name])
    refused([t.path('missing')], ['missing'])
    for arguments, words in (([], ['no profile is named']), ([good, heap], ['one profile at a time']),
                             (['--within', '3ms', good], ['3ms', '1ms']), (['--sort', 'age', good], ['age']),
                             (['--by', 'day', good], ['day']), (['--count', 'x', good], ['--count x']),
                             ([good, '--within'], ['--within']), (['--odd', good], ['--odd'])):
        refused(arguments, words + ['heaptap help churn'], 2)


if __name__ == '__main__':
    main()
