"""symbols.py: programs whose stacks are known, and what heaptap symbolize has to make of their profiles.

The sources in tests/programs/symbols say it in comments (c.c tells how). Program() builds one of them in a
directory of the test's; check_stacks() compares. compare() shows that a profile with lines has lost nothing."""
import collections
import gzip
import os
import re
import shutil
import struct

import pprof_reader
import pprof_writer
from harness import COMMAND, ROOT, Failed, find_program

SOURCES = os.path.join(ROOT, 'tests', 'programs', 'symbols')

# language -> its source, and what compiles it by default: a frame for each call.
LANGUAGES = {
    'c': ('c.c', ['gcc', '-O2', '-g', '-fno-ipa-icf', '-fno-optimize-sibling-calls', '-Wl,--build-id']),
    'c clang': ('c.c', ['clang', '-O2', '-g', '-fno-optimize-sibling-calls', '-Wl,--build-id']),
    'c++': ('cxx.cc', ['g++', '-O2', '-g', '-fno-ipa-icf', '-std=c++17', '-fno-optimize-sibling-calls',
                       '-Wl,--build-id']),
    'c++ clang': ('cxx.cc', ['clang++', '-O2', '-g', '-std=c++17', '-fno-optimize-sibling-calls', '-Wl,--build-id']),
    'fortran': ('fortran.f90', ['gfortran', '-O2', '-g', '-fno-inline', '-fno-optimize-sibling-calls', '-Wl,--build-id']),
    'rust': ('rust.rs', ['rustc', '--crate-name', 'rust', '-O', '-g', '-C', 'link-arg=-Wl,--build-id']),
}
GCC = ('c', 'c++', 'fortran')
CLANG = ('c clang', 'c++ clang')

MARK = re.compile(r'@(\d+)\.(\d+) (.+?)(?: = (\w+))?( inlined)?( gcc| clang)?(?: \*/)?$')

Frame = collections.namedtuple('Frame', 'name system_name file line inlined')
Shown = collections.namedtuple('Shown', 'name system_name file line')


def plain(name):
    """Without what compilers write differently: numbers of lambdas and closures, arguments of generics."""
    name = re.sub(r'#\d+\}|\}\}', '}', name).replace('{{', '{')
    name = re.sub(r'(^|::)\$_\d+', r'\1{lambda()}', name)
    while re.search(r'(?<=[\w:])<[^<>]*>', name):
        name = re.sub(r'(::)?(?<=[\w:])<[^<>]*>', '', name)
    return re.sub(r'^<([\w:]+)>::', r'\1::', name)


def marks(path, compiler):
    """(size, depth) -> Frame, by the comments of a source and by its #line, which name files as the source does."""
    found, file, line = {}, os.path.basename(path), 0
    with open(path) as source:
        for text in source:
            line += 1
            elsewhere = re.match(r'#line (\d+) "(.*)"', text)
            if elsewhere:
                line, file = int(elsewhere.group(1)) - 1, elsewhere.group(2)
            mark = MARK.search(text.rstrip())
            if mark and mark.group(6) in (None, ' ' + compiler):
                found[int(mark.group(1)), int(mark.group(2))] = Frame(
                    mark.group(3), mark.group(4), file, line, bool(mark.group(5)))
    return found


