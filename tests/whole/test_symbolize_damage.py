#!/usr/bin/env python3
"""heaptap symbolize ends in time, says what is wrong in one line and loses nothing, however damaged the files are that
it reads. TEST_ROUNDS and TEST_SEED make it try more than the suite does."""
import gzip
import os
import random
import shutil
import struct
import sys
import time

import pprof_reader
import pprof_writer
from harness import main, test
from symbols import Program, address_profile, code_segments, compare, places, symbolize, tool

ROUNDS = int(os.environ.get('TEST_ROUNDS', '0'))
SEED = int(os.environ.get('TEST_SEED', '1'))
SECONDS_MAX = 20  # of one run; damage may make loops, but each has an end
PLACES = 60

# What a process of libdw may take before it counts as one that does not end, is 300 s: far above what is seen here.
slowest = [0.0, '']


def sections(data):
    """name -> (offset, bytes, where its header is)"""
    table, size, count, names = struct.unpack_from('<Q', data, 40)[0], *struct.unpack_from('<HHH', data, 58)
    headers = [struct.unpack_from('<IIQQQQ', data, table + i * size) for i in range(count)]
    found = {}
    for i, (name, kind, _, _, offset, length) in enumerate(headers):
        text = data[headers[names][4] + name:]
        if kind != 8:
            found[text[:text.index(b'\0')].decode()] = (offset, length, table + i * size)
    return found


def one_byte(random_, data, start, length):
    if length > 0:
        at = start + random_.randrange(length)
        data[at] = random_.choice((0, 0xff, 0x80, 0x7f, data[at] ^ 1 << random_.randrange(8), random_.randrange(256)))


def damage_section(random_, data, known):
    name = random_.choice([n for n in known if n.startswith(('.debug', '.zdebug', '.gnu_debug'))])
    offset, length, _ = known[name]
    near = random_.choice((length, min(length, 64)))
    for _ in range(random_.choice((1, 1, 3, 20))):
        one_byte(random_, data, offset, near)
    return name


def damage_headers(random_, data, known):
    name = random_.choice(list(known))
    at = known[name][2]
    if random_.random() < 0.5:
        field = random_.choice((4, 8, 16, 24, 32, 40, 44, 48, 56))
        value = random_.choice((0, 1, 0xffffffffffffffff, 0x7fffffffffffffff, len(data), len(data) - 1, 1 << 40,
                                random_.randrange(1 << 20)))
        struct.pack_into('<Q', data, at + min(field, 56), value)
    else:
        one_byte(random_, data, at, 64)
    return 'header of ' + name


def damage_elf_header(random_, data, known):
    for _ in range(random_.choice((1, 2))):
        one_byte(random_, data, 0, 64)
    return 'ELF header'


def damage_program_headers(random_, data, known):
    start, count = struct.unpack_from('<Q', data, 32)[0], struct.unpack_from('<H', data, 56)[0]
    one_byte(random_, data, start, 56 * count)
    return 'program headers'


def damage_symbols(random_, data, known):
    name = random_.choice([n for n in ('.symtab', '.strtab', '.dynsym', '.shstrtab', '.eh_frame') if n in known])
    for _ in range(5):
        one_byte(random_, data, *known[name][:2])
    return name


def truncate(random_, data, known):
    del data[random_.randrange(64, len(data)):]
    return 'cut to %d' % len(data)


DAMAGES = [damage_section] * 12 + [damage_headers] * 4 + [damage_elf_header, damage_program_headers, damage_symbols,
                                                        truncate]


def nothing_left(t, process, where):
    """No process of its group is left, and no core."""
    try:
        os.killpg(process, 0)
        t.complain(where + ': a process is left')
    except (ProcessLookupError, PermissionError):
        pass


def try_profile(t, path, before, where, *options):
    """One run, over what is damaged."""
    shutil.copy(before, path)
    began = time.monotonic()
    result = symbolize(t, path, *options, status=None, timeout=SECONDS_MAX * 3)
    seconds = time.monotonic() - began
    if seconds > slowest[0]:
        slowest[:] = [seconds, where]
    t.check(seconds < SECONDS_MAX, '%s: %.1f s' % (where, seconds))
    t.check(result.status in (0, 1), '%s: status %d: %r' % (where, result.status, result.err))
    t.check(len(result.err_lines) <= 1, '%s: says %r' % (where, result.err))
    nothing_left(t, t.started.pop().pid, where)
    return result


def object_round(t, number, name, whole, before):
    random_ = random.Random(SEED * 1000003 + number)
    data = bytearray(whole)
    known = sections(whole)
    what = random_.choice(DAMAGES)(random_, data, known)
    with open(name, 'wb') as file:
        file.write(data)
    path = t.path('damaged.pb.gz')
    try_profile(t, path, before, 'round %d, %s' % (number, what))
    compare(t, before, path, 'round %d, %s: ' % (number, what))


