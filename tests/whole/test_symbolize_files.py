#!/usr/bin/env python3
"""heaptap symbolize keeps what it does not add: of the profile, its file, and other files. What it cannot do is one
line, and then nothing is changed."""
import gzip
import os
import re
import shutil
import stat
import subprocess

import pprof_reader
import pprof_writer
from harness import COMMAND, find_program, go_pprof, main, program, test
from pprof_reader import Values
from symbols import (Program, address_profile, build_id, check_stacks, code_segments, compare, contents, places,
                     same_text, symbolize, tool)

GO_PROGRAM = '''package main

import (
	"os"
	"runtime"
	"runtime/pprof"
)

var keep [][]byte

func main() {
	runtime.MemProfileRate = 512
	cpu, _ := os.Create("cpu.pb.gz")
	pprof.StartCPUProfile(cpu)
	for i := 0; i < 200000; i++ {
		keep = append(keep, make([]byte, i%100+1))
	}
	pprof.StopCPUProfile()
	heap, _ := os.Create("heap.pb.gz")
	pprof.WriteHeapProfile(heap)
	heap.Close()
}
'''


def copy(path, to):
    return shutil.copy2(path, to)


def rewrite(path, change):
    """A profile's bytes, changed, in its place."""
    with gzip.open(path) as file:
        data = file.read()
    with gzip.open(path, 'wb') as file:
        file.write(change(data))


# --- nothing is lost -------------------------------------------------------------------------------------

@test
def sampled(t):
    """Variances, oldest blocks and labels of sampled profiles are kept, and of all columns the totals"""
    t.run_preloaded([find_program('python3'), '-c', 'import json; x = [json.loads("[%d]" % i) for i in range(90000)]'],
                    dict(PYTHONMALLOC='malloc'), interval=4096)
    path = t.files()[0]
    before = copy(path, t.path('before.pb.gz'))
    symbolize(t, path)
    compare(t, before, path)
    old, new = t.load(before), t.load(path)
    t.check(any(s.raw_variance for s in new.samples), 'there are no variances')
    t.equal((new.total(), new.variance()), (old.total(), old.variance()), 'totals')
    t.equal(new.comments, old.comments, 'comments')


@test
def lifetimes(t):
    """In a profile of lifetimes the place that frees is the same one, and heaptap churn says the same"""
    source = Program(t, 'c++')
    for number, argv in enumerate(([program('lifetimes'), '2000'], [source.path])):
        t.new_output('lifetimes-%d' % number)
        t.run_preloaded(argv, lifetimes=1, status=None)
        for path in t.files():
            before = copy(path, t.path('before.pb.gz'))
            symbolize(t, path)
            compare(t, before, path)
            old, new = t.load(before), t.load(path)
            freed = [(s.freed_location, s.freed_frame) for s in new.samples]
            t.equal(freed, [(s.freed_location, s.freed_frame) for s in old.samples], 'freed by')
            said = [re.sub(r' \S*:\d+', '', t.run([COMMAND, 'churn', p], status=None).text.replace(p, '')).split()
                    for p in (before, path)]
            numbers = [[w for w in words if re.fullmatch(r'[\d.,]+%?', w)] for words in said]
            t.equal(numbers[1], numbers[0], 'the numbers of heaptap churn')


def with_unknown(data):
    """Fields that nobody has heard of, in every message, and some that heaptap does not write."""
    field, result = pprof_writer.field, b''
    extra = field(2000, b'kept \xff') + field(2001, 77)
    for number, wire, value in pprof_reader.fields(data):
        if wire == 2:
            if number in (1, 2, 3, 5):
                value = value + extra
            if number == 4:
                value = value + field(5, 1) + extra  # is_folded
            result += field(number, value)
        elif wire == 0:
            result += field(number, value)
        else:
            result += pprof_writer.varint(number << 3 | wire) + value.to_bytes(8 if wire == 1 else 4, 'little')
    return result + extra + field(15, 0)


