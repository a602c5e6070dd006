#!/usr/bin/env python3
"""The reader itself: a good profile pleases it, and a profile that breaks a rule does not.

The profiles are put together here, byte by byte, so that each rule is seen to fail without a library that
breaks it. Then real profiles are damaged at random: TEST_SEED=7 repeats a run, TEST_ROUNDS=100000 makes it longer."""
import gzip
import os
import random
import struct
import time

import pprof_reader
from harness import main, program, test

SEED = int(os.environ.get('TEST_SEED') or random.SystemRandom().randrange(1 << 32))
ROUNDS = int(os.environ.get('TEST_ROUNDS', '2000'))
SECONDS_MAX = 10  # for one profile, of a few kilobytes


def varint(value):
    value &= (1 << 64) - 1
    result = b''
    while value > 0x7f:
        result += bytes([value & 0x7f | 0x80])
        value >>= 7
    return result + bytes([value])


def message(*pairs):
    """(number, int or bytes) pairs; a list is packed, as varints or, if of floats, as these."""
    result = b''
    for number, value in pairs:
        if isinstance(value, int):
            result += varint(number << 3) + varint(value)
        else:
            if isinstance(value, list):
                value = b''.join(struct.pack('<f', v) if isinstance(v, float) else varint(v) for v in value)
            result += varint(number << 3 | 2) + varint(len(value)) + value
    return result


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack('<Q', value)


class Builder:
    """A good profile, of which a test changes one thing."""

    def __init__(self):
        self.strings = ['', 'alloc_objects', 'count', 'alloc_space', 'bytes', 'inuse_objects', 'inuse_space',
                        'space', 'main', '/bin/prog', 'ab01', 'heaptap 0.1.0', 'malloc', 'deep', '_Z4deepv',
                        '[truncated]']
        self.types = [('alloc_objects', 'count'), ('alloc_space', 'bytes'), ('inuse_objects', 'count'),
                      ('inuse_space', 'bytes')]
        self.functions = [(1, 'main', 'main'), (2, 'deep', '_Z4deepv'), (3, '[truncated]', '[truncated]')]
        self.mappings = [dict(id=1, start=0x1000, limit=0x2000, file='/bin/prog', build='ab01', has=1)]
        self.locations = [(1, 1, 0x1100, 1), (2, 1, 0x1200, 2), (3, 0, 1, 3)]
        self.samples = [([2, 1], [2, 64, 1, 32], [('bytes', 32, 'bytes')]),
                        ([2, 3], [1, 48, 0, 0], [('bytes', 48, 'bytes')])]
        self.head = {7: 'malloc', 9: 1700000000 * 10**9, 12: 512, 14: 'inuse_space'}
        self.period_type = ('space', 'bytes')
        self.comments = ['heaptap 0.1.0', 'samples taken: 3']
        self.fields = [[(1000, [2.5, 2560.0, 1.25, 1280.0]), (1001, 10**9)], [(1002, 1), (1003, 1)]]  # of the samples
        self.version = [(1000, 1)]
        self.extra = [fixed64(1001, 0x0123456789abcdef)]

    def text(self, string):
        if string not in self.strings:
            self.strings.append(string)
        return self.strings.index(string)

    def bytes(self):
        def value_type(pair):
            return message((1, self.text(pair[0])), (2, self.text(pair[1])))
        parts = [(1, value_type(pair)) for pair in self.types]
        for i, (locations, values, labels) in enumerate(self.samples):
            parts.append((2, message((1, locations), (2, values), *(
                (3, message((1, self.text(k)), (3, n), (4, self.text(u)))) for k, n, u in labels),
                *(self.fields[i] if i < len(self.fields) else []))))
        for m in self.mappings:
            parts.append((3, message((1, m['id']), (2, m['start']), (3, m['limit']), (5, self.text(m['file'])),
                                     (6, self.text(m['build'])), (7, m['has']))))
        for id, mapping, address, function in self.locations:
            line = [(4, message((1, function)))] if function else []
            parts.append((4, message((1, id), (2, mapping), (3, address), *line)))
        for id, name, system_name in self.functions:
            parts.append((5, message((1, id), (2, self.text(name)), (3, self.text(system_name)))))
        for number, value in self.head.items():
            parts.append((number, self.text(value) if isinstance(value, str) else value))
        parts.append((11, value_type(self.period_type)))
        parts += [(13, self.text(comment)) for comment in self.comments]
        parts += [(6, s if isinstance(s, bytes) else s.encode()) for s in self.strings]
        parts += self.version + [field for field in self.extra if isinstance(field, tuple)]
        return message(*parts) + b''.join(field for field in self.extra if isinstance(field, bytes))


