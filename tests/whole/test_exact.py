#!/usr/bin/env python3
"""At interval 1 every allocation is in the profile: objects and bytes of each site, in all four columns.

The programs (tests/programs/sites.c, sites.cc) print the truth about themselves. Over glibc and over the other
allocators, preloaded and linked."""
import os
import subprocess

from harness import (PROGRAMS, Failed, allocator, check_exact, main, program, test, truth)
from pprof_reader import ZERO, add

# What jemalloc lacks, glibc's would give and jemalloc could not take back, with or without heaptap.
WITHOUT_PVALLOC = {'SITES_WITHOUT': 'site_pvalloc'}


def need_program(t, name):
    t.need(os.path.exists(program(name)), name + ' was not built: no development package')


def sum_of(sites):
    total = ZERO
    for site in sites.values():
        total = add(total, site.values)
    return total


def check_nothing_else(t, profile, sites):
    """No row that main has asked for but no site: nothing counted twice under another name. (Its threads are
    glibc's own business.)"""
    for sample in profile.samples:
        if 'main' in sample.names and not sites.keys() & set(sample.names) and \
                'pthread_create' not in ' '.join(sample.names):
            t.complain('a row of no site: %s %r' % (' < '.join(sample.names), tuple(sample.values)))


def run_sites(t, arguments, env=None, name='sites', preload=(), linked=False):
    """Runs it, and judges the one profile it leaves against what it printed."""
    t.new_output('-'.join([name] + list(arguments)))
    full = dict(t.linked() if linked else t.preload(*preload), **(env or {}))
    result = t.run([program(name)] + list(arguments), full)
    sites = truth(result.text)
    profile = t.only_profile(period=1, program=name)
    check_exact(t, profile, sites)
    if '_cc' not in name:  # the C++ program has vectors of its own
        check_nothing_else(t, profile, sites)
    return profile, sites


def check_c(t, **how):
    """C, with half of the blocks kept, with none kept, and in four threads at once."""
    run_sites(t, ['300000', 'keep'], **how)
    profile, _ = run_sites(t, ['300000', 'free'], **how)
    held = profile.total(lambda sample: 'main' in sample.names)
    t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), 'in use after everything was freed')
    run_sites(t, ['100000', 'keep', '4'], **how)


def check_cc(t, name, **how):
    run_sites(t, ['200', 'keep'], name=name, **how)
    profile, sites = run_sites(t, ['200', 'free'], name=name, **how)
    held = profile.total(lambda sample: 'main' in sample.names)
    t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), 'in use after everything was freed')
    t.equal({n for n in profile.names() if n.startswith('operator ') and '(' in n}, set(),
            'names with parameters')
    return sites


@test
def preloaded_glibc(t):
    """Preloaded, over glibc, the profile is the truth and nothing but the truth."""
    check_c(t)
    profile, sites = run_sites(t, ['50000', 'keep'])
    t.equal(tuple(profile.total()), tuple(sum_of(sites)), 'the whole profile')
    t.equal(profile.comment('interval'), '1 bytes', 'comment interval')
    t.equal(profile.comment('dropped'), '0', 'comment dropped')


@test
def preloaded_cc(t):
    """Preloaded, C++: every operator new and delete, containers, short names."""
    check_cc(t, 'sites_cc')


@test
def linked_so(t):
    """Linked as a shared library, C and C++."""
    check_c(t, name='sites_so', linked=True)
    check_cc(t, 'sites_cc_so', linked=True)


@test
def linked_a(t):
    """Linked as an archive, C and C++."""
    check_c(t, name='sites_a', linked=True)
    check_cc(t, 'sites_cc_a', linked=True)


def over_preloaded(t, name):
    library = allocator(name)
    t.need(library, 'no ' + name + ' on this machine')
    check_c(t, preload=[library], env=WITHOUT_PVALLOC)
    check_cc(t, 'sites_cc', preload=[library])
    # The archive in the program comes before any preloaded library: the same chain by another way.
    run_sites(t, ['100000', 'keep'], name='sites_a', linked=True,
              env=dict(WITHOUT_PVALLOC, LD_PRELOAD=library))


def over_linked(t, name):
    need_program(t, 'sites_' + name)
    t.check(name in subprocess.run(['ldd', program('sites_' + name)], stdout=subprocess.PIPE)
            .stdout.decode(), 'sites_%s does not use %s' % (name, name))
    check_c(t, name='sites_' + name, env=WITHOUT_PVALLOC)
    check_cc(t, 'sites_cc_' + name)
    run_sites(t, ['100000', 'keep'], name='sites_so_' + name, linked=True, env=WITHOUT_PVALLOC)