@test
def unknown_fields(t):
    """Fields of a later format are kept, in the profile and in each message of it"""
    source = Program(t, 'c')
    path = source.profile()
    rewrite(path, with_unknown)
    before = copy(path, t.path('before.pb.gz'))
    symbolize(t, path)
    compare(t, before, path)
    check_stacks(t, source, path)
    for number in (3, 4):
        for _, value in contents(path)[number]:
            t.check(b'kept \xff' in value, 'field %d: %r' % (number, value))
    t.check(any(b'kept \xff' in value for _, value in contents(path)[5]), 'functions lost theirs')


@test
def lines_that_are_there(t):
    """What has lines already keeps them, as they are, whether its mapping says so or not; the rest gets its own"""
    source = Program(t, 'c')
    for flag in (1, 0):
        keep_lines(t, source, flag)


def keep_lines(t, source, flag):
    path = source.profile()

    def claim(data):
        """A line of a stranger in all locations of the program, and its flag."""
        field, message, result, strings = pprof_writer.field, pprof_writer.message, b'', []
        for number, _, value in pprof_reader.fields(data):
            strings += [value] if number == 6 else []
        for number, wire, value in pprof_reader.fields(data):
            if number == 3 and pprof_reader.scalars(value, 2)[1] == 1:
                value += field(9, flag)
            if number == 4 and pprof_reader.scalars(value, 2)[2] == 1:
                value = b''.join(field(n, v) for n, _, v in pprof_reader.fields(value) if n != 4)
                value += field(4, message((1, 9999), (2, 4711)))
            result += field(number, value) if wire in (0, 2) else \
                pprof_writer.varint(number << 3 | wire) + value.to_bytes(8, 'little')
        return result + field(6, b'elsewhere.c') + field(5, message((1, 9999), (2, len(strings)), (4, len(strings))))
    rewrite(path, claim)
    before = copy(path, t.path('before.pb.gz'))
    symbolize(t, path)
    compare(t, before, path)
    old, new = places(before), places(path)
    kept = [(a, b) for a, b in zip(old, new) if a and a[0].line == 4711]
    t.check(kept and all(a == b for a, b in kept), 'flag %d: lines of a stranger: %r' % (flag, kept[:2]))
    t.check(any(line.file.endswith('libc-start.c') for lines in new for line in lines) or
            not os.path.exists('/usr/lib/debug/.build-id'), 'the C library has no lines')


@test
def no_lines_at_all(t):
    """Locations without any function get theirs, and the mapping says so when all have one"""
    source = Program(t, 'c')
    shown = t.run([tool(t, 'nm'), source.path]).text
    leaf = int(re.search(r'^([0-9a-f]+) t leaf', shown, re.M).group(1), 16)
    for types in (pprof_writer.HEAP_TYPES, pprof_writer.CPU_TYPES):
        path = t.path('addresses.pb.gz')
        for named in (True, False):
            with gzip.open(path, 'wb') as file:
                file.write(address_profile(source.path, [leaf + 1, leaf + 5], types, named=named))
            before = copy(path, t.path('before.pb.gz'))
            symbolize(t, path)
            compare(t, before, path)
            for lines in places(path):
                t.equal((lines[-1].name, lines[-1].file), ('leaf', os.path.join(source.directory, 'c.c')), 'lines')
            mapping = pprof_reader.scalars(contents(path)[3][0][1], 10)
            t.equal(mapping[7:10], [1, 1, 1], 'flags')


@test
def ends_of_code(t):
    """Addresses at the edges of the segments, of sections and of functions, and outside of all"""
    source = Program(t, 'c')
    start, _, length = code_segments(source.path)[0]
    path = t.path('addresses.pb')
    wanted = [start, start + 1, start + length - 1] + list(range(start, start + length, 7))
    with open(path, 'wb') as file:
        file.write(address_profile(source.path, wanted + [start + length, start - 1, 0, (1 << 63) - 1]))
    before = copy(path, t.path('before.pb'))
    symbolize(t, path)
    compare(t, before, path)
    t.equal([lines[0].name for lines in places(path)[-4:]], ['[somewhere]'] * 4, 'outside')
    with open(path, 'rb') as file:
        t.check(file.read(2) == b'\x1f\x8b', 'the result is not packed')