def complaints_after(change, **expected):
    builder = Builder()
    change(builder)
    try:
        return pprof_reader.parse(gzip.compress(builder.bytes())).complaints(**expected)
    except pprof_reader.Malformed as e:
        return [str(e)]


BROKEN = {
    'a fifth sample type': lambda b: b.types.append(('peak_space', 'bytes')),
    'types in another order': lambda b: b.types.reverse(),
    'default type': lambda b: b.head.update({14: 'alloc_space'}),
    'period type': lambda b: setattr(b, 'period_type', ('bytes', 'bytes')),
    'period 0': lambda b: b.head.update({12: 0}),
    'another period': lambda b: b.head.update({12: 513}),
    'a duration': lambda b: b.head.update({10: 5}),
    'no time': lambda b: b.head.pop(9),
    'no drop_frames': lambda b: b.head.pop(7),
    'no comment': lambda b: b.comments.clear(),
    'mapping ids from 0': lambda b: b.mappings[0].update(id=2),
    'an empty mapping': lambda b: b.mappings[0].update(limit=0x1000),
    'a deleted file': lambda b: b.mappings[0].update(file='/bin/prog (deleted)'),
    'a build id in upper case': lambda b: b.mappings[0].update(build='AB01'),
    'no mapping': lambda b: b.mappings.clear(),
    'another main program': lambda b: b.mappings[0].update(file='/bin/other'),
    'no has_functions': lambda b: b.mappings[0].update(has=0),
    'the mapping twice': lambda b: b.mappings.append(dict(b.mappings[0], id=2)),
    'a location without a line': lambda b: b.locations.__setitem__(0, (1, 1, 0x1100, 0)),
    'a line without a function': lambda b: b.locations.__setitem__(0, (1, 1, 0x1100, 9)),
    'an address outside': lambda b: b.locations.__setitem__(0, (1, 1, 0x2000, 1)),
    'code without a mapping': lambda b: b.locations.__setitem__(0, (1, 0, 0x1100, 1)),
    'a mapping that is not there': lambda b: b.locations.__setitem__(0, (1, 7, 0x1100, 1)),
    'location ids out of order': lambda b: b.locations.reverse(),
    'a location twice': lambda b: b.locations.append((4, 1, 0x1200, 2)),
    'function ids out of order': lambda b: b.functions.reverse(),
    'a function twice': lambda b: b.functions.append((4, 'main', 'main')) or b.locations.extend(
        [(4, 1, 0x1050, 4), (5, 1, 0x1150, 4)]),
    'a nameless function': lambda b: b.functions.__setitem__(0, (1, '', 'main')),
    'a frame of heaptap': lambda b: b.functions.__setitem__(1, (2, 'ht_record_malloc', 'x')),
    'a hook as leaf': lambda b: b.functions.__setitem__(1, (2, 'calloc', 'calloc')),
    'heaptap as mapping': lambda b: b.mappings[0].update(file='/lib/libheaptap.so'),
    'a string that is not UTF-8': lambda b: b.strings.append(b'\xff\xfe'),
    'string 0': lambda b: b.strings.__setitem__(0, 'x'),
    'a string index too large': lambda b: b.head.update({14: 99}),
    'a field twice': lambda b: b.extra.append((12, 512)),
    'three values': lambda b: b.samples[0][1].pop(),
    'no stack': lambda b: b.samples[0][0].clear(),
    'a stack of nowhere': lambda b: b.samples[0][0].append(9),
    'more in use than allocated': lambda b: b.samples[0][1].__setitem__(3, 65),
    'objects without bytes': lambda b: b.samples[0][1].__setitem__(3, 0),
    'nothing allocated': lambda b: b.samples[1][1].__setitem__(slice(0, 2), [0, 0]),
    'a negative value': lambda b: b.samples[0][1].__setitem__(2, -1),
    'no label': lambda b: b.samples[0][2].clear(),
    'a label without a unit': lambda b: b.samples[0][2].__setitem__(0, ('bytes', 32, '')),
    'a label of another size': lambda b: b.samples[0][2].__setitem__(0, ('bytes', 96, 'bytes')),
    'a row twice': lambda b: b.samples.append(b.samples[0]),
    'three variances': lambda b: b.fields[0][0][1].pop(),
    'a negative variance': lambda b: b.fields[0][0][1].__setitem__(1, -1.0),
    'a variance that is no number': lambda b: b.fields[0][0][1].__setitem__(2, float('nan')),
    'an endless variance': lambda b: b.fields[0][0][1].__setitem__(2, float('inf')),
    'variances of 0': lambda b: b.fields[0][0][1].__setitem__(slice(0, 4), [0.0] * 4),
    'a variance of nothing': lambda b: b.fields[1].append((1000, [1.0, 48.0, 1.0, 0.0])),
    'a variance of part of a float': lambda b: b.fields[1].append((1000, b'12345')),
    'an age of nothing': lambda b: b.fields[1].append((1001, 5)),
    'freed from nowhere': lambda b: b.fields[1].__setitem__(0, (1002, 9)),
    'freed beyond the root': lambda b: b.fields[1].__setitem__(1, (1003, 2)),
    'no version': lambda b: b.version.clear(),
    'another version': lambda b: b.version.__setitem__(0, (1000, 2)),
    'no process': lambda b: b.extra.clear(),
    'a process that is no fixed64': lambda b: b.extra.__setitem__(0, (1001, 5)),
    '[truncated] in the middle': lambda b: b.samples[1][0].append(1),
}


