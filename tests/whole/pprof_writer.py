"""pprof_writer.py: makes profiles for tests, as the library writes them, of stacks that are given by names.

    heap = Heap(time=10)                                   seconds after an hour that does not matter
    heap.add('leak main', Values(5, 500, 5, 500), variance=(1, 100, 1, 100), oldest=3)
    heap.save(path)

It shares no line with the encoder nor with the reader in the command. test_reader.py shows that pprof_reader.py is
content with it."""
import gzip
import struct

HEAP_TYPES = (('alloc_objects', 'count'), ('alloc_space', 'bytes'), ('inuse_objects', 'count'),
              ('inuse_space', 'bytes'))
CPU_TYPES = (('samples', 'count'), ('cpu', 'nanoseconds'))
START = 1700000000
DROP_FRAMES = 'malloc|calloc|realloc|operator new'


def varint(value):
    value &= (1 << 64) - 1
    result = b''
    while value > 0x7f:
        result += bytes([value & 0x7f | 0x80])
        value >>= 7
    return result + bytes([value])


def field(number, value):
    """An int, bytes, or a list of ints, which is packed."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, list):
        value = b''.join(varint(v) for v in value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(*fields):
    return b''.join(field(number, value) for number, value in fields)


class Heap:
    """A profile. Other `types` make it one of another kind; version 0 has none of heaptap's own fields."""

    def __init__(self, time=0, process=7, version=1, period=65536, types=HEAP_TYPES, program='/bin/server',
                 build='ab01'):
        self.time, self.process, self.version, self.period = time, process, version, period
        self.types, self.program, self.build = types, program, build
        self.strings, self.functions, self.locations = {'': 0}, {}, {}
        self.samples = []
        self.comments = ['heaptap 0.1.0'] if version else []

    def text(self, string):
        return self.strings.setdefault(string, len(self.strings))

    def location(self, name):
        """`name` or `name:LINE`; the place is the same for the same text."""
        function = name.split(':')[0]
        self.functions.setdefault(function, len(self.functions) + 1)
        return self.locations.setdefault(name, len(self.locations) + 1)

    def add(self, stack, values, variance=None, oldest=0, freed=None, **labels):
        """`stack`: names with spaces between them, leaf first. `oldest`: seconds. `freed`: name and frame of a
        profile of lifetimes. Labels are texts or numbers (of bytes)."""
        parts = [(1, [self.location(name) for name in stack.split()]), (2, [int(v) for v in values])]
        for key, value in labels.items():
            what = (3, value) if isinstance(value, int) else (2, self.text(value))
            unit = [(4, self.text('bytes'))] if isinstance(value, int) else []
            parts.append((3, message((1, self.text(key)), what, *unit)))
        if self.version and variance and any(variance):
            parts.append((1000, struct.pack('<%df' % len(variance), *variance)))
        if self.version and oldest:
            parts.append((1001, int(oldest * 1e9)))
        if self.version and freed:
            parts += [(1002, self.location(freed[0])), (1003, freed[1])]
        self.samples.append(message(*parts))
        return self

    def bytes(self):
        def value_type(kind, unit):
            return message((1, self.text(kind)), (2, self.text(unit)))
        parts = [(1, value_type(*pair)) for pair in self.types]
        parts += [(2, sample) for sample in self.samples]
        parts.append((3, message((1, 1), (2, 0x1000), (3, 0x100000), (5, self.text(self.program)),
                                 (6, self.text(self.build)), (7, 1))))
        for name, id in self.locations.items():
            function, _, line = name.partition(':')
            parts.append((4, message((1, id), (2, 1), (3, 0x1000 + id * 16),
                                     (4, message((1, self.functions[function]), (2, int(line or 0)))))))
        for name, id in self.functions.items():
            parts.append((5, message((1, id), (2, self.text(name)), (3, self.text(name)))))
        parts += [(7, self.text(DROP_FRAMES)), (9, int((START + self.time) * 1e9)),
                  (11, value_type('space', 'bytes')), (12, self.period),
                  (14, self.text(self.types[-1][0]))]
        parts += [(13, self.text(comment)) for comment in self.comments]
        if self.version:
            parts.append((1000, self.version))
        own = varint(1001 << 3 | 1) + struct.pack('<Q', self.process) if self.version and self.process else b''
        parts += [(6, string.encode()) for string in self.strings]
        return message(*parts) + own

    def save(self, path):
        with gzip.open(path, 'wb', compresslevel=1) as file:
            file.write(self.bytes())
        return path
