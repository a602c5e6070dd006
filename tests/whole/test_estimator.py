#!/usr/bin/env python3
"""Sampled profiles are unbiased for every site, as noisy as theory says, and say how noisy they are.

100 runs of estimator.c at 512 KiB, where they take longest, and 300 at 64 KiB and 4 KiB, each with another seed. Its
sites have blocks of 16 bytes to 4 MiB, two sizes on one stack, calloc, realloc and aligned blocks, blocks that are
freed at once, later or by another thread, and intervals that change; it forks, and its child has a profile of its own.
theory.py has the variances.

* Mean: in each of the four columns the mean error of each site is within SIGMAS standard errors of 0. Rows are rounded up
  or down at random, which adds a quarter to the variance at most. Where the blocks that decide it are too few for a normal distribution
  (a skewness of the sum beyond SKEWNESS_MAX), Bennett's inequality says what is exceeded as rarely.
* Spread: over all sites together the standard deviation is within a tenth of theory's. That of a single site is
  known to 7 % from 100 runs and to 4 % from 300, and SIGMAS of these are allowed: a tenth could not be told from
  chance. The benchmark's 1,000 runs can (tests/bench/estimator.py).
* Error: the mean of the variances that the profiles carry is theory's, within SIGMAS of its own standard errors, or
  more by what rounding adds.
* Coverage: the intervals as printed hold the truth in 93 to 97 of 100 cases, over all sites together. Of the
  totals there are only as many cases as runs, which vary by 2.2 of 100 in themselves.

Spread and coverage are of sites that have an error. Where nearly all blocks are sampled, an estimate is right in most
runs and off by a block in the others (a kurtosis beyond KURTOSIS_MAX), or by less than rows are rounded by (a variance
below VARIANCE_MIN for each row).

One thread runs at a time, so the same seeds give the same samples, and a build that passes goes on passing. With
other seeds, or after a change to what is drawn when, a correct profiler fails with a probability of about 1 in 25: some
420 means, half of which are the other half's in other units, at 6 in 100,000 each, and as many variances, whose
distribution has a longer tail, at 20 in 100,000."""
import concurrent.futures
import math

import pprof_reader
import theory
from harness import Failed, main, program, test, truth
from pprof_reader import Values

SIGMAS = 4.0
ODDS = math.erfc(SIGMAS / math.sqrt(2))
SKEWNESS_MAX = 0.1
KURTOSIS_MAX = 0.3
VARIANCE_MIN = 3.0
ROUNDING = 0.25
SPREAD = (0.9, 1.1)
COVERAGE = (0.93, 0.97)
MIXED = ['site_16_and_64k', 'site_64_and_1m', 'site_grown', 'site_changing']  # sizes or intervals, in one stack
COVERAGE_OF_TOTALS = 0.84  # 100 cases have fewer once in 30,000 times


class Estimate:
    """One site in one column, over all runs."""

    def __init__(self, name, title, true, rows, blocks):
        self.name, self.title, self.true, self.rows = name, title, true, rows
        self.moments = theory.moments(blocks, title.endswith('bytes'))
        self.variance_error = theory.variance_error(blocks, title.endswith('bytes'))
        self.got, self.variances = [], []

    def __str__(self):
        return '%s %s' % (self.name, self.title)

    @property
    def runs(self):
        return len(self.got)

    @property
    def has_error(self):
        return self.moments.variance >= VARIANCE_MIN * self.rows and self.moments.kurtosis <= KURTOSIS_MAX

    @property
    def mean_error(self):
        return sum(self.got) / self.runs - self.true

    @property
    def standard_error(self):
        return math.sqrt(self.moments.variance / self.runs)

    @property
    def mean_square(self):
        """Of the error, in units of the variance: 1 on average."""
        return sum((got - self.true) ** 2 for got in self.got) / self.runs / self.moments.variance

    @property
    def covered(self):
        """In how many runs the printed interval holds the truth."""
        ranges = (theory.confidence_range(*pair) for pair in zip(self.got, self.variances))
        return sum(low <= self.true <= high for low, high in ranges)

    def allowed_error(self):
        variance = self.runs * (self.moments.variance + (self.rows * ROUNDING if self.moments.variance > 0 else 0))
        if abs(self.moments.skewness) <= SKEWNESS_MAX * math.sqrt(self.runs):
            allowed = SIGMAS * math.sqrt(variance)
        else:
            allowed = theory.bennett(variance, self.moments.largest, ODDS)
        return allowed / self.runs


