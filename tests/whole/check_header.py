#!/usr/bin/env python3
"""heaptap.h compiles alone, as C11 and C++17, with gcc and clang, without a warning."""
import os
import re

from harness import ROOT, find_program, main, test

HEADER = os.path.join(ROOT, 'profiler', 'heaptap.h')
COMMON = ['-Wall', '-Wextra', '-pedantic', '-Werror', '-fsyntax-only', '-I', os.path.dirname(HEADER)]


def compile_with(t, compiler, language, standard, text, status=0):
    path = t.path('use.' + ('c' if language == 'c' else 'cc'))
    with open(path, 'w') as file:
        file.write(text)
    result = t.run([compiler, '-x', language, '-std=' + standard] + COMMON + [path], status=None)
    t.check((result.status == 0) == (status == 0), '%s -std=%s: status %d\n%s' % (
        compiler, standard, result.status, result.err.decode()))


USE = '''#include <heaptap.h>
#include <heaptap.h>
int use(struct heaptap_statistics *s);
int use(struct heaptap_statistics *s)
{
    const char *v = heaptap_version();
    return heaptap_start() + heaptap_stop() + heaptap_set_interval(1) + heaptap_snapshot(0) +
           heaptap_snapshot_fd(1) + heaptap_statistics(s) + (v == 0) + (int)s->samples;
}
'''


@test
def alone(t):
    """First and only include of a file, as each standard of C and C++."""
    compilers = [(c, cxx) for c, cxx in (('gcc', 'g++'), ('clang', 'clang++')) if find_program(c)]
    t.check(compilers, 'no compiler')
    t.need(len(compilers) == 2, 'only ' + compilers[0][0])
    for c, cxx in compilers:
        for standard in ('c99', 'c11', 'gnu17'):
            compile_with(t, c, 'c', standard, USE)
        for standard in ('c++11', 'c++17', 'c++20'):
            compile_with(t, cxx, 'c++', standard, USE)
        compile_with(t, c, 'c', 'c11', USE + 'int broken(void) { return heaptap_start(1); }\n', status=1)


@test
def says_what_it_is(t):
    """Every public function has a comment before it."""
    with open(HEADER) as file:
        lines = file.read().splitlines()
    declared = [i for i, line in enumerate(lines) if re.match(r'[a-z][\w *]*\bheaptap_\w+\(.*;$', line)]
    t.check(len(declared) >= 7, 'functions: %r' % [lines[i] for i in declared])
    for i in declared:
        t.check(lines[i - 1].endswith('*/') or i - 1 in declared, 'no comment before ' + lines[i])


if __name__ == '__main__':
    main()
