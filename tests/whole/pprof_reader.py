"""pprof_reader.py: reads a gzipped pprof profile and says what is wrong with it.

Written against the format's facts and sharing no line with the encoder it judges: the varints are decoded
here, by hand. load() reads, Profile.complaints() applies the rules that decide whether a profile "just works"
in go tool pprof, Pyroscope and Parca, and the rest answers questions of tests ("how much does this function
hold?").

    python3 pprof_reader.py FILE...      prints what is wrong, and a summary
"""
import collections
import gzip
import math
import re
import struct
import sys
import zlib

SAMPLE_TYPES = [('alloc_objects', 'count'), ('alloc_space', 'bytes'),
                ('inuse_objects', 'count'), ('inuse_space', 'bytes')]

# What a stack may never end in: the functions that heaptap takes the place of.
HOOKED = {'malloc', 'calloc', 'realloc', 'reallocarray', 'free', 'posix_memalign', 'aligned_alloc',
          'memalign', 'valloc', 'pvalloc', 'free_sized', 'free_aligned_sized', 'malloc_usable_size'}

# Functions of heaptap itself. ("ht_" alone is no proof: gcc has an ht_create, too.)
OWN_NAMES = re.compile('_?heaptap_|ht_(arena|arch|dump|elf|exit|fork|gzip|hot|jit|learn|lexicon|live|lock|mappings|message|next|os|'
                       'pprof|record|sampler|stacks|start|tables|trigger|unwind)_|(first|slow|next)__Z[nd]')

# Limits of the continuous profilers; they hold at the default interval, not at interval 1.
SAMPLES_MAX = 16000
BYTES_MAX = 4 << 20

Values = collections.namedtuple('Values', 'alloc_objects alloc_bytes inuse_objects inuse_bytes')
ZERO = Values(0, 0, 0, 0)


class Malformed(Exception):
    """The file is no profile at all."""


def add(a, b):
    return Values(*(x + y for x, y in zip(a, b)))


# --- protobuf ------------------------------------------------------------------------------------------

def varint(data, at):
    """The varint at `at` and the offset behind it."""
    result = shift = 0
    while True:
        if at >= len(data):
            raise Malformed('a varint runs over the end')
        byte = data[at]
        at += 1
        result |= (byte & 0x7f) << shift
        if byte < 0x80:
            if result >> 64:
                raise Malformed('a varint of more than 64 bits')
            return result, at
        shift += 7
        if shift > 63:
            raise Malformed('a varint of more than ten bytes')


