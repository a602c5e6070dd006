#!/usr/bin/env python3
"""What libheaptap.so exports, needs and imports; what libheaptap.a would clash with."""
import os
import re
import subprocess

from harness import SO, Failed, main, test

ALLOCATION = {'malloc', 'calloc', 'realloc', 'reallocarray', 'free', 'posix_memalign', 'aligned_alloc', 'memalign',
              'valloc', 'pvalloc', 'free_sized', 'free_aligned_sized', 'malloc_usable_size'}
# Taken over to write the profile of a process that runs no destructors, to notice that a library goes, to show the
# program its signals as they would be without us, and to keep our memory out of what is locked.
OTHERS = {'_exit', '_Exit', 'unshare', 'setns', 'prctl', 'capset', 'syscall', 'mlockall', 'dlclose', 'sigaction', 'signal',
          'bsd_signal', 'ssignal', 'sysv_signal', '__sysv_signal'}
PUBLIC = {'heaptap_version', 'heaptap_start', 'heaptap_stop', 'heaptap_set_interval', 'heaptap_snapshot',
          'heaptap_snapshot_fd', 'heaptap_statistics_sized', 'heaptap_anchor'}
# Every operator new and delete: plain, array, nothrow, aligned, sized.
OPERATORS = {'_Zn%sm%s' % (kind, suffix) for kind in 'wa'
             for suffix in ('', 'RKSt9nothrow_t', 'St11align_val_t', 'St11align_val_tRKSt9nothrow_t')}
OPERATORS |= {'_Zd%sPv%s' % (kind, suffix) for kind in 'la'
              for suffix in ('', 'm', 'RKSt9nothrow_t', 'St11align_val_t', 'mSt11align_val_t',
                             'St11align_val_tRKSt9nothrow_t')}


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout.decode()


def symbols(*flags):
    """name -> type"""
    found = {}
    for line in output('nm', '-D', *flags, SO).splitlines():
        words = line.split()
        found[words[-1].split('@')[0]] = words[-2]
    return found


def dynamic():
    return output('readelf', '-dW', SO)


@test
def exports(t):
    """The hooked functions, the public ones, and nothing else."""
    found = {name for name, kind in symbols('--defined-only').items() if kind not in 'A'}
    wanted = ALLOCATION | OPERATORS | PUBLIC | OTHERS
    t.equal(sorted(found - wanted), [], 'exported and not known')
    t.equal(sorted((ALLOCATION | OPERATORS | PUBLIC) - found), [], 'not exported')


@test
def needs(t):
    """Only libc is needed: libunwind would take over C++ exceptions, zlib clash with the program's own."""
    needed = set(re.findall(r'\(NEEDED\).*\[(.*)\]', dynamic()))
    t.equal(sorted(needed - {'libc.so.6', 'ld-linux-x86-64.so.2'}), [], 'needed')
    t.check('libc.so.6' in needed, 'libc is not needed?')


@test
def imports(t):
    """Nothing of C++ or libunwind is imported, and no function of malloc's family (we would call ourselves)."""
    found = set(symbols('--undefined-only'))
    t.equal(sorted(n for n in found if n.startswith(('_Unwind', '__cxa_throw', '_Z', 'unw_', '_U'))
                   and symbols('--undefined-only')[n] not in 'wv'), [], 'imported')
    t.equal(sorted(found & {'printf', 'fprintf', 'fopen', 'getenv', 'setenv', 'system', 'popen'}), [], 'imported')
    # What is too new keeps the library from loading on an older system.
    new = [line for line in output('readelf', '-W', '--dyn-syms', SO).splitlines()
           if re.search(r'GLIBC_2\.(3[89]|[4-9]\d)\b', line)]
    t.equal(new, [], 'imported from glibc above 2.37')


@test
def thread_locals(t):
    """Thread-local data is initial-exec and small: no call to __tls_get_addr, no lazy allocation."""
    t.check('__tls_get_addr' not in symbols('--undefined-only'), '__tls_get_addr is imported')
    t.check('STATIC_TLS' in dynamic(), 'no STATIC_TLS')
    sizes = [int(line.split()[5], 16) for line in output('readelf', '-lW', SO).splitlines()
             if line.split()[:1] == ['TLS']]
    if not sizes:
        raise Failed('no thread-local data?')
    t.note('%d bytes of thread-local data' % sum(sizes))
    t.check(sum(sizes) <= 256, '%d bytes of thread-local data' % sum(sizes))


@test
def linking(t):
    """Bound at load time, no text relocations, no executable stack, RELRO, a build id, a soname."""
    text = dynamic()
    t.check('TEXTREL' not in text, 'TEXTREL')
    t.check(re.search(r'BIND_NOW|FLAGS.*NOW', text), 'not bound at load time')
    t.check('SONAME' in text, 'no soname')
    t.check('RPATH' not in text and 'RUNPATH' not in text, 'a path of the build machine is in the library')
    headers = output('readelf', '-lW', SO)
    t.check('GNU_RELRO' in headers, 'no RELRO')
    t.check(not re.search(r'GNU_STACK.*RWE', headers), 'executable stack')
    t.check('Build ID' in output('readelf', '-nW', SO), 'no build id')


@test
def licences(t):
    """Of libiberty only the demanglers are in it: the rest comes without their exception to the LGPL."""
    local = {line.split()[-1] for line in output('nm', SO).splitlines()}
    t.check('rust_demangle_callback' in local, 'no symbols in %s' % SO)
    t.equal(sorted(n for n in local if n.startswith(('_sch_to', 'xmalloc', 'xrealloc', 'xstrdup', 'dlang_'))), [],
            'of libiberty')


@test
def size(t):
    """The library is small."""
    kib = os.path.getsize(SO) // 1024
    t.note('%d KiB' % kib)
    t.check(kib <= 2048, '%d KiB' % kib)


if __name__ == '__main__':
    main()
