#!/usr/bin/env python3
"""Sampled profiles are unbiased, and as noisy as theory says.

A block of s bytes is sampled with p = 1 - exp(-s / interval), independently of all others, and then stands for
1/p objects and s/p bytes. So the estimate for a site is a sum of independent terms whose mean is the truth and
whose variance is  sum (1-p)/p  (objects) or  sum s^2 (1-p)/p  (bytes). RUNS processes, each with a seed of its
own from the kernel, are compared with that:

* The sum of the RUNS estimates of each site, in each of the four columns, and of all sites together, is
  within t of the truth, where t comes from Bernstein's inequality for bounded independent terms:
  P(|sum - mean| >= t) <= 2 exp(-t^2 / 2 / (V + M t / 3)).  It needs no normal approximation, so it holds for
  sites of four blocks as well. The odds are shared out over all comparisons (Bonferroni): a correct profiler
  fails here with probability 0.5 in 10,000 at most, per interval 0.25.
* The squared errors in units of the standard error average 1, over all sites with at least 8 expected
  samples a run: within 5 standard deviations, which a correct profiler leaves less than 0.1 in 10,000 times.

Together: a false alarm in less than 1 of 10,000 runs of this file."""
import concurrent.futures
import math
import re

from harness import check_exact, main, program, test, truth
from pprof_reader import Values

RUNS = 100
FALSE_ALARM_MEANS = 0.25e-4
SPREAD_SIGMAS = 5.0
EXPECTED_MIN = 8
# Kept out: chains of realloc, of many sizes each, and single blocks.
OTHER_SIZES = {'site_realloc_grow', 'site_realloc_shrink', 'site_realloc_moved', 'site_realloc_fails',
               'site_realloc_to_zero', 'site_free_sized', 'site_zero'}
MIXED_SMALL, MIXED_LARGE = 16, 65536


def groups(site, objects, total_bytes):
    """(count, size) pairs of blocks of one size."""
    if objects == 0:
        return []
    if site != 'site_mixed':
        return [(objects, total_bytes // objects)]
    large = (total_bytes - MIXED_SMALL * objects) // (MIXED_LARGE - MIXED_SMALL)
    return [(objects - large, MIXED_SMALL), (large, MIXED_LARGE)]


def moments(blocks, interval, in_bytes):
    """Variance of one run's estimate, and the largest error that one block can make."""
    variance = largest = 0.0
    for count, size in blocks:
        p = -math.expm1(-size / interval)
        unit = size if in_bytes else 1
        variance += count * unit * unit * (1 - p) / p
        largest = max(largest, unit * max(1.0, 1 / p - 1))
    return variance, largest


def bernstein(variance, largest, odds):
    """The t that an error exceeds with probability `odds` at most."""
    log = math.log(2 / odds)
    a = log * largest / 3
    return a + math.sqrt(a * a + 2 * log * variance)


def run_all(t, interval, budget):
    """RUNS profiles, two at a time, and the truth, which is the same in all."""
    texts = set()

    def one(number):
        # The temporary directory is read when all are done; %p keeps the names apart.
        result = t.run_preloaded([program('sites'), str(budget), 'keep'], interval=interval)
        texts.add(result.text)
        return number

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(RUNS)))
    t.equal(len(texts), 1, 'different truths')
    profiles = t.profiles(RUNS, period=interval, program='sites', limits=True)
    return profiles, {n: s for n, s in truth(texts.pop()).items() if n not in OTHER_SIZES}


def check_means(t, profiles, sites, interval):
    sums = {name: [0, 0, 0, 0] for name in sites}
    for profile in profiles:
        by_function = profile.by_function()
        for name in sites:
            sums[name] = [a + b for a, b in zip(sums[name], by_function.get(name, (0, 0, 0, 0)))]
    odds = FALSE_ALARM_MEANS / ((len(sites) + 1) * 4)
    for column, title in enumerate(Values._fields):
        in_bytes = title.endswith('bytes')
        of = (0, 1) if title.startswith('alloc') else (2, 3)
        all_blocks = []
        for name, site in sites.items():
            blocks = groups(name, site.values[of[0]], site.values[of[1]])
            all_blocks += blocks
            compare(t, name, title, sums[name][column], site.values[column], blocks, interval, in_bytes, odds)
        compare(t, 'all sites', title, sum(s[column] for s in sums.values()),
                sum(s.values[column] for s in sites.values()), all_blocks, interval, in_bytes, odds)


def compare(t, name, title, got, true, blocks, interval, in_bytes, odds):
    """`got` is the sum over all runs, `true` the truth of one."""
    variance, largest = moments(blocks, interval, in_bytes)
    allowed = bernstein(RUNS * variance, largest, odds)
    # Each run's figure is rounded to a whole number, a row at a time, and weights have a last bit.
    allowed += RUNS * 2 + 2e-5 * RUNS * true
    error = got - RUNS * true
    sigma = math.sqrt(RUNS * variance) or 1.0
    t.check(abs(error) <= allowed, '%s %s: mean %.1f, truth %d, error %.1f standard errors, allowed %.1f' % (
        name, title, got / RUNS, true, error / sigma, allowed / sigma))
    if name in ('all sites', 'site_mixed') and title == 'alloc_bytes':
        t.note('interval %d, %s: mean off by %+.2f %% (%+.2f standard errors; %.2f %% would fail)' % (
            interval, name, 100 * error / RUNS / true, error / sigma, 100 * allowed / RUNS / true))