def try_object(t, program, rounds, path=None):
    """Damages the program, or the file at `path` that belongs to it."""
    segment = code_segments(program.path)[0]
    with open(program.path, 'rb') as file:
        start, length, _ = sections(file.read())['.text']
    start += segment[0] - segment[1]
    addresses = list(range(start, start + length, max(length // PLACES, 1)))
    before = t.path('before.pb.gz')
    with gzip.open(before, 'wb') as file:
        file.write(address_profile(program.path, addresses))
    whole_path = t.path('whole.pb.gz')
    try_profile(t, whole_path, before, 'whole')
    t.check(sum(lines[-1].line > 0 for lines in places(whole_path)) > PLACES // 4, 'the whole program has no lines')
    name = path or program.path
    with open(name, 'rb') as file:
        whole = file.read()
    mode = os.stat(name).st_mode
    for number in range(ROUNDS or rounds):
        object_round(t, number, name, whole, before)
        if len(t.complaints) > 20:
            break
    with open(name, 'wb') as file:
        file.write(whole)
    os.chmod(name, mode)
    t.check(not any(n.startswith('core') for n in os.listdir(t.directory)), 'a core file')
    t.note('slowest: %.2f s, %s' % tuple(slowest))


@test
def dwarf_5(t):
    """C++ by gcc, DWARF 5"""
    try_object(t, Program(t, 'c++', '-gdwarf-5'), 400)


@test
def dwarf_4(t):
    """C by clang, DWARF 4"""
    try_object(t, Program(t, 'c clang', '-gdwarf-4'), 200)


@test
def compressed(t):
    """Compressed sections, whose sizes may lie"""
    try_object(t, Program(t, 'c++', '-gz=zlib'), 200)


@test
def split(t):
    """A program whose .dwo file is damaged, and one that names it wrongly"""
    program = Program(t, 'c++', '-gsplit-dwarf')
    dwo = [n for n in os.listdir(program.directory) if n.endswith('.dwo')][0]
    try_object(t, program, 200, os.path.join(program.directory, dwo))
    try_object(t, program, 60)


@test
def dwz(t):
    """Partial units of dwz"""
    program = Program(t, 'c++', '-gdwarf-4')
    t.run([tool(t, 'dwz'), program.path])
    try_object(t, program, 200)


@test
def rust(t):
    """Rust, which has the most debug information"""
    try_object(t, Program(t, 'rust'), 40)


# --- the profile -----------------------------------------------------------------------------------------

@test
def profiles(t):
    """A damaged profile is refused in one line and stays, or gets lines and loses nothing"""
    program = Program(t, 'c')
    source = program.profile()
    with gzip.open(source) as file:
        whole = file.read()
    before, path = t.path('before.pb.gz'), t.path('damaged.pb.gz')
    refused = 0
    for number in range(ROUNDS or 150):
        random_ = random.Random(SEED * 7919 + number)
        data = bytearray(whole)
        what = random_.choice(('bytes', 'bytes', 'cut', 'twice', 'packed'))
        if what == 'bytes':
            for _ in range(random_.choice((1, 1, 4))):
                one_byte(random_, data, 0, len(data))
        elif what == 'cut':
            del data[random_.randrange(len(data)):]
        elif what == 'twice':
            at = random_.randrange(len(data))
            data[at:at] = data[at:at + random_.randrange(1, 60)]
        packed = bytearray(gzip.compress(bytes(data), 1))
        if what == 'packed':
            one_byte(random_, packed, 0, len(packed))
        with open(before, 'wb') as file:
            file.write(packed)
        where = 'round %d, %s' % (number, what)
        result = try_profile(t, path, before, where)
        refused += result.status
        with open(path, 'rb') as file:
            same = file.read() == packed
        t.check(result.status == 0 or same, where + ': refused, and changed')
        t.check(result.status == 0 or len(result.err_lines) == 1, where + ': refused without a word')
        if not same:
            keeps_fields(t, before, path, where)
    t.note('%d of %d refused' % (refused, ROUNDS or 150))


def keeps_fields(t, before, path, where):
    """All but mappings, locations, functions and new strings is there as it was."""
    def rest(name):
        with gzip.open(name) as file:
            return [f for f in pprof_reader.fields(file.read()) if f[0] not in (3, 4, 5, 6)]
    t.check(rest(path) == rest(before), where + ': something else was changed')
    t.equal(symbolize(t, path, status=None).status, 0, where + ': the second time')


@test
def large(t):
    """Numbers that promise more than there is: lengths, counts, gigabytes that gzip makes of kilobytes"""
    path, before = t.path('large.pb.gz'), t.path('before.pb.gz')
    heap = pprof_writer.Heap().add('a main', pprof_reader.Values(1, 1, 1, 1)).bytes()
    for name, data in (('length', heap + b'\x22\xff\xff\xff\xff\x0f'), ('field', heap + b'\xfa\xff\xff\xff\x0f\x00'),
                       ('varint', heap + b'\x48' + b'\xff' * 20), ('group', heap + b'\x0b\x0c'),
                       ('nested', heap + pprof_writer.field(4, pprof_writer.field(4, b'\x08') * 3))):
        with gzip.open(before, 'wb') as file:
            file.write(data)
        try_profile(t, path, before, name)
    with gzip.open(before, 'wb', compresslevel=1) as file:
        file.write(heap)
        for _ in range(300):  # strings of zeros: 300 MiB
            file.write(pprof_writer.varint(6 << 3 | 2) + pprof_writer.varint(1 << 20) + bytes(1 << 20))
    try_profile(t, path, before, 'zeros')


if __name__ == '__main__':
    sys.setrecursionlimit(10000)
    main()
