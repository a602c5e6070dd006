#!/usr/bin/env python3
"""heaptap symbolize finds function, file, line and inlined calls of each frame of programs whose stacks are known, in
whatever form their debug information comes, and loses nothing of the profile."""
import os
import re
import shutil

from harness import BUILD, go_pprof, main, test
from symbols import (CLANG, GCC, LANGUAGES, Program, build_id, check_names, check_stacks, compare, debug_path, lines_of, plain,
                     same_text, split_debug, symbolize, tool)

NATIVE = GCC + CLANG


def check(t, program, *options, linked=False, directory=None):
    """The profile of a program: right with lines, and all that it was before; a second time changes nothing."""
    path = program.profile(linked=linked)
    before, again = t.path('before.pb.gz'), t.path('again.pb.gz')
    shutil.copy2(path, before)
    t.load(before)
    result = symbolize(t, path, *options)
    t.equal(result.err, b'', program.language + ': it says')
    check_stacks(t, program, path, directory)
    compare(t, before, path, program.language + ': ')
    shutil.copy2(path, again)
    symbolize(t, path, *options)
    t.check(same_text(path, again), program.language + ': the second time changed something')
    return path


def check_all(t, languages, *arguments, without=(), options=()):
    for language in languages:
        check(t, Program(t, language, *arguments, without=without), *options)


@test
def position_independent(t):
    """C, C++, by gcc and clang, Fortran, as they are by default on most machines: PIE"""
    check_all(t, NATIVE, '-pie', '-fPIE')


@test
def rust(t):
    """Rust: generics, closures, traits, the library's own code, with names of both manglings"""
    check_all(t, ['rust'])
    check_all(t, ['rust'], '-C', 'symbol-mangling-version=v0')


@test
def fixed_address(t):
    """At a fixed address"""
    check_all(t, NATIVE, '-no-pie', '-fno-pie')
    check_all(t, ['rust'], '-C', 'relocation-model=static')


@test
def archive(t):
    """With libheaptap.a in the program"""
    library = os.path.join(os.environ.get('TEST_BUILD_DIRECTORY', BUILD), 'profiler', 'libheaptap.a')
    t.need(os.path.exists(library), 'no libheaptap.a')
    for language in ('c', 'c++ clang'):
        arguments = ['-Wl,--whole-archive', library, '-Wl,--no-whole-archive', '-l:libprotobuf-c.a', '-l:libz.a',
                     '-l:libiberty.a', '-ldl', '-lpthread']
        check(t, Program(t, language, '-Wl,-u,heaptap_anchor', *arguments), linked=True)


@test
def separate_segments(t):
    """Linked by lld, whose segments have other offsets than addresses"""
    tool(t, 'ld.lld')
    for segments in ('separate-loadable-segments', 'separate-code', 'noseparate-code'):
        check_all(t, ['c clang', 'c++'], '-fuse-ld=lld', '-Wl,-z,' + segments)


@test
def folded(t):
    """Of functions of the same code, which lld folds into one, each frame is one of them"""
    tool(t, 'ld.lld')
    program = Program(t, 'c++ clang', '-fuse-ld=lld', '-ffunction-sections', '-Wl,--icf=safe')
    path = program.profile()
    symbolize(t, path)
    profile = t.load(path)
    names, lines = zip(*[(plain(f.name), f.line) for f in program.frames.values()])
    for location in profile.locations:
        for line in lines_of(profile, location):
            if line.file.startswith(program.directory) and line.name != 'main' and 'thunk' not in line.name:
                t.check(plain(line.name) in names and line.line in lines, 'no %s, or line %d' % (line.name, line.line))


@test
def dwarf_4(t):
    """Debug information of DWARF 4, and of gcc's type units"""
    check_all(t, NATIVE, '-gdwarf-4')
    check_all(t, ['c++'], '-gdwarf-4', '-fdebug-types-section')
    check_all(t, ['c++', 'c++ clang'], '-gdwarf-5', '-fdebug-types-section')
    rustc = tool(t, 'rustc')
    if 'dwarf-version' in t.run([rustc, '-C', 'help']).text:  # older ones make DWARF 4 alone
        check_all(t, ['rust'], '-C', 'dwarf-version=5')


@test
def split_dwarf(t):
    """Split off into .dwo files, of DWARF 5 and 4; without them, lines but no inlined calls, and it says so"""
    for language in NATIVE[:2] + CLANG:
        for version in ('5', '4'):
            program = Program(t, language, '-gsplit-dwarf', '-gdwarf-' + version, directory='split' + version)
            t.check([n for n in os.listdir(program.directory) if n.endswith('.dwo')], 'no .dwo file')
            check(t, program)
    for name in os.listdir(program.directory):
        if name.endswith('.dwo'):
            os.unlink(os.path.join(program.directory, name))
    path = program.profile()
    result = symbolize(t, path)
    t.check('.dwo files are missing' in result.text, 'without .dwo: %s' % result.text)
    profile = check_names(t, program, path)
    t.check(any(f.filename.endswith('cxx.cc') for f in profile.functions), 'without .dwo there are no lines')


