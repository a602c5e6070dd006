#!/usr/bin/env python3
"""Functions have their names: of libraries that come and go, of files that are deleted or replaced, of stripped
files, of the vdso, and of what JIT compilers make."""
import os
import re
import shutil

from harness import COMMAND, PROGRAMS, Skip, find_program, go_pprof, main, program, test, truth
from pprof_reader import add

PLUGIN = {x: os.path.join(PROGRAMS, 'libplugin_%s.so' % x) for x in 'ab'}


def script(t, *words, binary=None, **values):
    """Runs module_script. Returns its snapshots, in order."""
    argv = [binary or program('module_script')] + [str(word) for word in words]
    t.run_preloaded(argv, at_exit=0, **values)
    return [t.load(word) for at, word in enumerate(words) if words[at - 1] == 'snapshot']


def copy(t, source, name):
    shutil.copy(source, t.path(name))
    return t.path(name)


def check_named(t, profile, what, **bytes_of):
    for name, size in bytes_of.items():
        t.equal(profile.with_function(name).alloc_bytes, size, '%s: %s' % (what, name))


@test
def plugins_at_one_address(t):
    """Two plugins at one address, one after the other, both files deleted after a profile: each has its own names."""
    a, b = (copy(t, PLUGIN[x], 'lib%s.so' % x) for x in 'ab')
    profiles = script(
        t, 'load', a, 'run', 1000, 'snapshot', t.path('1.pb.gz'), 'close', 'unlink', a,
        'load', b, 'run', 2000, 'snapshot', t.path('2.pb.gz'), 'unlink', b, 'run', 3000, 'close',
        'snapshot', t.path('3.pb.gz'))
    check_named(t, profiles[0], 'first', plugin_a_site=1000, plugin_run=1000)
    check_named(t, profiles[1], 'second', plugin_a_site=1000, plugin_b_site=2000, plugin_run=3000)
    check_named(t, profiles[2], 'third', plugin_a_site=1000, plugin_b_site=5000, plugin_run=6000)


PLUGIN_SOURCE = '''
#include <stdlib.h>
%(lines)s
__attribute__((noinline)) static void *site_of_%(name)s(unsigned long size)
{
    void *block = malloc(size);
    __asm__ volatile("" : : "r"(block));
    return block;
}
void *plugin_run(unsigned long size)
{
    void *block = site_of_%(name)s(size);
    __asm__ volatile("" : : "r"(block));
    return block;
}
'''


@test
def lines_of_plugins(t):
    """Two plugins at one address, both gone when the profile is written: heaptap symbolize finds the lines of each."""
    t.need(find_program('gcc'), 'no gcc')
    for x, lines in (('a', 1), ('b', 100)):
        with open(t.path(x + '.c'), 'w') as file:
            file.write(PLUGIN_SOURCE % {'name': x, 'lines': '\n' * lines})
        t.run(['gcc', '-O1', '-g', '-shared', '-fPIC', '-Wl,--build-id,-Ttext-segment=0x200000000000',
               '-o', t.path('lib%s.so' % x), t.path(x + '.c')])
    script(t, 'load', t.path('liba.so'), 'run', 1000, 'close', 'load', t.path('libb.so'), 'run', 2000, 'close',
           'snapshot', t.path('1.pb.gz'))
    t.run([COMMAND, 'symbolize', t.path('1.pb.gz')])
    profile = t.load(t.path('1.pb.gz'))
    check_named(t, profile, 'with lines', site_of_a=1000, site_of_b=2000, plugin_run=3000)
    found = {(os.path.basename(l.mapping.filename), f.name, f.filename, line)
             for l in profile.locations if l.mapping for f, (_, line) in zip(l.functions, l.lines)
             if re.fullmatch('site_of_.|plugin_run', f.name)}
    t.equal(found, {('lib%s.so' % x, name, t.path(x + '.c'), lines + line)
                    for x, lines in (('a', 1), ('b', 100)) for name, line in (('site_of_' + x, 6), ('plugin_run', 12))},
            'files and lines')


@test
def plugin_comes_back(t):
    """A plugin that is loaded again is named from what is known, and its stacks go on."""
    a = copy(t, PLUGIN['a'], 'liba.so')
    profiles = script(t, 'load', a, 'run', 1000, 'close', 'snapshot', t.path('1.pb.gz'),
                      'load', PLUGIN['b'], 'run', 64, 'close', 'load', a, 'run', 1000,
                      'snapshot', t.path('2.pb.gz'))
    check_named(t, profiles[0], 'away', plugin_a_site=1000)
    check_named(t, profiles[1], 'back', plugin_a_site=2000, plugin_b_site=64)