class Program:
    """One of the sources, built in `directory` of the test's with more arguments."""

    def __init__(self, t, language, *arguments, without=(), directory='src', output=None):
        self.t, self.language = t, language
        source, command = LANGUAGES[language]
        self.compiler = 'clang' if 'clang' in language else 'gcc'
        found = find_program(command[0])
        t.need(found, 'no %s on this machine' % command[0])
        self.directory = t.path(directory)
        if not os.path.isdir(self.directory):
            shutil.copytree(SOURCES, self.directory)
        self.path = os.path.join(self.directory, output or language.replace(' ', '-').replace('+', 'x'))
        self.command = [found] + [c for c in command[1:] if c not in without]
        # By a relative name, so that the path has to be put together.
        t.run(self.command + list(arguments) + [source, '-o', os.path.basename(self.path)], cwd=self.directory,
              env=dict(PATH=os.environ['PATH']), timeout=120)
        self.frames = marks(os.path.join(SOURCES, source), self.compiler)
        if source != 'fortran.f90' and source != 'rust.rs':
            self.frames.update(marks(os.path.join(SOURCES, 'symbols.h'), self.compiler))
        self.stacks = collections.defaultdict(list)
        for (size, _), frame in sorted(self.frames.items()):
            self.stacks[size].append(frame)
        if (1021, 1) not in self.frames:
            self.stacks.pop(1021, None)

    def profile(self, linked=False, **values):
        """Runs it; the path of its profile, as it is without lines."""
        self.t.new_output(os.path.basename(self.path))
        env = self.t.linked(**values) if linked else self.t.preload(**values)
        self.t.run([self.path], env, cwd=self.directory)
        return self.t.files()[0]


def symbolize(t, *arguments, **how):
    return t.run([COMMAND, 'symbolize'] + [str(a) for a in arguments], **how)


# --- stacks ----------------------------------------------------------------------------------------------

def lines_of(profile, location):
    functions = {f.id: f for f in profile.functions}
    return [Shown(functions[id].name, functions[id].system_name, functions[id].filename, line)
            for id, line in location.lines]


def stack_of(profile, size):
    """The one stack that allocated one block of this size: for each location its lines."""
    found = [s for s in profile.samples if (s.values.alloc_objects, s.values.alloc_bytes) == (1, size)]
    return [lines_of(profile, l) for l in found[0].locations] if len(found) == 1 else None


def without_suffix(name):
    return re.sub(r'\.(constprop|isra|part|cold|lto_priv|llvm)\b.*', '', name)


def check_frame(t, where, got, wanted, directory):
    t.check(plain(got.name) == plain(wanted.name), '%s: is called %s, not %s' % (where, got.name, wanted.name))
    t.check(not re.search(r'\.(constprop|isra|part|cold|lto_priv|llvm)\b', got.name),
            '%s: has a suffix: %s' % (where, got.name))
    if wanted.system_name:
        t.equal(without_suffix(got.system_name), wanted.system_name, where + ' system_name')
    t.check(got.file.startswith('/'), '%s: is in %s' % (where, got.file))
    t.equal((os.path.normpath(got.file), got.line), (os.path.join(directory, wanted.file), wanted.line), where)


def check_stack(t, where, got, wanted, directory):
    """`wanted`, which may have callees of a library inlined into it, from the leaf on."""
    flat = [(i, frame) for i, lines in enumerate(got) for frame in lines]
    first = next((n for n, (_, frame) in enumerate(flat) if plain(frame.name) == plain(wanted[0].name)), None)
    if first is None or len(flat) < first + len(wanted):
        t.complain('%s: no %s: %r' % (where, wanted[0].name, got))
        return
    for n, frame in enumerate(wanted):
        place, shown = flat[first + n]
        check_frame(t, '%s.%d' % (where, n), shown, frame, directory)
        is_inlined = first + n + 1 < len(flat) and flat[first + n + 1][0] == place
        t.equal(is_inlined, frame.inlined, '%s.%d %s is inlined' % (where, n, frame.name))
    for _, frame in flat[:first]:
        t.check(frame.file.startswith('/') and frame.line > 0 or frame.name == 'operator new',
                '%s: no line of %r' % (where, frame))


def check_stacks(t, program, path, directory=None):
    """Each stack that the source tells of: functions, absolute files, lines, and what is inlined where."""
    profile = t.load(path)
    for size, wanted in program.stacks.items():
        where = '%s %d' % (program.language, size)
        got = stack_of(profile, size)
        if t.check(got, where + ': not one stack'):
            check_stack(t, where, got, wanted, directory or program.directory)
    main = profile.mappings[0]
    t.equal((main.has_functions, main.has_filenames, main.has_line_numbers, main.has_inline_frames), (1, 1, 1, 1),
            program.language + ' flags of the program')
    return profile