@test
def package_of_dwo(t):
    """All .dwo files in one .dwp"""
    dwp = tool(t, 'dwp')
    for language in ('c++', 'c++ clang'):
        program = Program(t, language, '-gsplit-dwarf', '-gdwarf-4', directory='packed-' + language)
        t.run([dwp, '-e', program.path], cwd=program.directory)
        for name in os.listdir(program.directory):
            if name.endswith('.dwo'):
                os.unlink(os.path.join(program.directory, name))
        path = program.profile()
        if '.dwo files are missing' in symbolize(t, path).text:  # elfutils before 0.190 knows no packages
            check_names(t, program, path)
        else:
            check(t, program)


@test
def dwz(t):
    """What dwz made smaller: within a file, and with what files have in common in one more"""
    dwz_ = tool(t, 'dwz')
    first = Program(t, 'c++', directory='one')
    t.run([dwz_, first.path])
    check(t, first)
    programs = [Program(t, 'c++', '-gdwarf-4', level, output=level[1:], directory='many')
                for level in ('-O2', '-O3')]
    common = os.path.join(programs[0].directory, 'common.debug')
    t.run([dwz_, '-m', common] + [p.path for p in programs])
    t.need(os.path.exists(common), 'a dwz that finds anything in common')
    for program in programs:
        check(t, program)
    os.rename(common, t.path('elsewhere'))
    result = symbolize(t, programs[1].profile())
    t.check('dwz moved out' in result.text, 'without the common file: %s' % result.text)


@test
def dwz_in_directory(t):
    """What dwz moved out of separate debug files is found in --debug-dir, by its build id"""
    dwz_, programs = tool(t, 'dwz'), []
    directory = t.path('debug')
    os.makedirs(os.path.join(directory, '.dwz'))
    for level in ('-O2', '-O3'):
        program = Program(t, 'c++', '-gdwarf-4', level, output=level[1:])
        split_debug(t, program.path, debug_path(directory, program.path))
        programs.append(program)
    common = os.path.join(directory, '.dwz', 'common.debug')
    t.run([dwz_, '-m', common, '-M', '/usr/lib/debug/.dwz/common.debug']
          + [debug_path(directory, p.path) for p in programs])
    t.need(os.path.exists(common), 'a dwz that finds anything in common')
    for program in programs:
        check(t, program, '--debug-dir', directory)
    moved = debug_path(directory, common)
    os.makedirs(os.path.dirname(moved), exist_ok=True)
    os.rename(common, moved)
    check(t, programs[1], '--debug-dir', directory)


@test
def compressed(t):
    """Compressed sections, in the usual form and in GNU's old one"""
    check_all(t, NATIVE, '-gz=zlib')
    objcopy = tool(t, 'objcopy')
    program = Program(t, 'c++')
    t.run([objcopy, '--compress-debug-sections=zlib-gnu', program.path])
    check(t, program)


@test
def separate_by_build_id(t):
    """Stripped, with its debug file under the build id in --debug-dir; the program itself may be gone"""
    directory = t.path('debug')
    for language in NATIVE:
        program = Program(t, language)
        split_debug(t, program.path, debug_path(directory, program.path))
        check(t, program, '--debug-dir', directory)
        path = program.profile()
        os.unlink(program.path)
        symbolize(t, path, '--debug-dir', directory)
        check_stacks(t, program, path)


@test
def separate_beside(t):
    """Stripped, with a debug file in --debug-dir by its name, and with a whole program there"""
    for suffix in ('.debug', ''):
        program = Program(t, 'c++', directory='src' + suffix)
        debug = os.path.join(t.path('beside' + suffix), os.path.basename(program.path) + suffix)
        if suffix:
            split_debug(t, program.path, debug)
        else:
            os.makedirs(os.path.dirname(debug))
            shutil.copy(program.path, debug)
            t.run([tool(t, 'strip'), program.path])
        check(t, program, '--debug-dir', os.path.dirname(debug))


@test
def separate_by_link(t):
    """Stripped, with a .gnu_debuglink to a file beside it, and in .debug; with and without build id"""
    objcopy = tool(t, 'objcopy')
    for build in ('--build-id', '--build-id=none'):
        for place in ('', '.debug'):
            program = Program(t, 'c', '-Wl,' + build, directory='src' + place + build, without=['-Wl,--build-id'])
            debug = os.path.join(program.directory, place, 'other-name.dbg')
            split_debug(t, program.path, debug)
            t.run([objcopy, '--add-gnu-debuglink=' + debug, program.path])
            t.equal(bool(build_id(program.path)), build == '--build-id', build)
            check(t, program)


@test
def stripped(t):
    """Stripped, and its debug information nowhere: the profile is as it was, and it is said why"""
    for language in ('c', 'c++ clang'):
        program = Program(t, language, '-rdynamic')
        t.run([tool(t, 'strip'), program.path])
        path = program.profile()
        shutil.copy2(path, t.path('before.pb.gz'))
        result = symbolize(t, path)
        t.check(re.search(r'0 of \d+ .*: no debug information, build id ' + build_id(program.path), result.text),
                'it says: %s' % result.text)
        compare(t, t.path('before.pb.gz'), path)
        profile = t.load(path)
        t.equal(profile.mappings[0].has_line_numbers, 0, 'flag of the program')