@test
def deleted_before_any_profile(t):
    """A loaded library whose file is gone has the names it exports; others stand for themselves, and are right."""
    a = copy(t, PLUGIN['a'], 'liba.so')
    profile, = script(t, 'load', a, 'unlink', a, 'run', 1000, 'snapshot', t.path('1.pb.gz'))
    check_named(t, profile, 'deleted', plugin_run=1000)
    names = [s.names for s in profile.samples if 'plugin_run' in s.names]
    t.check(names and re.fullmatch(r'\[liba\.so\+0x[0-9a-f]+\]', names[0][0]), 'the leaf: %r' % names)


@test
def replaced_on_disk(t):
    """Another library under the name of the loaded one: its names are never taken; when the file is back, it is read."""
    a, b = copy(t, PLUGIN['a'], 'liba.so'), copy(t, PLUGIN['b'], 'libb.so')
    old, away = t.path('old.so'), t.path('away.so')
    profiles = script(
        t, 'load', a, 'rename', a, old, 'rename', b, a, 'run', 1000, 'snapshot', t.path('1.pb.gz'),
        'run', 500, 'rename', a, away, 'rename', old, a, 'snapshot', t.path('2.pb.gz'))
    check_named(t, profiles[0], 'replaced', plugin_run=1000, plugin_b_site=0)
    check_named(t, profiles[1], 'back', plugin_run=1500, plugin_a_site=1500, plugin_b_site=0)


@test
def program_deleted(t):
    """The program's own file is deleted, or replaced by another, while it runs: it has all its names."""
    for how in ('unlink', 'rename'):
        binary = copy(t, program('module_script'), 'running-' + how)
        other = copy(t, program('sites'), 'other')
        words = ['unlink', binary] if how == 'unlink' else ['rename', other, binary]
        profile, = script(t, *words, 'own', 1000, 'snapshot', t.path(how + '.pb.gz'), binary=binary)
        check_named(t, profile, how, site_own=1000, main=1000)
        t.equal(profile.mappings[0].filename, binary, 'the first mapping')


@test
def vdso(t):
    """A handler that interrupts clock_gettime() in the vdso: the frame has a name of the vdso's."""
    profile, = script(t, 'vdso', 200, 'snapshot', t.path('1.pb.gz'))
    frames = [(l.mapping.filename, l.names[0]) for l in profile.locations if l.mapping]
    names = {name for file, name in frames if file == '[vdso]'}
    if not names:
        raise Skip('no signal came while the vdso ran')
    t.note('in the vdso: %s' % ' '.join(sorted(names)))
    t.check(any('clock_gettime' in name for name in names), 'names: %r' % names)
    t.check(profile.with_function('site_reads_clock').alloc_bytes > 0, 'the stack ends there')


@test
def debugdata(t):
    """A stripped library with .gnu_debugdata has the names of its static functions."""
    tools = [find_program(name) for name in ('objcopy', 'strip', 'xz')]
    t.need(all(tools), 'no objcopy, strip or xz')
    t.need(b'liblzma' in t.run(['ldconfig' if find_program('ldconfig') is None else find_program('ldconfig'),
                                '-p']).out, 'no liblzma')
    bare = copy(t, PLUGIN['a'], 'bare.so')
    t.run(['strip', bare])
    t.run(['objcopy', '-S', '--keep-symbol=plugin_a_site', PLUGIN['a'], 'mini'])
    t.run(['xz', 'mini'])
    with_data = t.path('with.so')
    t.run(['objcopy', '--add-section', '.gnu_debugdata=mini.xz', bare, with_data])
    without, = script(t, 'load', bare, 'run', 1000, 'snapshot', t.path('1.pb.gz'))
    check_named(t, without, 'stripped', plugin_run=1000, plugin_a_site=0)
    profile, = script(t, 'load', with_data, 'run', 1000, 'snapshot', t.path('2.pb.gz'))
    check_named(t, profile, 'with .gnu_debugdata', plugin_run=1000, plugin_a_site=1000)