def estimates_of(sites, label, interval):
    """Those of each site and of all sites together; name -> the four."""
    result, everything = {}, [[], []]
    for name, blocks in theory.terms(sites, interval).items():
        site = sites[name]
        everything = [all + new for all, new in zip(everything, blocks)]
        result[name] = [Estimate(label + name, title, true, site.rows(), blocks[title.startswith('inuse')])
                        for title, true in zip(Values._fields, site.values)]
    result['all'] = [Estimate(label + 'all', title, sum(s.values[i] for s in sites.values()), len(sites),
                              everything[title.startswith('inuse')]) for i, title in enumerate(Values._fields)]
    return result


def run_all(t, interval, seeds, **settings):
    """One seed after the other, two at a time: what the processes of each said, and their profiles by pid."""
    def one(seed):
        result = t.run_preloaded([program('estimator'), str(interval)], interval=interval, seed=seed,
                                 output=t.path(t.output, '%d.%%p.pb.gz' % seed), **settings)
        return seed, theory.processes(result.text)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, seeds))


def collect(t, interval, seeds):
    """All estimates, of the parent's sites and of those that are its child's own."""
    parent, child, taken = None, None, set()
    for seed, said in run_all(t, interval, seeds):
        if len(said) != 2:
            raise Failed('seed %d: %d processes' % (seed, len(said)))
        (child_pid, child_sites), (parent_pid, parent_sites) = said
        if parent is None:
            first = said
            own = {name: site for name, site in child_sites.items() if site != parent_sites.get(name)}
            parent = estimates_of(parent_sites, '', interval)
            child = estimates_of(child_sites, 'child ', interval)
            child = {name: child[name] for name in list(own) + ['all']}
        t.equal([sites for _, sites in said], [sites for _, sites in first], 'the truth of seed %d' % seed)
        for pid, estimates in ((parent_pid, parent), (child_pid, child)):
            profile = t.load(t.path(t.output, '%d.%d.pb.gz' % (seed, pid)), program='estimator', limits=True)
            check_stacks(t, profile)
            add(estimates, profile)
            taken.add(profile.comment('samples taken'))
    t.check(len(taken) > 20, 'the runs are all alike: %r samples' % taken)
    return [estimate for group in (parent, child) for four in group.values() for estimate in four]


def check_stacks(t, profile):
    """What ought to be mixed in one stack, is."""
    for name in MIXED:
        stacks = {tuple(sample.location_ids) for sample in profile.samples if name in sample.names}
        t.equal(len(stacks), 1, 'stacks of ' + name)


def add(estimates, profile):
    """The figures of one profile."""
    def is_site(sample):
        return any(name.startswith('site_') for name in sample.names)

    values, variances = profile.by_function(), profile.variance_by_function()
    values['all'], variances['all'] = profile.total(is_site), profile.variance(is_site)
    for name, four in estimates.items():
        for i, estimate in enumerate(four):
            estimate.got.append(values[name][i] if name in values else 0)
            estimate.variances.append(variances[name][i] if name in variances else 0.0)


def check_means(t, estimates):
    for e in estimates:
        error = e.standard_error or 1.0
        t.check(abs(e.mean_error) <= e.allowed_error(),
                'mean: %s is %.1f, not %d: off by %.1f standard errors, %.1f allowed' % (
                    e, e.true + e.mean_error, e.true, e.mean_error / error, e.allowed_error() / error))
    worst = max((e for e in estimates if e.has_error), key=lambda e: abs(e.mean_error) / e.standard_error)
    t.note('%d means; the worst is %s, %+.2f standard errors (%+.1f %%)' % (
        len(estimates), worst, worst.mean_error / worst.standard_error, 100 * worst.mean_error / worst.true))


def check_spread(t, estimates):
    for title in Values._fields:
        those = [e for e in estimates if e.title == title and e.has_error]
        for e in those:
            allowed = SIGMAS * math.sqrt((2 + e.moments.kurtosis) / e.runs)
            t.check(abs(e.mean_square - 1) <= allowed, 'spread: %s: variance %.2f of the expected, %.2f allowed' % (
                e, e.mean_square, 1 + allowed))
        ratio = math.sqrt(sum(e.mean_square for e in those) / len(those))
        t.check(SPREAD[0] <= ratio <= SPREAD[1], 'spread: %s: %.3f of the expected' % (title, ratio))
        t.note('%s: standard deviation %.3f of the expected, over %d sites' % (title, ratio, len(those)))