def fields(data):
    """Each field of a message: its number, its wire type and its value (a number, or the bytes)."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            size, at = varint(data, at)
            if at + size > len(data):
                raise Malformed('field %d runs over the end' % number)
            value = data[at:at + size]
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if at + size > len(data):
                raise Malformed('field %d runs over the end' % number)
            value = int.from_bytes(data[at:at + size], 'little')
            at += size
        else:
            raise Malformed('field %d has wire type %d' % (number, wire))
        yield number, wire, value


def without_parameters(name):
    """As pprof cuts a name before it compares it with drop_frames."""
    name = name.lstrip('.') if name.startswith('.') else name
    for match in re.finditer(r'\(', name):
        if not re.match(r'\((anonymous namespace)?\)', name[match.start():]):
            return name[:match.start()]
    return name


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def numbers(wire, value):
    """A repeated number field, packed or not."""
    if wire == 0:
        return [value]
    if wire != 2:
        raise Malformed('numbers of wire type %d' % wire)
    result, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        result.append(number)
    return result


def number_of(wire, value):
    if wire != 0:
        raise Malformed('a number of wire type %d' % wire)
    return value


def floats(wire, value):
    """A repeated field of 32-bit floats, packed or not."""
    if wire == 5:
        value = value.to_bytes(4, 'little')
    elif wire != 2 or len(value) % 4 != 0:
        raise Malformed('floats of wire type %d' % wire)
    return list(struct.unpack('<%df' % (len(value) // 4), value))


def bytes_of(wire, value):
    """A string or a message."""
    if wire != 2:
        raise Malformed('a message of wire type %d' % wire)
    return value


def scalars(data, count):
    """The fields 1..count of a message that has only single numbers, 0 where one is missing."""
    result = [0] * (count + 1)
    for number, wire, value in fields(data):
        if number <= count:
            result[number] = number_of(wire, value)
    return result


# --- the profile ---------------------------------------------------------------------------------------

class Mapping:
    def __init__(self, data, strings):
        (_, self.id, self.start, self.limit, self.offset, filename, build_id, self.has_functions,
         self.has_filenames, self.has_line_numbers, self.has_inline_frames) = scalars(data, 10)
        self.filename, self.build_id = strings[filename], strings[build_id]


class Function:
    def __init__(self, data, strings):
        _, self.id, name, system_name, filename, self.start_line = scalars(data, 5)
        self.name, self.system_name = strings[name], strings[system_name]
        self.filename = strings[filename]


class Location:
    def __init__(self, data):
        _, self.id, self.mapping_id, self.address = scalars(data, 3)
        self.lines = []  # (function id, line), innermost first
        self.columns = []
        for number, wire, value in fields(data):
            if number == 4:
                line = scalars(bytes_of(wire, value), 3)
                self.lines.append((line[1], line[2]))
                self.columns.append(line[3])
        self.names = ()     # filled in by Profile
        self.mapping = None


class Sample:
    def __init__(self, data, strings):
        self.location_ids, values, self.labels = [], [], []
        self.raw_variance = []
        self.oldest_nanos = self.freed_location = self.freed_frame = 0
        for number, wire, value in fields(data):
            if number == 1:
                self.location_ids += numbers(wire, value)
            elif number == 2:
                values += [signed(v) for v in numbers(wire, value)]
            elif number == 3:
                _, key, text, num, unit = scalars(bytes_of(wire, value), 4)
                self.labels.append((strings[key], strings[text], signed(num), strings[unit]))
            elif number == 1000:
                self.raw_variance += floats(wire, value)
            elif number == 1001:
                self.oldest_nanos = signed(number_of(wire, value))
            elif number == 1002:
                self.freed_location = number_of(wire, value)
            elif number == 1003:
                self.freed_frame = number_of(wire, value)
        self.raw_values = values
        self.values = Values(*values) if len(values) == 4 else ZERO
        # Of the values, in their order: how far each is from the truth, squared, on average.
        self.variance = Values(*self.raw_variance) if len(self.raw_variance) == 4 else ZERO
        self.names = ()     # leaf first, filled in by Profile

    @property
    def block_bytes(self):
        return next((num for key, _, num, _ in self.labels if key == 'bytes'), None)


class Profile:
    def __init__(self, data):
        raw = collections.defaultdict(list)
        for number, wire, value in fields(data):
            raw[number].append((wire, value))
        self.size_bytes = len(data)
        self.strings = [bytes_of(*field).decode('utf-8') for field in raw[6]]
        if not self.strings:
            raise Malformed('no string table')
        try:
            self._take(raw)
        except IndexError:
            raise Malformed('a string index beyond the table') from None

    def _take(self, raw):
        self._shown = {}
        strings = self.strings

        def one(number):
            return number_of(*raw[number][-1]) if raw[number] else 0

        def messages(number):
            return [bytes_of(*field) for field in raw[number]]

        def value_type(data):
            _, kind, unit = scalars(data, 2)
            return strings[kind], strings[unit]

        self.twice = [n for n in (7, 8, 9, 10, 11, 12, 14, 1000, 1001) if len(raw[n]) > 1]
        self.sample_types = [value_type(v) for v in messages(1)]
        self.samples = [Sample(v, strings) for v in messages(2)]
        self.mappings = [Mapping(v, strings) for v in messages(3)]
        self.locations = [Location(v) for v in messages(4)]
        self.functions = [Function(v, strings) for v in messages(5)]
        self.drop_frames, self.keep_frames = strings[one(7)], strings[one(8)]
        self.time_nanos, self.duration_nanos = signed(one(9)), signed(one(10))
        self.period_type = value_type(messages(11)[-1]) if raw[11] else None
        self.period = signed(one(12))
        self.comments = [strings[n] for wire, v in raw[13] for n in numbers(wire, v)]
        self.default_type = strings[one(14)]
        self.version = one(1000)
        self.process = 0  # a fixed64, random
        for wire, value in raw[1001]:
            if wire != 1:
                raise Malformed('a process of wire type %d' % wire)
            self.process = value
        self._connect()

    def _connect(self):
        functions = {f.id: f for f in self.functions}
        mappings = {m.id: m for m in self.mappings}
        self.location_of = {l.id: l for l in self.locations}
        for location in self.locations:
            location.functions = [functions.get(id) for id, _ in location.lines]
            location.names = tuple(f.name if f else '' for f in location.functions)
            location.mapping = mappings.get(location.mapping_id)
        for sample in self.samples:
            sample.locations = [self.location_of.get(id) for id in sample.location_ids]
            sample.names = tuple(n for l in sample.locations if l for n in (l.names or ('',)))

    # --- questions -----------------------------------------------------------------------------------

    def comment(self, key):
        """What follows `key: ` in the comments, or None."""
        for comment in self.comments:
            if comment.startswith((key + ': ', '# ' + key + ': ')):
                return comment.split(': ', 1)[1]
        return None

    def total(self, keep=lambda sample: True):
        """The four columns, summed over the samples that `keep` says yes to."""
        result = ZERO
        for sample in self.samples:
            if keep(sample):
                result = add(result, sample.values)
        return result

    def variance(self, keep=lambda sample: True):
        """The estimated variance of total(): the rows are independent, so theirs add up."""
        result = ZERO
        for sample in self.samples:
            if keep(sample):
                result = add(result, sample.variance)
        return result

    def with_function(self, name):
        """The sum over all stacks that hold a function, each stack once."""
        return self.total(lambda sample: name in sample.names)

    def as_leaf(self, name):
        """The sum over the stacks that end in a function, as pprof shows them: after drop_frames."""
        return self.total(lambda sample: self.shown(sample)[:1] == (name,))

    def shown(self, sample):
        """The names of a stack without what drop_frames hides, leaf first: seen from the root, the first frame
        that matches goes, and all below it, unless nothing else would be left."""
        if sample.names not in self._shown:
            names = sample.names
            for i in range(len(names) - 2, -1, -1):
                if re.fullmatch(self.drop_frames, without_parameters(names[i])):
                    names = names[i + 1:]
                    break
            self._shown[sample.names] = names
        return self._shown[sample.names]

    def by_function(self):
        """name -> the sum over all stacks that hold it."""
        result = {}
        for sample in self.samples:
            for name in set(sample.names):
                result[name] = add(result.get(name, ZERO), sample.values)
        return result

    def variance_by_function(self):
        """name -> the estimated variance of by_function()."""
        result = {}
        for sample in self.samples:
            for name in set(sample.names):
                result[name] = add(result.get(name, ZERO), sample.variance)
        return result

    def names(self):
        return {f.name for f in self.functions}

    # --- the rules -----------------------------------------------------------------------------------

    def complaints(self, period=None, program=None, limits=False):
        """What is wrong, as a list of sentences. `period` and `program` are what the profile ought to say;
        `limits` applies the sizes that continuous profilers accept."""
        found = []
        found += self._wrong_head(period)
        found += self._wrong_mappings(program)
        found += self._wrong_names()
        found += self._wrong_locations()
        found += self._wrong_samples()
        if period == 1 and any(s.raw_variance for s in self.samples):
            found.append('every allocation was recorded, and a variance is there')
        if limits and len(self.samples) > SAMPLES_MAX:
            found.append('%d samples, more than scrapers take' % len(self.samples))
        if limits and self.size_bytes > BYTES_MAX:
            found.append('%d bytes, more than scrapers take' % self.size_bytes)
        return found

    def _wrong_head(self, period):
        found = ['field %d is there twice' % n for n in self.twice]
        if self.strings[0] != '':
            found.append('string 0 is not empty')
        if self.sample_types != SAMPLE_TYPES:
            found.append('sample types are %r' % (self.sample_types,))
        of_lives = any(label[0] == 'lifetime' for s in self.samples for label in s.labels)
        # A profile of lifetimes may have followed nothing.
        if self.default_type != ('alloc_space' if of_lives else 'inuse_space') and (
                self.samples or self.default_type != 'alloc_space'):
            found.append('default sample type is %r' % self.default_type)
        if self.period_type != ('space', 'bytes'):
            found.append('period type is %r' % (self.period_type,))
        if self.period <= 0 or (period is not None and self.period != period):
            found.append('period is %d' % self.period)
        if self.duration_nanos != 0:
            found.append('duration is %d, not 0: a snapshot has none' % self.duration_nanos)
        if self.time_nanos < 1600000000 * 10**9:
            found.append('time is %d' % self.time_nanos)
        if self.version != 1:
            found.append('heaptap_version is %d' % self.version)
        if self.process == 0:
            found.append('no process is named')
        if not self.comments or not self.comments[0].startswith('heaptap '):
            found.append('the first comment does not name heaptap: %r' % self.comments[:1])
        try:
            if not re.compile(self.drop_frames).fullmatch('malloc'):
                found.append('drop_frames does not drop malloc')
        except (re.error, OverflowError, RecursionError) as e:
            found.append('drop_frames: %s' % e)
        return found

    def _wrong_mappings(self, program):
        found = []
        if [m.id for m in self.mappings] != list(range(1, len(self.mappings) + 1)):
            found.append('mapping ids are not 1..N in order')
        seen = set()
        for m in self.mappings:
            where = 'mapping %d (%s)' % (m.id, m.filename)
            if m.start >= m.limit:
                found.append('%s: %#x to %#x' % (where, m.start, m.limit))
            if m.filename.endswith(' (deleted)'):
                found.append(where + ' is called deleted')
            if not re.fullmatch('([0-9a-f]{2})*', m.build_id):
                found.append('%s: build id %r' % (where, m.build_id))
            if (m.start, m.filename, m.build_id) in seen:
                found.append(where + ' is there twice')
            seen.add((m.start, m.filename, m.build_id))
            if m.has_filenames or m.has_line_numbers or m.has_inline_frames:
                if not any(f.filename for l in self.locations if l.mapping is m
                           for f in l.functions if f):
                    found.append(where + ' claims lines and has none')
        if not self.mappings:
            found.append('no mapping')
        elif program and self.mappings[0].filename.rsplit('/', 1)[-1] != program:
            found.append('mapping 1 is %s, not %s' % (self.mappings[0].filename, program))
        return found

    def _wrong_names(self):
        found = []
        if [f.id for f in self.functions] != list(range(1, len(self.functions) + 1)):
            found.append('function ids are not 1..N in order')
        # Two libraries may have functions of one name, and one library too (static functions), but not in one place.
        places = {}
        for l in self.locations:
            for id, _ in l.lines:
                places.setdefault(id, []).append((l.mapping_id, l.address))
        seen = {}
        for f in self.functions:
            if not f.name:
                found.append('function %d has no name' % f.id)
            key = (f.name, f.system_name, f.filename, f.start_line)
            place = places.get(f.id, [(0, 0)])
            for first, last in seen.get(key, []):
                if min(place) <= last and first <= max(place):
                    found.append('function %r is there twice' % (key,))
            seen.setdefault(key, []).append((min(place), max(place)))
            if OWN_NAMES.match(f.name):
                found.append('a function of heaptap is in a stack: %s' % f.name)
        return found

    def _wrong_locations(self):
        found = []
        if [l.id for l in self.locations] != list(range(1, len(self.locations) + 1)):
            found.append('location ids are not 1..N in order')
        seen = set()
        for l in self.locations:
            where = 'location %d (%#x %s)' % (l.id, l.address, '/'.join(l.names))
            if not l.lines or not all(l.functions) or not all(l.names):
                found.append(where + ' has no name')
            if l.mapping is None:
                # Only a frame that is no code may lack a mapping, and code that no file holds (JIT), which
                # keeps its name when its memory is given back.
                if l.mapping_id != 0:
                    found.append('%s: mapping %d does not exist' % (where, l.mapping_id))
                elif any(m.start <= l.address < m.limit for m in self.mappings):
                    found.append(where + ' has no mapping')
            elif not l.mapping.start <= l.address < l.mapping.limit:
                found.append('%s is outside mapping %d' % (where, l.mapping_id))
            elif not l.mapping.has_functions:
                found.append('%s: mapping %d does not say has_functions: pprof would overwrite the name'
                             % (where, l.mapping_id))
            elif re.search(r'libheaptap\.so', l.mapping.filename):
                found.append(where + ' is a frame of heaptap')
            key = (l.mapping_id, l.address, tuple(l.lines))
            if key in seen:
                found.append(where + ' is there twice')
            seen.add(key)
        return found

    def _wrong_samples(self):
        found = []
        seen = set()
        # What was exact at first and is sampled since may stand for more than its stack allocated.
        thinned = ' 1 to ' in (self.comment('interval') or '')
        for i, s in enumerate(self.samples):
            where = 'sample %d (%s)' % (i, ' < '.join(s.names[:3]))
            if len(s.raw_values) != 4:
                found.append('%s has %d values' % (where, len(s.raw_values)))
                continue
            if not s.location_ids:
                found.append(where + ' has no stack')
            if not all(s.locations):
                found.append(where + ' names a location that does not exist')
            key = (tuple(s.location_ids), tuple(sorted(s.labels)), s.freed_location, s.freed_frame)
            if key in seen:
                found.append(where + ' is there twice')
            seen.add(key)
            found += ['%s: %s' % (where, what) for what in wrong_values(s, thinned) + wrong_variance(s)]
            if s.oldest_nanos < 0 or (s.oldest_nanos > 0 and s.values.inuse_objects == 0):
                found.append('%s: oldest block %d ns, %d in use' % (where, s.oldest_nanos, s.values.inuse_objects))
            if s.freed_location and (s.freed_location not in self.location_of or s.freed_frame >= len(s.location_ids)):
                found.append('%s was freed from location %d instead of frame %d' % (
                    where, s.freed_location, s.freed_frame))
            # The loader has a malloc of its own, which is inlined: include/rtld-malloc.h.
            leaf = s.locations[0] if s.locations else None
            if leaf and leaf.names and leaf.names[-1] in HOOKED:
                found.append('%s ends in a hook' % where)
            if '[truncated]' in s.names[:-1]:
                found.append(where + ': [truncated] is not the root')
        return found


def wrong_values(sample, thinned=False):
    v, found = sample.values, []
    if min(v) < 0:
        found.append('negative: %r' % (v,))
    if v.alloc_objects <= 0 or v.alloc_bytes <= 0:
        found.append('nothing was allocated: %r' % (v,))
        return found
    if not thinned and (v.inuse_objects > v.alloc_objects or v.inuse_bytes > v.alloc_bytes):
        found.append('more in use than allocated: %r' % (v,))
    if (v.inuse_objects > 0) != (v.inuse_bytes > 0):
        found.append('objects without bytes, or bytes without objects: %r' % (v,))
    if [key for key, _, _, _ in sample.labels].count('bytes') != 1:
        found.append('labels: %r' % (sample.labels,))
        return found
    for key, text, num, unit in sample.labels:
        if not key or (text and num):
            found.append('label %r' % ((key, text, num, unit),))
        mean = v.alloc_bytes / v.alloc_objects
        # One row is one power-of-two bucket of block sizes.
        if key == 'bytes' and (unit != 'bytes' or not mean / 2.01 - 1 <= num <= mean * 2.01 + 1):
            found.append('label bytes is %d %s, the mean block is %.1f' % (num, unit, mean))
    return found


def wrong_variance(sample):
    variances = sample.raw_variance
    if not variances:
        return []
    if len(variances) != 4:
        return ['%d variances' % len(variances)]
    if not all(math.isfinite(v) and v >= 0 for v in variances):
        return ['variances %r' % variances]
    found = []
    if not any(variances):
        found.append('four variances of 0, which are left out')
    for value, variance, title in zip(sample.values, variances, Values._fields):
        if value == 0 and variance > 0:
            found.append('%s is 0 with a variance of %g' % (title, variance))
    return found


def parse(compressed):
    if compressed[:2] != b'\x1f\x8b':
        raise Malformed('not gzip')
    try:
        data = gzip.decompress(compressed)
    except (EOFError, OSError, zlib.error) as e:
        raise Malformed('gzip: %s' % e) from None
    try:
        return Profile(data)
    except UnicodeDecodeError as e:
        raise Malformed('a string is not UTF-8: %s' % e) from None


def load(path):
    with open(path, 'rb') as file:
        return parse(file.read())


def main():
    bad = 0
    for path in sys.argv[1:]:
        try:
            profile = load(path)
        except (Malformed, OSError) as e:
            print('%s: %s' % (path, e))
            bad += 1
            continue
        complaints = profile.complaints()
        for complaint in complaints:
            print('%s: %s' % (path, complaint))
        bad += len(complaints) > 0
        print('%s: %d samples, %d locations, %d functions, %d mappings, %r' % (
            path, len(profile.samples), len(profile.locations), len(profile.functions),
            len(profile.mappings), profile.total()))
        for comment in profile.comments:
            print('    ' + comment)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