@test
def known_names_need_no_file(t):
    """The second profile of the same stacks opens none of the loaded files."""
    strace = find_program('strace')
    t.need(strace, 'no strace')
    log = t.path('log')
    argv = [strace, '-o', log, '-e', 'trace=open,openat', '-E', 'LD_PRELOAD=' + t.preload()['LD_PRELOAD']]
    env = {k: v for k, v in t.preload(at_exit=0).items() if k != 'LD_PRELOAD'}
    words = ['load', PLUGIN['a'], 'run', '1000', 'own', '10', 'snapshot', t.path('1.pb.gz'), 'snapshot', t.path('2.pb.gz')]
    result = t.run(argv + [program('module_script')] + words, env, status=None)
    t.need(result.status == 0, 'strace does not work here')
    with open(log) as file:
        lines = file.read().splitlines()
    starts = [i for i, line in enumerate(lines) if 'O_TMPFILE' in line]
    t.need(len(starts) == 2, 'no O_TMPFILE')
    opened = [[re.search(r'"(.*?)"', line).group(1) for line in part if 'open' in line] for part in
              (lines[starts[0] + 1:starts[1]], lines[starts[1] + 1:])]
    t.check(PLUGIN['a'] in opened[0], 'the first one opens %r' % opened[0])
    t.equal([path for path in opened[1] if not path.startswith('/proc/')], [], 'the second one opens')
    profile = t.load(t.path('2.pb.gz'))
    check_named(t, profile, 'the second', plugin_a_site=1000, site_own=10)


def jit_names(t, how, first, second, nothing):
    t.new_output('jit-' + how)
    result = t.run_preloaded([program('jit'), how, t.path(how + '.pb.gz')], cwd=t.directory)
    sites = truth(result.text)
    profile = t.load(t.path(how + '.pb.gz'))
    mappings = {l.mapping.filename for l in profile.locations
                if l.mapping and l.names[0] in (first, second, nothing)}
    t.equal(mappings, {'[jit]'} if how != 'none' else set(), how + ': mappings of made code')
    wanted = {}
    for name, site in (first, 'first'), (second, 'second'), (nothing, 'nothing'):
        wanted[name] = add(wanted.get(name, (0, 0, 0, 0)), sites[site].values)
    for name, values in wanted.items():
        t.equal(tuple(profile.with_function(name)), tuple(values), '%s: %s' % (how, name))
    t.check('third' not in profile.names(), 'what was put there later gives its name to what was there before')
    return t.path(how + '.pb.gz')


@test
def jit(t):
    """Code made at run time has the name that was written down, in a perf map, a jitdump or both, and the first one."""
    first, second = 'Function:~first /srv/app.js:1:10', 'foo::second'
    for how in 'map', 'dump', 'both':
        path = jit_names(t, how, first, second, '[anon]')
    jit_names(t, 'none', '[anon]', '[anon]', '[anon]')
    if find_program('go'):
        top = go_pprof(t, '-top', '-sample_index=alloc_space', path)
        t.check(first in top and second in top, 'go tool pprof shows:\n' + top)


JAVASCRIPT = '''
function site_of_a_buffer(i) { return Buffer.allocUnsafeSlow(20000 + i % 5000); }
function fill(kept) { for (let i = 0; i < 20000; i++) kept[i % 500] = site_of_a_buffer(i); }
fill([]); fill([]);
'''


@test
def node(t):
    """node --perf-basic-prof: functions of JavaScript are on the stacks of what they allocate, by their names."""
    path = find_program('node')
    t.need(path and t.run([path, '--version'], status=None).status == 0, 'no node')
    with open(t.path('script.js'), 'w') as file:
        file.write(JAVASCRIPT)
    # Its stacks go through code without unwind tables.
    t.run_preloaded([path, '--perf-basic-prof', '--interpreted-frames-native-stack', t.path('script.js')],
                    interval=65536, timeout=120)
    profile = t.only_profile()
    left = '/tmp/perf-%s.map' % os.path.basename(t.files()[0]).split('.')[1]
    if os.path.exists(left):
        os.unlink(left)
    named = sorted({n for l in profile.locations if l.mapping and l.mapping.filename == '[jit]' for n in l.names})
    t.note('%d names in [jit], such as %r' % (len(named), [n for n in named if 'site_of' in n][:3] or named[:3]))
    t.check(any('site_of_a_buffer' in name or '*fill ' in name for name in named), 'no function of ours: %r' % named[:20])
    whole = profile.total(lambda s: s.names[-1] == '_start' and any('JS:' in name for name in s.names))
    t.check(whole.alloc_bytes > 100 << 20, 'stacks through JavaScript that reach _start: %d bytes' % whole.alloc_bytes)


if __name__ == '__main__':
    main()