def check_errors(t, estimates):
    worst = 0.0
    for e in estimates:
        mean, true = sum(e.variances) / e.runs, e.moments.variance
        if not e.has_error:
            continue
        excess = max(mean - true - e.rows * ROUNDING, 0) if mean > true else mean - true
        sigmas = excess / e.variance_error * math.sqrt(e.runs)
        worst = max(worst, sigmas, key=abs)
        t.check(abs(sigmas) <= SIGMAS, 'error: %s: the profiles carry %.3f of the variance: off by %.1f standard errors'
                % (e, mean / true, sigmas))
    t.note('the variances in the profiles: the worst mean is off by %+.2f standard errors' % worst)


def check_coverage(t, estimates):
    for title in Values._fields:
        those = [e for e in estimates if e.title == title and e.has_error]
        sites = [e for e in those if not e.name.endswith('all')]
        share = sum(e.covered for e in sites) / sum(e.runs for e in sites)
        totals = [e.covered / e.runs for e in those if e.name.endswith('all')]
        t.check(COVERAGE[0] <= share <= COVERAGE[1], 'coverage: %s: %.1f %% of the intervals hold the truth' % (
            title, 100 * share))
        for total in totals:
            t.check(total >= COVERAGE_OF_TOTALS, 'coverage: total %s: %.0f %%' % (title, 100 * total))
        t.note('%s: %.2f %% of %d intervals hold the truth; of totals %s' % (
            title, 100 * share, sum(e.runs for e in sites), ', '.join('%.0f %%' % (100 * total) for total in totals)))


def check_interval(t, interval, seeds):
    estimates = collect(t, interval, seeds)
    check_means(t, estimates)
    check_spread(t, estimates)
    check_errors(t, estimates)
    check_coverage(t, estimates)


@test
def interval_512k(t):
    """100 runs at 512 KiB: mean, spread and intervals of each site"""
    check_interval(t, 512 << 10, range(1, 101))


@test
def interval_64k(t):
    """300 runs at 64 KiB: the same"""
    check_interval(t, 64 << 10, range(101, 401))


@test
def interval_4k(t):
    """300 runs at 4 KiB: the same"""
    check_interval(t, 4 << 10, range(401, 701))


AUTO_RUNS, AUTO_SIGMAS, AUTO_BYTES, AUTO_BUDGET = 40, 6.0, 8000000, 20
AUTO_MANY = 100  # samples: what fewer say of their own error is not enough for six times that error
# A site of few samples and several sizes does not know of those that had none.
SEVERAL_SIZES = {'site_mixed', 'site_realloc_grow', 'site_realloc_shrink', 'site_free_sized'}


@test
def interval_auto(t):
    """40 runs whose interval follows the budget: no bias

    The interval depends on time, so no two runs are alike, and theory has no variance for them: the sums over all runs
    are judged by what the profiles say of their errors. So the budget is such that the interval is some 100 KiB,
    where gaps are cut and samples many. Six standard errors: a false alarm in less than one of a million runs."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(lambda _: t.run_preloaded([program('sites'), str(AUTO_BYTES), 'keep'], interval='auto',
                                                        budget=AUTO_BUDGET).text, range(AUTO_RUNS)))
    sites = truth(texts[0])
    got, variances, compared = {}, {}, 0
    for profile in t.profiles(AUTO_RUNS):
        for sums, new in ((got, profile.by_function()), (variances, profile.variance_by_function())):
            for name, four in new.items():
                sums[name] = pprof_reader.add(sums.get(name, pprof_reader.ZERO), four)
    for name in sorted(set(sites) & set(got) - SEVERAL_SIZES):
        for true, value, variance, title in zip(sites[name].values, got[name], variances.get(name, pprof_reader.ZERO),
                                                Values._fields):
            true *= AUTO_RUNS
            if true == 0 or variance == 0 or value ** 2 < AUTO_MANY * variance:
                continue
            compared += 1
            # As in confidence.h: the variance if this were the truth. Rows are rounded, one or two a site and run.
            allowed = AUTO_SIGMAS * math.sqrt(variance / value * true) + AUTO_RUNS
            t.check(abs(value - true) <= allowed, '%s %s: %d, not %d' % (name, title, value, true))
    t.note('%d means compared' % compared)
    t.check(compared > 40, 'only %d means compared' % compared)


if __name__ == '__main__':
    main()