@test
def symbols_only(t):
    """Without debug information, but with symbols: names as in the plain profile"""
    for language in ('c', 'c++'):
        program = Program(t, language, without=['-g'])
        path = program.profile()
        shutil.copy2(path, t.path('before.pb.gz'))
        symbolize(t, path)
        compare(t, t.path('before.pb.gz'), path)
        check_names(t, program, path)


@test
def link_time_optimized(t):
    """Optimized when it is linked, in one part and in several, by gcc and clang"""
    check_all(t, GCC, '-flto')
    tool(t, 'ld.lld')
    check_all(t, CLANG, '-flto=thin', '-fuse-ld=lld')
    check_all(t, CLANG, '-flto', '-fuse-ld=lld')
    check_all(t, ['rust'], '-C', 'lto=fat')


@test
def levels(t):
    """At -O0, -O1, -O3, -Os and with frame pointers; only lines, -g1, have no less inlined calls"""
    for level in ('-O1', '-O3', '-Os'):
        check_all(t, ['c', 'c++', 'c++ clang'], level)
    check_all(t, ['c'], '-g1')  # of C++ it has neither the linker's names nor scopes for what was inlined
    check_all(t, ['c++ clang'], '-O0')
    check_all(t, ['c++ clang'], '-fno-omit-frame-pointer', '-gcolumn-info')


@test
def columns(t):
    """Columns, where the compiler gives them"""
    for language in ('c', 'c++ clang'):
        program = Program(t, language)
        path = check(t, program)
        profile = t.load(path)
        with open(os.path.join(program.directory, LANGUAGES[language][0])) as source:
            texts = source.read().split('\n')
        found = 0
        for location in profile.locations:
            for function, (_, line), column in zip(location.functions, location.lines, location.columns):
                if function.filename == os.path.join(program.directory, LANGUAGES[language][0]):
                    found += column > 0
                    t.check(column <= len(texts[line - 1]), '%s: line %d has no column %d' % (language, line, column))
        t.check(found > 10, '%s: %d columns' % (language, found))


@test
def relative_directory(t):
    """A compiler that was given ../ and paths with a prefix mapped away"""
    program = Program(t, 'c')
    t.run(program.command + ['../src/c.c', '-o', 'c'], cwd=program.directory)
    path = program.profile()
    symbolize(t, path)
    files = {f.filename for f in t.load(path).functions if f.filename.endswith('/c.c')}
    t.equal({os.path.normpath(f) for f in files}, {os.path.join(program.directory, 'c.c')}, 'files')
    t.run(program.command + ['-ffile-prefix-map=%s=/usr/src/mapped' % program.directory, 'c.c', '-o', 'c'],
          cwd=program.directory)
    check(t, program, directory='/usr/src/mapped')


@test
def pprof_without_binaries(t):
    """Every view of go tool pprof of a profile whose program is gone, -list with its source lines"""
    program = Program(t, 'c++')
    path = check(t, program)
    os.unlink(program.path)
    moved = shutil.move(path, t.path('moved.pb.gz'))
    top = go_pprof(t, '-top', '-lines', '-nodecount=500', '-sample_index=alloc_space', moved)
    t.check(re.search(r'deep::one .*cxx\.cc:\d+ \(inline\)', top), 'no inlined function: %s' % top[:3000])
    listed = go_pprof(t, '-list', r'deep::host|with_lambda', '-sample_index=alloc_space', moved)
    t.check('deep::five' not in listed or 'five(size); // @2029.5' in listed, 'list: %s' % listed[:2000])
    for mark in ('@2029.5 deep::host', '@2053.1 with_lambda', '@2053.0 with_lambda'):
        lines = [l for l in listed.splitlines() if mark in l]
        t.check(any(l.split()[1] != '.' for l in lines), '-list: %r' % lines)
    for view in ('-raw', '-traces', '-tree', '-peek=main', '-dot', '-proto'):
        go_pprof(t, view, '-output=' + t.path('view'), moved)
    if shutil.which('dot'):
        go_pprof(t, '-svg', '-output=' + t.path('view.svg'), moved)
    go_pprof(t, '-weblist=deep::host', '-output=' + t.path('view.html'), moved)


@test
def difference(t):
    """Two runs at other addresses, each with lines, cancel to nothing"""
    for language in ('c++', 'rust'):
        program = Program(t, language)
        paths = [shutil.move(program.profile(), t.path('%d.pb.gz' % i)) for i in (1, 2)]
        symbolize(t, *paths)
        for column in ('alloc_space', 'inuse_objects'):
            shown = go_pprof(t, '-top', '-lines', '-sample_index=' + column, '-diff_base=' + paths[0], paths[1])
            rows = [line for line in shown.splitlines() if re.match(r'\s*-?\d.*%.*%', line) and 'Showing' not in line]
            t.check(all(re.match(r'\s*0 ', row) for row in rows), '%s: %s' % (language, '\n'.join(rows[:5])))


if __name__ == '__main__':
    main()