@test
def good_profile(t):
    """A good profile has no complaint."""
    t.equal(complaints_after(lambda b: None, period=512, program='prog', limits=True), [], 'complaints')


@test
def each_rule(t):
    """Each broken rule is found."""
    for what, change in BROKEN.items():
        t.check(complaints_after(change, period=512, program='prog'), 'not found: ' + what)
    found = complaints_after(lambda b: b.head.update({12: 1}), period=1, program='prog')
    t.check(len(found) == 1 and 'every allocation' in found[0], 'a variance at interval 1: %r' % found)


@test
def questions(t):
    """Sums over functions and leaves."""
    profile = pprof_reader.parse(gzip.compress(Builder().bytes()))
    t.equal(tuple(profile.with_function('deep')), (3, 112, 1, 32), 'deep')
    t.equal(tuple(profile.with_function('main')), (2, 64, 1, 32), 'main')
    t.equal(tuple(profile.as_leaf('main')), (0, 0, 0, 0), 'main as leaf')
    t.equal(profile.by_function()['[truncated]'].alloc_bytes, 48, '[truncated]')
    t.equal(profile.comment('samples taken'), '3', 'comment')
    t.equal(tuple(profile.variance()), (2.5, 2560.0, 1.25, 1280.0), 'variance')
    t.equal(tuple(profile.variance_by_function()['deep']), (2.5, 2560.0, 1.25, 1280.0), 'variance of deep')
    t.equal((profile.version, profile.process), (1, 0x0123456789abcdef), 'version and process')
    t.equal([(s.oldest_nanos, s.freed_location, s.freed_frame) for s in profile.samples],
            [(10**9, 0, 0), (0, 1, 1)], 'ages and frees')