@test
def jemalloc_preloaded(t):
    """Over jemalloc, preloaded behind us."""
    over_preloaded(t, 'jemalloc')


@test
def jemalloc_linked(t):
    """Over jemalloc, linked into the program."""
    over_linked(t, 'jemalloc')


@test
def mimalloc_preloaded(t):
    """Over mimalloc, preloaded behind us."""
    over_preloaded(t, 'mimalloc')


@test
def mimalloc_linked(t):
    """Over mimalloc, linked into the program."""
    over_linked(t, 'mimalloc')


@test
def tcmalloc_preloaded(t):
    """Over tcmalloc, preloaded behind us."""
    over_preloaded(t, 'tcmalloc_minimal')
    over_preloaded(t, 'tcmalloc')


@test
def tcmalloc_linked(t):
    """Over tcmalloc, linked into the program."""
    over_linked(t, 'tcmalloc')


@test
def other_forms(t):
    """At a fixed address, and as lld splits the segments: the same names."""
    run_sites(t, ['50000', 'keep'], name='sites_nopie')
    if os.path.exists(program('sites_lld')):
        run_sites(t, ['50000', 'keep'], name='sites_lld')
    else:
        t.note('no lld')


@test
def stripped(t):
    """Without symbols: the totals are exact, and the stand-in names say the same in every run."""
    names = []
    for turn in ('a', 'b'):
        t.new_output(turn)
        result = t.run_preloaded([program('sites_stripped'), '50000', 'keep'])
        profile = t.only_profile(period=1, program='sites_stripped')
        t.equal(tuple(profile.total()), tuple(sum_of(truth(result.text))), 'the whole profile')
        names.append({n for n in profile.names() if 'sites_stripped' in n})
    t.check(len(names[0]) >= 10, 'stand-ins: %r' % sorted(names[0])[:5])
    t.equal(names[0], names[1], 'stand-ins of the second run')
    t.check(all(n.startswith('[sites_stripped+0x') and n.endswith(']') for n in names[0]),
            'stand-ins: %r' % sorted(names[0])[:5])


@test
def build_ids(t):
    """The mappings carry the build ids that the files have."""
    t.run_preloaded([program('sites'), '50000', 'keep'])
    profile = t.only_profile()
    files = [m for m in profile.mappings if m.filename.startswith('/')]
    t.equal(profile.mappings[0].filename, os.path.realpath(program('sites')), 'mapping 1')
    t.check(len(files) >= 3, 'mappings: %r' % [m.filename for m in files])
    for m in files:
        notes = subprocess.run(['readelf', '-n', m.filename], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL).stdout.decode()
        id = notes.split('Build ID: ')[1].split()[0] if 'Build ID: ' in notes else ''
        t.equal(m.build_id, id, m.filename)
        headers = subprocess.run(['readelf', '-lW', m.filename], stdout=subprocess.PIPE).stdout.decode()
        wanted = [line.split() for line in headers.splitlines()
                  if line.strip().startswith('LOAD') and ' E ' in line.replace('R E', ' E ')]
        t.check(any(int(w[1], 16) == m.offset and int(w[5], 16) == m.limit - m.start for w in wanted),
                '%s: offset %#x, size %#x is no executable segment' % (m.filename, m.offset, m.limit - m.start))
    t.check(any(m.filename == '[vdso]' for m in profile.mappings), 'no [vdso] mapping')


@test
def early(t):
    """Allocations before the first constructor, with settings from the environment."""
    result = t.run_preloaded([program('early')])
    check_exact(t, t.only_profile(period=1), truth(result.text))


@test
def threads(t):
    """400 short threads, and allocations while their thread-local data is torn down."""
    result = t.run_preloaded([program('threads')])
    check_exact(t, t.only_profile(period=1), truth(result.text))


@test
def shims(t):
    """Beside a library that takes malloc over as well and calls dlsym for it, in either order."""
    shim = os.path.join(PROGRAMS, 'libshim.so')
    if not os.path.exists(shim):
        raise Failed('libshim.so was not built')
    run_sites(t, ['50000', 'keep'], preload=[shim])
    t.new_output('behind')
    env = t.preload()
    env['LD_PRELOAD'] = shim + ' ' + env['LD_PRELOAD']
    result = t.run([program('sites'), '50000', 'keep'], env)
    sites = truth(result.text)
    profile = t.only_profile(period=1)
    # The shim is the caller then.
    for name, site in sites.items():
        t.equal(tuple(profile.with_function(name)), tuple(site.values), 'behind a shim: ' + name)


if __name__ == '__main__':
    main()