@test
def foreign(t):
    """A profile that pprof wrote anew gets the same lines; Go's own of heap and CPU keep theirs"""
    source = Program(t, 'c++')
    path, anew = source.profile(), t.path('anew.pb.gz')
    go_pprof(t, '-proto', '-symbolize=none', '-output=' + anew, path)
    before = copy(anew, t.path('before.pb.gz'))
    symbolize(t, path, anew)
    compare(t, before, anew)
    t.equal(sorted(map(str, places(anew))), sorted(map(str, places(path))), 'lines')
    with open(t.path('main.go'), 'w') as file:
        file.write(GO_PROGRAM)
    env = dict(GOTOOLCHAIN='local', GOFLAGS='-mod=mod')
    if 'HOME' not in os.environ:
        env.update(HOME=t.directory)
    t.run([find_program('go'), 'build', '-o', 'program', 'main.go'], env, timeout=170)
    t.run([t.path('program')])
    for name in ('heap.pb.gz', 'cpu.pb.gz'):
        before = copy(t.path(name), t.path('before.pb.gz'))
        t.equal(symbolize(t, name).err, b'', name + ': it says')
        compare(t, before, t.path(name))
        for old, new in zip(places(before), places(t.path(name))):
            t.equal(new, old, name + ': lines')


# --- files -----------------------------------------------------------------------------------------------

@test
def file_stays(t):
    """Mode, time and owner are kept, a link leads to the same file, and nothing else is left in the directory"""
    source = Program(t, 'c')
    path = source.profile()
    link = t.path('link.pb.gz')
    os.chmod(path, 0o640)
    os.utime(path, ns=(10**18, 10**18 + 123456789))
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        # Who reads for another owner has the rights of that owner alone.
        os.chmod(t.directory, 0o755)
        os.chmod(t.output, 0o755)
    os.symlink(path, link)
    old = os.stat(path)
    symbolize(t, link)
    new = os.stat(path)
    for what in ('st_mode', 'st_mtime_ns', 'st_uid', 'st_gid'):
        t.equal(getattr(new, what), getattr(old, what), what)
    t.check(os.path.islink(link), 'the link was replaced')
    t.equal(os.listdir(t.output), [os.path.basename(path)], 'files')
    os.chmod(path, 0o600)
    check_stacks(t, source, path)
    again = os.stat(path)
    symbolize(t, path)
    t.equal(os.stat(path).st_ino, again.st_ino, 'inode after nothing was to be done')


@test
def output(t):
    """-o FILE leaves the profile alone; - is standard input and output; a text of a profile is packed"""
    source = Program(t, 'c')
    path = source.profile()
    before = copy(path, t.path('before.pb.gz'))
    for option in (['-o', t.path('one.pb.gz')], ['--output=' + t.path('two.pb.gz')]):
        symbolize(t, *option, path)
    with open(path, 'rb') as file:
        result = symbolize(t, '-', '-o', '-', stdin=file)
    with open(t.path('three.pb.gz'), 'wb') as file:
        file.write(result.out)
    os.chmod(t.path('three.pb.gz'), 0o600)
    t.check(same_text(before, path), 'the profile was changed')
    for name in ('one.pb.gz', 'two.pb.gz', 'three.pb.gz'):
        os.chmod(t.path(name), 0o600)
        check_stacks(t, source, t.path(name))
        compare(t, before, t.path(name))
    t.run([COMMAND, 'symbolize', path, '-o', t.path('one.pb.gz')])  # which is there already
    t.check(same_text(t.path('one.pb.gz'), t.path('two.pb.gz')), '-o over a file')
    # Something that has no lines is written all the same.
    nothing = pprof_writer.Heap().add('a main', Values(1, 1, 1, 1)).save(t.path('nothing.pb.gz'))
    symbolize(t, nothing, '-o', t.path('copy.pb.gz'))
    compare(t, nothing, t.path('copy.pb.gz'))