def check_spread(t, profiles, sites, interval):
    squares, excess = [], 0.0
    for name, site in sites.items():
        blocks = groups(name, site.values.alloc_objects, site.values.alloc_bytes)
        if len(blocks) != 1:
            continue
        count, size = blocks[0]
        p = -math.expm1(-size / interval)
        if count * p < EXPECTED_MIN or count * (1 - p) < EXPECTED_MIN:
            continue
        sigma = math.sqrt(count * (1 - p) / p)
        for profile in profiles:
            error = profile.with_function(name).alloc_objects - site.values.alloc_objects
            squares.append((error / sigma) ** 2)
            excess += (1 - 6 * p * (1 - p)) / (count * p * (1 - p))
    n = len(squares)
    t.check(n >= 5 * RUNS, 'only %d errors to judge' % n)
    mean = sum(squares) / n
    sigma = math.sqrt((2 + excess / n) / n)
    t.note('interval %d: mean squared error %.3f of the expected, over %d (%.1f standard deviations)' % (
        interval, mean, n, (mean - 1) / sigma))
    t.check(abs(mean - 1) <= SPREAD_SIGMAS * sigma, 'the errors are %.3f times what they should be' % mean)


def check_interval(t, interval, budget):
    profiles, sites = run_all(t, interval, budget)
    check_means(t, profiles, sites, interval)
    check_spread(t, profiles, sites, interval)
    taken = [int(p.comment('samples taken') or 0) for p in profiles]
    t.check(len(set(taken)) > 10, 'the runs are all alike: %r samples' % sorted(set(taken)))


@test
def interval_512k(t):
    """100 runs at the default interval: no bias, and the spread of theory."""
    check_interval(t, 512 * 1024, 6 << 20)


@test
def interval_4k(t):
    """100 runs at 4 KiB: no bias, and the spread of theory."""
    check_interval(t, 4096, 1 << 20)


@test
def freed_is_zero(t):
    """At any interval, in-use is exactly 0 when everything is freed."""
    for interval in (4096, 64 * 1024, 512 * 1024):
        for arguments in (['4000000', 'free'], ['2000000', 'free', '4']):
            t.new_output('%d-%d' % (interval, len(arguments)))
            result = t.run_preloaded([program('sites')] + arguments, interval=interval)
            profile = t.only_profile(period=interval)
            held = profile.total(lambda sample: any(n.startswith('site_') for n in sample.names))
            t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), 'in use at interval %d' % interval)
            t.check(held.alloc_bytes > 0, 'nothing sampled at interval %d' % interval)
            t.check(truth(result.text), 'no truth')


@test
def memory_ends(t):
    """A million stacks in little memory: the interval doubles, the totals stay right, and the limit is kept.

    Six standard errors at the largest interval it came to, which most samples did not have: odds below 1 in
    500 million for each of the twelve comparisons."""
    for megabytes in (4, 8, 16):
        t.new_output('%dM' % megabytes)
        result = t.run_preloaded([program('many_stacks'), '20', '100'], interval=1, memory='%dM' % megabytes)
        count, total, kept, held = (int(n) for n in result.text.split())
        profile = t.only_profile()
        t.check('interval doubled' in ' '.join(profile.comments), 'the interval: %r' % profile.comments)
        used = [int(n) for n in re.findall(r'\d+', profile.comment('profiler memory'))]
        t.check(used[1] <= megabytes << 20 == used[2], 'memory: %r' % used)
        t.equal(profile.comment('dropped'), '0', 'dropped')
        p = -math.expm1(-100 / profile.period)
        for wanted, size, column in ((count, 1, 'alloc_objects'), (total, 100, 'alloc_bytes'),
                                     (kept, 1, 'inuse_objects'), (held, 100, 'inuse_bytes')):
            got = getattr(profile.total(), column)
            error = size * math.sqrt(wanted / size * (1 - p) / p)
            t.check(abs(got - wanted) <= 6 * error, '%s: %d, not %d' % (column, got, wanted))
        t.note('%d MiB: interval %d at the end' % (megabytes, profile.period))


@test
def interval_off(t):
    """HEAPTAP_INTERVAL=0 samples nothing, and still leaves a valid, empty profile."""
    t.run_preloaded([program('sites'), '1000000', 'keep'], interval=0)
    for profile in t.profiles():
        t.equal(tuple(profile.total()), (0, 0, 0, 0), 'total')


@test
def units(t):
    """1, 4K, 4k, 1M and 1G are what they say."""
    for text, period in (('1', 1), ('4096', 4096), ('4K', 4096), ('4k', 4096), ('1M', 1 << 20), ('1G', 1 << 30)):
        t.new_output(text)
        result = t.run_preloaded([program('sites'), '100000', 'keep'], interval=text)
        profile = t.only_profile(period=period)
        if period == 1:
            check_exact(t, profile, truth(result.text))


if __name__ == '__main__':
    main()