def check_names(t, program, path):
    """Without debug information: the function of each frame that is not inlined, and no line."""
    profile = t.load(path)
    for size, wanted in program.stacks.items():
        got = stack_of(profile, size)
        names = [lines[0].name for lines in got or []]
        for frame in wanted:
            if not frame.inlined:
                t.check(any(plain(frame.name).split('::')[-1] in plain(n) for n in names),
                        '%s %d: no %s in %r' % (program.language, size, frame.name, names))
    return profile


# --- nothing is lost -------------------------------------------------------------------------------------

def message_fields(data):
    return list(pprof_reader.fields(data))


def contents(path):
    """Of a profile, as it is encoded: field number -> what was there, in order."""
    with gzip.open(path) if is_packed(path) else open(path, 'rb') as file:
        data = file.read()
    found = collections.defaultdict(list)
    for number, wire, value in pprof_reader.fields(data):
        found[number].append((wire, value))
    return found


def location_key(data):
    """All of a location but its lines, in the order of fields, as which zeros may be left out."""
    return sorted(((n, w, v) for n, w, v in message_fields(data) if n != 4 and v != 0), key=lambda field: field[0])


def mapping_key(data):
    """All of a mapping but the four flags, and the flags."""
    fields = message_fields(data)
    kept = sorted((f for f in fields if f[0] not in (7, 8, 9, 10) and f[2] != 0), key=lambda field: field[0])
    return kept, {n: v for n, _, v in fields if n in (7, 8, 9, 10) and v}


def compare_lines(t, before, after, what):
    """Where no file was found, the lines are those of before; and no name went away."""
    with gzip.open(before) if is_packed(before) else open(before, 'rb') as file:
        old = pprof_reader.Profile(file.read())
    with gzip.open(after) if is_packed(after) else open(after, 'rb') as file:
        new = pprof_reader.Profile(file.read())
    for a, b in zip(old.locations, new.locations):
        was, now = lines_of(old, a), lines_of(new, b)
        if was and not any(line.file for line in now):
            t.check(was == now or was[0].name.startswith('['), '%s%r became %r' % (what, was, now))
        t.check(len(now) >= len(was), '%s%r became %r' % (what, was, now))


def is_packed(path):
    with open(path, 'rb') as file:
        return file.read(2) == b'\x1f\x8b'


def compare(t, before, after, what=''):
    """The profile `after` has all that was in `before`: samples, labels, fields of heaptap's own and of nobody's as
    they were, and locations, mappings and functions with no less than before."""
    old, new = contents(before), contents(after)
    for number in set(old) | set(new):
        if number not in (3, 4, 5, 6):
            t.check(old[number] == new[number], '%sfield %d: %d of %d are other ones' % (
                what, number, sum(a != b for a, b in zip(old[number], new[number])), len(old[number])))
    t.check(new[6][:len(old[6])] == old[6], what + 'the strings that were there are not as they were')
    t.equal([location_key(v) for _, v in new[4]] == [location_key(v) for _, v in old[4]], True,
            what + 'locations are the same, lines aside')
    compare_lines(t, before, after, what)
    t.equal(len(new[3]), len(old[3]), what + 'mappings')
    for (_, a), (_, b) in zip(old[3], new[3]):
        (was, flags), (now, new_flags) = mapping_key(a), mapping_key(b)
        t.check(was == now, '%sa mapping is another one: %r, %r' % (what, was, now))
        t.check(all(new_flags.get(n) for n in flags), '%sa mapping lost flags: %r, %r' % (what, flags, new_flags))


def same_text(a, b):
    with open(a, 'rb') as one, open(b, 'rb') as other:
        return one.read() == other.read()


# --- files of code ---------------------------------------------------------------------------------------