@test
def several(t):
    """Several profiles at once, one of which is wrong: the others get their lines, and it is said"""
    source = Program(t, 'c')
    paths = [shutil.move(source.profile(), t.path('%d.pb.gz' % i)) for i in range(3)]
    with open(t.path('bad.pb.gz'), 'wb') as file:
        file.write(b'no profile')
    result = symbolize(t, paths[0], t.path('bad.pb.gz'), *paths[1:], status=None)
    t.equal(result.status, 1, 'status')
    t.equal(len(result.err_lines), 1, 'says %r' % result.err)
    for path in paths:
        check_stacks(t, source, path)
        t.check('%s: lines for ' % path in result.text, 'output: %s' % result.text)
    copies = [shutil.move(source.profile(), t.path('more-%d.pb.gz' % i)) for i in range(2)]
    quiet = symbolize(t, '--quiet', *copies)
    t.equal((quiet.out, quiet.err), (b'', b''), '--quiet')


@test
def with_and_without(t):
    """heaptap diff and leaks compare no profile that has lines with one that has none"""
    source = Program(t, 'c++')
    plain, lines = (shutil.move(source.profile(), t.path('%s.pb.gz' % name)) for name in ('plain', 'lines'))
    symbolize(t, lines)
    for argv in (['diff', plain, lines], ['diff', lines, plain], ['leaks', plain, plain, lines]):
        result = t.run([COMMAND] + argv, status=1)
        t.equal(result.out, b'', 'heaptap %s' % argv[0])
        t.check(len(result.err_lines) == 1 and 'lines.pb.gz has source lines and ' + plain in result.err_lines[0],
                'heaptap %s says %s' % (argv[0], result.err_lines))
    symbolize(t, plain)
    t.run([COMMAND, 'diff', plain, lines])


# --- what is refused -------------------------------------------------------------------------------------

def refuse(t, arguments, wanted, status=1, **how):
    result = symbolize(t, *arguments, status=None, **how)
    t.equal(result.status, status, '%r: status' % (arguments,))
    t.check(len(result.err_lines) == 1 and wanted in result.err_lines[0],
            '%r: says %r, not %s' % (arguments, result.err, wanted))


@test
def no_profile(t):
    """What is no profile is one line, and stays what it is"""
    heap = pprof_writer.Heap().add('a main', Values(1, 1, 1, 1))
    whole = heap.bytes()
    refuse(t, [t.path('missing.pb.gz')], 'missing.pb.gz: No such file or directory')
    refuse(t, [t.directory], 'directory')
    os.mkfifo(t.path('fifo'))
    cases = {
        'empty': b'', 'text': b'hello\n', 'elf': b'\x7fELF' + bytes(100), 'zeros': bytes(1000),
        'packed-text': gzip.compress(b'hello'), 'packed-nothing': gzip.compress(b''),
        'truncated': gzip.compress(whole)[:-20], 'cut': gzip.compress(whole[:-3]),
        'twice-broken': gzip.compress(whole) + b'\x1f\x8b\x08',
        'no-string': pprof_writer.message((1, b''), (2, b'')),
        'dangling': whole + pprof_writer.field(4, pprof_writer.message((1, 99), (2, 1), (4, pprof_writer.message(
            (1, 1234), (2, 1))))),
        'string-beyond': whole + pprof_writer.field(3, pprof_writer.message((1, 9), (5, 99999))),
    }
    for name, content in cases.items():
        path = t.path(name)
        with open(path, 'wb') as file:
            file.write(content)
        refuse(t, [path], name + ': ')
        with open(path, 'rb') as file:
            t.check(file.read() == content, name + ' was changed')
        refuse(t, [path, '-o', t.path('out')], name + ': ')
        t.check(not os.path.exists(t.path('out')), name + ': there is an output')


@test
def no_options(t):
    """Wrong options are one line and status 2"""
    path = pprof_writer.Heap().add('a main', Values(1, 1, 1, 1)).save(t.path('a.pb.gz'))
    for arguments, wanted in (([], 'no profile'), (['--bad', path], '--bad'), ([path, '-o'], '-o'),
                              ([path, path, '-o', t.path('x')], '-o'), ([path, '--debug-dir'], '--debug-dir'),
                              (['--debug-dir', t.path('none'), path], 'none'), (['-'], 'standard input')):
        result = symbolize(t, *arguments, status=None)
        t.equal(result.status, 2, '%r: status' % arguments)
        t.check(wanted in result.err_lines[0], '%r: says %r' % (arguments, result.err))
    t.check('--debug-dir' in symbolize(t, '--help').text, '--help')
    t.check('symbolize' in t.run([COMMAND, '--help']).text, 'heaptap --help')


