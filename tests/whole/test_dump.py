#!/usr/bin/env python3
"""While a profile is written, or a thread is stuck, all others go on: what takes a lock there hangs, and is ended
by an alarm."""
import os

from harness import PROGRAMS, check_exact, main, program, test, truth


def go_on(t, mode, library=None, last=()):
    """Runs blocked.c, which must come to its end; the profiles that it wrote meanwhile are valid."""
    path = t.path('meanwhile.pb.gz')
    result = t.run([program('blocked'), mode, path] + ([os.path.join(PROGRAMS, library)] if library else []),
                   t.linked())
    lines = [line for line in result.text.splitlines() if not line.startswith('site ')]
    for line in ('threads', 'profile of a child: written', 'set: 0') + tuple(last):
        t.check(line in lines, '%s: not said: %s' % (mode, line))
    for written in (path, path + '.child'):
        t.load(written)
    check_exact(t, t.only_profile(), truth(result.text))
    return lines


@test
def full_pipe(t):
    """A profile goes to a pipe that nobody reads: allocations, threads, forks and libraries go on."""
    lines = go_on(t, 'pipe', 'libplugin_a.so', ['closed: 0', 'to the pipe: 0'])
    t.check(lines.index('in the pipe') < lines.index('to the pipe: 0'), 'it was not blocked')


@test
def full_pipe_at_exit(t):
    """The program ends while a profile goes to a pipe that nobody reads: it waits a while, says so, and ends."""
    result = t.run([program('blocked'), 'exit', t.path('unused')], t.linked())
    t.equal(result.err_lines, ['heaptap: no profile: another one is being written, and does not end'], 'said')
    t.profiles(0)


@test
def waiting_constructor(t):
    """A thread waits in a library's constructor, with the loader's lock: the others sample, and write a profile."""
    go_on(t, 'constructor', 'libwaiting.so', ['profile: 0'])


@test
def waiting_callback(t):
    """A thread waits in a callback of dl_iterate_phdr(): the others sample, and a profile comes when it goes on."""
    go_on(t, 'callback', last=['profile: 0'])


if __name__ == '__main__':
    main()
