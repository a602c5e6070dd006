#!/usr/bin/env python3
"""The functions of heaptap.h, from C and from C++, and the package: headers, pkg-config, archive."""
import errno
import os
import shutil

from harness import (BUILD, ROOT, Failed, check_exact, find_program, main, program, test, truth, Truth)

WANTED = {
    'set_interval': 0, 'start.running': 0, 'statistics.null': -errno.EINVAL,
    'path.file': 0, 'path.again': 0, 'path.missing': -errno.ENOENT, 'path.too_long': -errno.ENAMETOOLONG,
    'path.not_a_directory': -errno.ENOTDIR, 'path.empty': -errno.ENOENT, 'path.device': -errno.EEXIST, 'path.fifo': -errno.EEXIST,
    'path.link': len('/dev/null'), 'path.next_name': 0,
    'fd.file': 0, 'fd.still_open': 1, 'fd.socket': 0, 'fd.none': -errno.EBADF, 'fd.closed': -errno.EBADF,
    'fd.read_only': -errno.EBADF, 'fd.full': -errno.ENOSPC, 'fd.broken_pipe': -errno.EPIPE,
    'stop': 0, 'stop.twice': 0, 'start': 0, 'restarted': 0, 'interval.64k': 0, 'interval.snapshot': 0,
    'interval.absurd': -errno.EINVAL, 'interval.too_large': -errno.EINVAL, 'interval.largest': 0,
    'interval.auto': 0,
    'interval.zero': 0, 'interval.one': 0, 'parallel': 20, 'errno': 1234,
}


def values(text):
    return {line.split()[0]: line.split()[1] for line in text.splitlines() if len(line.split()) == 2}


def of_profile(text, prefix):
    """The truth lines of one of the profiles."""
    return {name.split(':')[1]: Truth(name.split(':')[1], site.how, site.values)
            for name, site in truth(text).items() if name.startswith(prefix + ':')}


def run_api(t, name):
    t.new_output(name)
    result = t.run([program(name), t.output], t.linked(at_exit=0))
    got = values(result.text)
    for key, wanted in WANTED.items():
        t.equal(got.get(key), str(wanted), key)
    t.equal(got.get('path.directory'), str(-errno.EEXIST), 'path.directory')
    t.equal(result.err, b'', 'standard error')
    return result.text, got


def load(t, name, **expected):
    path = os.path.join(t.output, name)
    if not os.path.exists(path):
        raise Failed('no ' + name)
    return t.load(path, **expected)


def check_profiles(t, name, text, got):
    for file in ('path.pb.gz', 'fd.pb.gz', 'socket.pb.gz'):
        check_exact(t, load(t, file, period=1, program=name), of_profile(text, 'first'), file + ': ')
    next_names = t.files(name + '.*')
    t.equal(len(next_names), 1, 'files of heaptap_snapshot(NULL)')
    check_exact(t, t.load(next_names[0]), of_profile(text, 'first'), 'NULL: ')

    restarted = load(t, 'restarted.pb.gz')
    sites = of_profile(text, 'restarted')
    # Blocks freed while sampling was off are known to be free, and nothing was recorded meanwhile but the one sample
    # at which the thread noticed.
    check_exact(t, restarted, {'site_api': sites['site_api']}, 'restarted: ')
    t.check(restarted.with_function('site_stopped').alloc_objects <= 1, 'recorded while stopped: %r' % (
        restarted.with_function('site_stopped'),))
    found, true = restarted.with_function('site_restarted').alloc_bytes, sites['site_restarted'].values.alloc_bytes
    t.check(true - (16 << 20) <= found <= true, 'after the restart: %d of %d bytes' % (found, true))

    # 64 MiB at 64 KiB: 1000 samples, so 20 % is six standard errors (1 in 500 million).
    sampled = load(t, 'interval.pb.gz', period=65536).with_function('site_sampled').alloc_bytes
    true = 64 * 1024 * 1000
    t.check(abs(sampled - true) < 0.2 * true + (1 << 20), 'at 64 KiB: %d of %d bytes' % (sampled, true))

    for i in range(4):
        for j in range(5):
            load(t, 'parallel-%d-%d.pb.gz' % (i, j))
    t.equal(len(t.files()), 4 + 1 + 1 + 20, 'files')
    t.equal((got['first.interval'], got['first.dropped'], got['stopped.interval']), ('1', '0', '0'), 'statistics')
    t.check(int(got['first.samples']) >= 1000 <= int(got['first.live']), 'samples: %r' % got['first.samples'])
    t.check(int(got['stopped.live']) <= int(got['first.live']) - 499, 'live: %r' % got['stopped.live'])
    t.check(int(got['stopped.profiles']) > int(got['first.profiles']), 'profiles: %r' % got['stopped.profiles'])
    t.equal(got['interval.interval'], '65536', 'interval in the statistics')
    t.equal({got[k] for k in got if k.endswith('memory_fits')}, {'1'}, 'memory within its limit')