@test
def no_room(t):
    """Where the result cannot be written, that is one line, and the profile stays"""
    source = Program(t, 'c')
    path = source.profile()
    before = copy(path, t.path('before.pb.gz'))
    refuse(t, [path, '-o', t.path('no', 'such', 'directory.pb.gz')], 'directory.pb.gz: cannot be written')
    refuse(t, [path, '-o', t.output], 'annot be written')
    refuse(t, [path, '-o', '/dev/full'], 'No space left on device')
    refuse(t, [path], 'File too large', preexec_fn=limit_file_size)
    with open('/dev/full', 'wb') as full:
        process = t.start([COMMAND, 'symbolize', path, '-o', '-'], stdout=full, stderr=subprocess.PIPE)
        result = t.finish(process)
        t.equal((result.status, len(result.err_lines)), (1, 1), 'a full standard output: %r' % result.err)
    if os.geteuid() != 0:
        os.chmod(t.output, 0o500)
        refuse(t, [path], 'Permission denied')
        os.chmod(t.output, 0o700)
    t.check(same_text(before, path), 'the profile was changed')
    t.equal(os.listdir(t.output), [os.path.basename(path)], 'files')


def limit_file_size():
    import resource
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


@test
def other_build(t):
    """A program that was built anew is not used: it says which build was loaded, and keeps the names"""
    source = Program(t, 'c')
    path = source.profile()
    before, old = copy(path, t.path('before.pb.gz')), build_id(source.path)
    t.run(source.command + ['-O1', 'c.c', '-o', 'c'], cwd=source.directory)
    t.check(build_id(source.path) != old, 'the build id is the same')
    result = symbolize(t, path)
    t.equal(len(result.err_lines), 1, 'says %r' % result.err)
    t.check('c is not the file that was loaded' in result.err_lines[0] and old in result.err_lines[0],
            'says %r' % result.err)
    compare(t, before, path)
    t.check(not any(f.filename.startswith(source.directory) for f in t.load(path).functions), 'there are lines')
    os.unlink(source.path)
    t.check('c: not found, build id ' + old in symbolize(t, path).text, 'a file that is gone')
    # A debug file of another build is none.
    wrong = t.path('debug', '.build-id', old[:2], old[2:] + '.debug')
    os.makedirs(os.path.dirname(wrong))
    shutil.copy(Program(t, 'c', '-O3').path, wrong)
    symbolize(t, path, '--debug-dir', t.path('debug'))
    t.check(not any(f.filename.startswith(source.directory) for f in t.load(path).functions), 'lines of another build')


@test
def not_a_program(t):
    """Mappings of what is no program, of devices and pipes, and of nothing"""
    os.mkfifo(t.path('fifo'))
    os.symlink(t.path('loop'), t.path('loop'))
    with open(t.path('text'), 'w') as file:
        file.write('hello\n' * 1000)
    for name in (t.path('fifo'), t.path('text'), t.path('loop'), '/dev/zero', '/dev/tty', '/proc/self/mem', t.directory,
                 '[vdso]', '//anon', '', 'relative', '/' + 'x' * 5000, '/a\nb'):
        heap = pprof_writer.Heap(program=name).add('leaf main', Values(1, 1, 1, 1))
        path = heap.save(t.path('odd.pb.gz'))
        before = copy(path, t.path('before.pb.gz'))
        result = symbolize(t, path, timeout=30)
        t.check(len(result.err_lines) <= 1, '%r: says %r' % (name, result.err))
        compare(t, before, path, name[:40] + ': ')
    t.check(stat.S_ISFIFO(os.stat(t.path('fifo')).st_mode), 'the fifo is gone')


if __name__ == '__main__':
    main()
