"""theory.py: how far a sampled profile may be from the truth that tests/programs/estimator.c prints.

A block of s bytes is sampled with p = 1 - exp(-s / T), where T is the interval that the gap it lies in was drawn with,
and then counts as 1/p objects and s/p bytes; profiler/sample/README.md derives what follows from that. The errors
of blocks are independent, or at least none of them says anything about the mean of a later one, so their variances
y^2 (1-p)/p add up, with y = 1 for objects and y = s for bytes.
"""
import collections
import math

from pprof_reader import Values

Group = collections.namedtuple('Group', 'size interval count held number late')
# So many blocks of one size with one probability; of late ones their expected number.
Term = collections.namedtuple('Term', 'count size p')
Moments = collections.namedtuple('Moments', 'variance skewness kurtosis largest')
Z95 = 1.959963984540054


class Site:
    """What one process says of one site."""

    def __init__(self, name):
        self.name, self.groups, self.values = name, [], None

    def rows(self):
        """At most so many rows of a profile hold it: one for each power of two of sizes."""
        return len({group.size.bit_length() for group in self.groups})

    def __eq__(self, other):
        return isinstance(other, Site) and (self.groups, self.values) == (other.groups, other.values)


def processes(text):
    """The processes whose lines these are, in order: (pid, {name: Site})."""
    found = []
    for line in text.splitlines():
        word = line.split(' ')
        if word[0] == 'pid':
            found.append((int(word[1]), {}))
            continue
        sites = found[-1][1]
        site = sites.setdefault(word[1], Site(word[1]))
        if word[0] == 'site':
            site.values = Values(*(int(w) for w in word[3:7]))
        else:
            site.groups.append(Group(*(int(w) for w in word[2:7]), word[0] == 'late'))
    return found


def hit(size, interval):
    return 1.0 if interval == 1 else -math.expm1(-size / interval)


def terms(sites, first_interval):
    """name -> the blocks of the site, all of them and those that are in use at the end."""
    result = {name: ([], []) for name in sites}
    late = []
    for name, site in sites.items():
        for group in site.groups:
            if group.late:
                late.append((group.number, name, group))
            else:
                p = hit(group.size, group.interval)
                for blocks, count in zip(result[name], (group.count, group.held)):
                    blocks.append(Term(count, group.size, p))
    # How probable it is that the thread's gap was drawn with each interval.
    gap = {first_interval: 1.0}
    for _, name, group in sorted(late):
        for i in range(group.count):
            after = collections.Counter()
            for interval, odds in gap.items():
                p = hit(group.size, interval)
                for blocks in result[name][:1 if i % 2 else 2]:
                    blocks.append(Term(odds, group.size, p))
                after[interval] += odds * (1 - p)
                after[group.interval] += odds * p
            gap = after
    return result


def moments(of, in_bytes):
    """Of the error of one run's estimate: each block's is y (1/p - 1) with probability p, else -y. The largest error
    that one block makes comes last."""
    second = third = fourth = largest = 0.0
    for count, size, p in of:
        y, q = (size if in_bytes else 1), 1 - p
        second += count * y ** 2 * q / p
        third += count * y ** 3 * q * (q - p) / p ** 2
        fourth += count * y ** 4 * (q * (q ** 3 + p ** 3) / p ** 3 - 3 * (q / p) ** 2)
        if q > 0:
            largest = max(largest, y, y * q / p)
    if second == 0:
        return Moments(0.0, 0.0, 0.0, 0.0)
    return Moments(second, third / second ** 1.5, fourth / second ** 2, largest)


def variance_error(of, in_bytes):
    """The standard deviation of the variance that one run's profile carries: of each sampled block y^2 (1-p)/p^2."""
    return math.sqrt(sum(count * ((size if in_bytes else 1) ** 2 * (1 - p) / p) ** 2 * (1 - p) / p
                         for count, size, p in of))


def bennett(variance, largest, odds):
    """The error that a sum of independent terms exceeds with probability `odds` at most, on either side. No normal
    approximation: it holds where one block in a million is missed (Bennett 1962)."""
    if variance == 0:
        return 0.0
    wanted = math.log(2 / odds) * largest ** 2 / variance
    low, high = 0.0, 1.0
    while (1 + high) * math.log1p(high) - high < wanted:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if (1 + middle) * math.log1p(middle) - middle < wanted:
            low = middle
        else:
            high = middle
    return high * variance / largest


def confidence_range(value, variance):
    """The 95 % interval that heaptap prints; profiler/report/confidence.h says why."""
    if value <= 0 or variance <= 0:
        return value, value
    half = Z95 * variance / value / 2
    middle, reach = value + Z95 * half, Z95 * math.sqrt(variance + half * half)
    return max(middle - reach, 0.0), middle + reach