@test
def api_c(t):
    """Every function, its results for good and bad arguments, and the profiles it writes."""
    text, got = run_api(t, 'api')
    check_profiles(t, 'api', text, got)


@test
def api_cc(t):
    """The same in C++."""
    text, got = run_api(t, 'api_cc')
    check_profiles(t, 'api_cc', text, got)


@test
def version(t):
    """heaptap_version(), the comment in the profile and the build agree."""
    with open(os.path.join(ROOT, 'meson.build')) as file:
        wanted = file.read().split("version: '")[1].split("'")[0]
    _, got = run_api(t, 'api')
    t.equal(got['version'], wanted, 'heaptap_version()')
    t.equal(load(t, 'path.pb.gz').comments[0], 'heaptap ' + wanted, 'first comment')


SERVICE = os.path.join(ROOT, 'tests', 'programs', 'sites.c')


@test
def installed(t):
    """meson install, then a program that knows nothing but `pkg-config heaptap`."""
    meson, pkg_config = find_program('meson'), find_program('pkg-config')
    t.need(meson and pkg_config, 'no meson or no pkg-config')
    t.need(os.path.exists(os.path.join(BUILD_DIRECTORY, 'build.ninja')), 'no build directory')
    root = t.path('root')
    t.run([meson, 'install', '--no-rebuild', '-C', BUILD_DIRECTORY, '--destdir', root], timeout=120)
    found = {f: os.path.join(d, f) for d, _, files in os.walk(root) for f in files}
    for name in ('heaptap', 'heaptap.h', 'heaptap.pc', 'libheaptap.so', 'libheaptap.a', 'heaptap.1'):
        t.check(name in found, name + ' was not installed')
    env = {'PKG_CONFIG_PATH': os.path.dirname(found['heaptap.pc']), 'PKG_CONFIG_SYSROOT_DIR': root}
    lib = os.path.dirname(found['libheaptap.so'])

    def compile(name, *flags, static=False):
        words = t.run([pkg_config, '--cflags', '--libs'] + ['--static'] * static + ['heaptap'], env).text.split()
        if static:  # the archive, and everything else as usual
            words = ['-l:libheaptap.a' if w == '-lheaptap' else w for w in words]
        t.run([find_program('cc') or find_program('gcc'), '-O2', '-fno-builtin', SERVICE, '-o', t.path(name)] +
              words + list(flags) + ['-lpthread'])
        t.new_output(name)
        result = t.run([t.path(name), '50000', 'keep'], dict(t.linked(), LD_LIBRARY_PATH=lib))
        check_exact(t, t.only_profile(period=1, program=name), truth(result.text), name + ': ')

    compile('shared')
    compile('archive', static=True)
    # The installed command finds the installed library.
    t.new_output('command')
    t.run([found['heaptap'], 'run', '--quiet', '--interval', '1', '--output',
           os.path.join(t.output, '%p.pb.gz'), '--', program('plain'), 'exit', '0'])
    t.only_profile(period=1, program='plain')
    shutil.rmtree(root)


BUILD_DIRECTORY = os.environ.get('TEST_BUILD_DIRECTORY') or BUILD


if __name__ == '__main__':
    main()