@test
def drop_frames(t):
    """What drop_frames hides, as pprof does it."""
    def shown(expression, name):
        builder = Builder()
        builder.head[7] = expression
        builder.functions[1] = (2, name, '_Z4deepv')
        profile = pprof_reader.parse(gzip.compress(builder.bytes()))
        return [profile.shown(sample) for sample in profile.samples]
    t.equal(shown('malloc', 'deep'), [('deep', 'main'), ('deep', '[truncated]')], 'nothing')
    t.equal(shown('malloc|deep', 'deep'), [('main',), ('[truncated]',)], 'a name')
    t.equal(shown('malloc|dee', 'deep'), [('deep', 'main'), ('deep', '[truncated]')], 'a part of a name')
    t.equal(shown('malloc|operator new(\\[\\])?', 'operator new[](unsigned long)')[0], ('main',), 'parameters')
    t.equal(shown('malloc|x::operator\\(\\)', 'x::operator()(int)')[0], ('main',), 'operator()')
    t.equal(shown('malloc|main', 'deep')[0], ('deep', 'main'), 'a root that matches stays')


@test
def damaged_files(t):
    """A cut, empty or foreign file is refused."""
    whole = gzip.compress(Builder().bytes())
    for what, data in (('empty', b''), ('cut gzip', whole[:-12]), ('text', b'heap profile: 1: 2 [3: 4] @ heap_v2/5'),
                       ('cut message', gzip.compress(Builder().bytes()[:-3])), ('nothing', gzip.compress(b''))):
        try:
            pprof_reader.parse(data)
            t.complain('not refused: ' + what)
        except pprof_reader.Malformed:
            pass


def damaged(rng, data):
    """The same bytes, with up to four things wrong."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 8, 100)), len(data) - at)
        other = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0:
            data[at:at + length] = rng.randbytes(length)
        elif how == 1:
            del data[at:at + length]
        elif how == 2:
            data[at:at] = data[other:other + length]
        elif how == 3 and length:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 4:
            data[at:at] = rng.choice((b'\xff' * 9 + b'\x01', b'\x80' * 12, b'\0', b'\x7f', b'((((', b'\xc3\x28'))
        elif rng.random() < 0.1:
            del data[at:]
    return bytes(data)


def check_damaged(t, compressed, what):
    """Whatever it holds: it is refused as Malformed, or judged."""
    begin = time.monotonic()
    verdict = 'refused'
    try:
        profile = pprof_reader.parse(compressed)
        verdict = 'judged' if profile.complaints(period=512, program='prog', limits=True) else 'good'
        profile.by_function(), profile.total(), profile.names(), profile.comment('samples taken')
    except pprof_reader.Malformed:
        pass
    except Exception as e:
        t.complain('%s: %s: %s' % (what, type(e).__name__, e))
    t.check(time.monotonic() - begin < SECONDS_MAX, what + ' takes for ever')
    return verdict


@test
def random_damage(t):
    """Real profiles and ours with random damage are refused or judged: no other exception, no end of time."""
    t.run_preloaded([program('sites'), '100000', 'keep'])
    with open(t.files()[0], 'rb') as file:
        real = gzip.decompress(file.read())
    verdicts = {}
    for i in range(ROUNDS):
        rng = random.Random(SEED + i)
        whole = real if rng.random() < 0.25 else Builder().bytes()
        if rng.random() < 0.1:
            data = damaged(rng, gzip.compress(whole, 1))
        else:
            data = gzip.compress(damaged(rng, whole), 1)
        verdict = check_damaged(t, data, 'TEST_SEED=%d' % (SEED + i))
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
    t.note('seed %d: %s' % (SEED, ', '.join('%d %s' % (n, v) for v, n in sorted(verdicts.items()))))
    t.check(ROUNDS < 100 or len(verdicts) > 1, 'nothing but %r' % verdicts)


if __name__ == '__main__':
    main()
