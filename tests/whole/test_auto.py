#!/usr/bin/env python3
"""HEAPTAP_INTERVAL=auto, and other intervals while the program runs.

What it costs is measured by tests/bench/auto.py; here is what can be counted. Where numbers are estimates they
are compared with the truth in units of the error that the profile itself gives: six of them, so that a correct
profiler fails less than once in 100 million times for each comparison, of which there are 20."""
import math
import os
import re
import subprocess

from harness import COMMAND, check_exact, main, program, test, truth, wait_until
from pprof_reader import ZERO

SIGMAS = 6
FEW = 20  # samples, below which they say little of their error


def check_estimates(t, profile, sites, what):
    """Each site that allocated is right within the errors that the profile claims, where it has enough samples to
    tell its error; two of the four columns of all of them at least."""
    variances = profile.variance_by_function()
    longest = int(re.findall(r'\d+', profile.comment('interval'))[-1])
    compared = 0
    for name, site in sites.items():
        for column, title in enumerate(site.values._fields):
            wanted, got = site.values[column], profile.with_function(name)[column]
            variance = variances.get(name, ZERO)[column]
            if wanted == 0 or got * got < FEW * variance or variance == 0:
                continue
            # Rows are rounded to whole numbers, and a weight has 12 bits behind the point. And where the first part
            # was recorded exactly, no sample need be there of the rest: of 14 intervals, once in a million times.
            rounding = len(profile.samples) + 1e-3 * wanted
            rounding += 14 * longest / (1 if title.endswith('bytes') else site.values.alloc_bytes / site.values.alloc_objects)
            t.check(abs(got - wanted) <= SIGMAS * math.sqrt(variance) + rounding, '%s %s %s: %d, not %d, error %.0f' % (
                what, name, title, got, wanted, math.sqrt(variance)))
            compared += 1
    t.check(compared >= 2, '%s: only %d comparisons' % (what, compared))


@test
def small_is_exact(t):
    """A program that allocates 10 MB is recorded exactly, to the last byte"""
    result = t.run_preloaded([program('phases'), 'exact:10000000'], interval='auto')
    profile = t.only_profile(period=1)
    sites = {name: site for name, site in truth(result.text).items() if site.values.alloc_objects}
    check_exact(t, profile, sites)
    t.check(all(not any(s.variance) for s in profile.samples), 'an exact profile has errors')


@test
def busy_is_sampled(t):
    """One that allocates gigabytes is sampled, and its numbers are right within their errors"""
    for arguments in (['busy:6000000'], ['busy:3000000', 'quiet:20', 'busy:3000000']):
        t.new_output('-'.join(arguments).replace(':', '-'))
        result = t.run_preloaded([program('phases')] + arguments, interval='auto', timeout=120)
        profile = t.only_profile()
        sites = truth(result.text)
        check_estimates(t, profile, sites, ' '.join(arguments))
        total = sum(site.values.alloc_objects for site in sites.values())
        taken = int(profile.comment('samples taken'))
        t.check(taken < total / 4, 'of %d allocations %d were recorded' % (total, taken))
        t.check(' 1 to ' in profile.comment('interval'), profile.comment('interval'))
        t.note('%s: %d of %d recorded; interval: %s' % (' '.join(arguments), taken, total, profile.comment('interval')))


def ask_interval(t, pid, *arguments):
    return t.run([COMMAND, 'interval', str(pid)] + list(arguments)).text.strip()