def notes(data):
    """Each part of an ELF file that holds notes, by program headers and by sections."""
    for table, size, count, fields in ((32, 54, 56, ('<IIQQQQ', 2, 5)), (40, 58, 60, ('<IIQQQQ', 4, 5))):
        start = struct.unpack_from('<Q', data, table)[0]
        length, many = struct.unpack_from('<H', data, size)[0], struct.unpack_from('<H', data, count)[0]
        for i in range(many):
            header = struct.unpack_from(fields[0], data, start + i * length)
            if table == 32 and header[0] == 4:
                yield header[2], header[5]
            elif table == 40 and header[1] == 7:
                yield header[4], header[5]


def build_id(path):
    """Lower-case hexadecimal, of the note; '' without one."""
    with open(path, 'rb') as file:
        data = file.read()
    for note, length in notes(data):
        end = note + length
        while note + 12 <= end:
            name, size, kind = struct.unpack_from('<III', data, note)
            start = note + 12 + (name + 3) // 4 * 4
            if kind == 3 and data[note + 12:note + 12 + name] == b'GNU\0':
                return data[start:start + size].hex()
            note = start + (size + 3) // 4 * 4
    return ''


def tool(t, name):
    found = find_program(name)
    t.need(found, 'no %s on this machine' % name)
    return found


def split_debug(t, path, debug):
    """Moves the debug information of `path` to `debug`, as distributions do."""
    objcopy = tool(t, 'objcopy')
    os.makedirs(os.path.dirname(debug), exist_ok=True)
    t.run([objcopy, '--only-keep-debug', path, debug])
    t.run([objcopy, '--strip-unneeded', path])


def debug_path(directory, path):
    id = build_id(path)
    if not id:
        raise Failed('%s has no build id' % path)
    return os.path.join(directory, '.build-id', id[:2], id[2:] + '.debug')


def code_segments(path):
    """(address, offset, bytes) of each executable segment."""
    with open(path, 'rb') as file:
        data = file.read(1 << 16)
    table, size, count = struct.unpack_from('<Q', data, 32)[0], *struct.unpack_from('<HH', data, 54)
    found = []
    for i in range(count):
        kind, flags, offset, address, _, length = struct.unpack_from('<IIQQQQ', data, table + i * size)
        if kind == 1 and flags & 1:
            found.append((address, offset, length))
    return found


def address_profile(path, addresses, types=pprof_writer.HEAP_TYPES, bias=0x7f0000000000, build=None, named=True):
    """The bytes of a profile of addresses in an object, as it lies in its file: location i is of the i-th of them,
    and so is sample i. Its functions, if they are `named`, have a name that says nothing."""
    heap = pprof_writer.Heap(types=types, version=0)
    field, text = pprof_writer.field, heap.text
    parts = [(1, pprof_writer.message((1, text(kind)), (2, text(unit)))) for kind, unit in types]
    parts += [(2, pprof_writer.message((1, [i]), (2, [1] * len(types)))) for i in range(1, len(addresses) + 1)]
    segments = code_segments(path)
    for number, (start, offset, length) in enumerate(segments, 1):
        parts.append((3, pprof_writer.message(
            (1, number), (2, start + bias), (3, start + bias + length), (4, offset), (5, text(path)),
            (6, text(build_id(path) if build is None else build)), (7, int(named)))))
    for i, address in enumerate(addresses, 1):
        number = next((n for n, (start, _, length) in enumerate(segments, 1) if start <= address < start + length), 0)
        line = [(4, pprof_writer.message((1, 1)))] if named else []
        parts.append((4, pprof_writer.message((1, i), (2, number), (3, address + bias), *line)))
    if named:
        parts.append((5, pprof_writer.message((1, 1), (2, text('[somewhere]')), (3, text('[somewhere]')))))
    parts += [(9, pprof_writer.START * 10**9), (11, pprof_writer.message((1, text('space')), (2, text('bytes')))),
              (12, 1)]
    return b''.join(field(n, v) for n, v in parts) + b''.join(field(6, s.encode()) for s in heap.strings)


def places(path):
    """Of a profile of address_profile(): for each address its lines."""
    with gzip.open(path) if is_packed(path) else open(path, 'rb') as file:
        profile = pprof_reader.Profile(file.read())
    return [lines_of(profile, location) for location in profile.locations]