def start_waiting(t, arguments, **values):
    process = t.start([program('phases')] + arguments, t.preload(**values), stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    t.equal(process.stdout.readline(), b'waiting\n', 'first line')
    return process


@test
def quiet_again(t):
    """The interval grows while the program is busy, and comes back to 1 when it is quiet"""
    process = start_waiting(t, ['busy:4000000', 'wait', 'quiet:3000'], interval='auto')
    busy = ask_interval(t, process.pid)
    t.check(re.fullmatch(r'auto \(every [0-9.]+ (B|KiB|MiB) now\)', busy), 'while busy: ' + busy)
    process.stdin.write(b'\n')
    process.stdin.flush()
    quiet = wait_until(lambda: ask_interval(t, process.pid) == 'auto (every allocation now)')
    t.check(quiet, 'still ' + ask_interval(t, process.pid))
    process.kill()
    t.finish(process)


@test
def changed_by_command(t):
    """heaptap interval changes it while the program runs, without bias"""
    steps = ['busy:400000', 'wait'] * 4
    process = start_waiting(t, steps, interval='4K')
    t.equal(ask_interval(t, process.pid), 'every 4 KiB', 'at first')
    for interval, said in (('64K', 'every 64 KiB; before: every 4 KiB'), ('1', 'every allocation; before: every 64 KiB'),
                           ('20000', 'every 19.5 KiB; before: every allocation')):
        t.equal(ask_interval(t, process.pid, interval), said, interval)
        process.stdin.write(b'\n')
        process.stdin.flush()
        t.equal(process.stdout.readline(), b'waiting\n', 'after ' + interval)
    t.equal(ask_interval(t, process.pid, '0'), 'off; before: every 19.5 KiB', 'off')
    t.check(ask_interval(t, process.pid, 'auto').startswith('auto (every '), 'auto')
    result = t.finish(process, input=b'\n')
    profile = t.only_profile()
    check_estimates(t, profile, truth(result.text), 'changed')
    t.equal(profile.comment('interval').split(',')[1].split(' so far')[0], ' 1 to 65536', 'the range')


@test
def memory_has_a_say(t):
    """Where memory runs short the interval stays long, whatever the budget would allow"""
    result = t.run_preloaded([program('many_stacks'), '16', '100'], interval='auto', budget='50', memory='4M')
    profile = t.only_profile()
    t.check(result.text and 'interval doubled' in ' '.join(profile.comments), profile.comments)
    t.equal(profile.comment('dropped'), '0', 'dropped')


@test
def run_says_so(t):
    """heaptap run chooses auto, within 1 % unless --budget says otherwise; a wrong one is refused"""
    for options, said in ([], 'recording, with up to 1 % of its CPU time, phases'), (
            ['--budget', '2.5'], 'recording, with up to 2.5 % of its CPU time, phases'), (
            ['--interval', '64K'], 'sampling every 64 KiB of phases'):
        result = t.run([COMMAND, 'run', *options, '--output', os.path.join(t.output, '%n-%p.pb.gz'), '--',
                        program('phases'), 'exact:1000'])
        t.check(said in result.err_lines[0], result.err_lines)
    result = t.run([COMMAND, 'run', '--budget', '0', '--', program('phases')], status=2)
    t.equal(len(result.err_lines), 1, 'lines')
    t.check('--budget 0 is refused: a percentage such as 1, 0.5 or 10, from 0.01 to 50' in result.err_lines[0],
            result.err_lines)


@test
def refused(t):
    """One line for each thing that is wrong, and nothing changes"""
    process = start_waiting(t, ['exact:10', 'wait'], interval='4K')
    pid = str(process.pid)
    for arguments, status, words in (
            ([], 2, 'no process is named'), (['x'], 2, 'x is not the number of a process'),
            ([pid, '12Q'], 2, '12Q is refused: auto, or a size'), ([pid, '2T'], 2, '2T is refused'),
            ([pid, '1', '2'], 2, 'one interval at a time: 1 or 2'), (['--fast', pid], 2, '--fast is not an option'),
            ([str(os.getpid()), '64K'], 1, 'has no heaptap in it'), (['999999999'], 1, '999999999')):
        result = t.run([COMMAND, 'interval'] + arguments, status=status)
        t.equal(len(result.err_lines), 1, ' '.join(arguments) + ': lines')
        t.check(words in ' '.join(result.err_lines), '%s: %r' % (arguments, result.err_lines))
    t.equal(ask_interval(t, pid), 'every 4 KiB', 'afterwards')
    t.finish(process, input=b'\n')


if __name__ == '__main__':
    main()
