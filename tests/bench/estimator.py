#!/usr/bin/env python3
"""How right sampled profiles are: bias and spread of each site of tests/programs/estimator.c, beside other profilers.

    python3 tests/bench/estimator.py                     1,000 runs at 64 KiB, in two minutes on two cores
    ... --interval 512K --runs 200 --minutes 10          at 512 KiB, 64 KiB or 4 KiB; it ends when either is reached
    ... --profiler heaptap                               some of them: heaptap, jemalloc, jemalloc-summed, gperftools
    ... --column alloc_bytes                             other columns than those in use, which all profilers have
    ... --markdown

In each round the program runs once under each profiler, which writes what it knows when the program ends. jemalloc's
profile is read as jeprof reads it: the objects and bytes of each stack are multiplied by 1 / (1 - exp(-size /
interval)), with the mean size of the stack. Since 5.3 it writes such numbers that this comes out right; before,
and with prof_unbias:false (jemalloc-summed), it wrote the sums. gperftools' text has a line for each block, and is
read the same way. Stacks are matched with the program's functions by address. Under heaptap the interval changes while
the program runs; the others have one, or forget what they have when it is changed, so for them the sites about that
are like the rest.

A cell is the bias ± its standard error, and in parentheses the standard deviation of one run, all in % of the truth.
Of heaptap a line for each column says how that is beside theory. Needs Python 3.9, nm, and what the tests need."""
import argparse
import concurrent.futures
import glob
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "whole"))

import harness  # noqa: E402
import machine  # noqa: E402
import pprof_reader  # noqa: E402
import theory  # noqa: E402

COLUMNS = list(pprof_reader.Values._fields)
INTERVALS = {"512K": 512 << 10, "64K": 64 << 10, "4K": 4 << 10}
KURTOSIS_MAX, VARIANCE_MIN = 0.3, 3.0  # as in test_estimator.py
ODD_SPREAD = 0.1
PROFILERS = ["heaptap", "jemalloc", "jemalloc-summed", "gperftools"]


class Symbols:
    """The program's functions by address."""

    def __init__(self, program):
        self.program, self.ranges = program, []
        listed = subprocess.run(["nm", "-S", program], stdout=subprocess.PIPE, text=True, check=True).stdout
        for line in listed.splitlines():
            word = line.split()
            if len(word) == 4 and word[2] in "tT" and word[3].startswith("site_"):
                self.ranges.append((int(word[0], 16), int(word[0], 16) + int(word[1], 16), word[3]))

    def site(self, pcs, base):
        """The first site that is on a stack of return addresses."""
        for pc in pcs:
            for start, end, name in self.ranges:
                if start <= pc - 1 - base < end:
                    return name
        return None


def scaled(objects, size, interval):
    """As jeprof does it."""
    if objects == 0:
        return 0.0, 0.0
    factor = 1 / -math.expm1(-size / objects / interval)
    return objects * factor, size * factor


def read_text(path, symbols):
    """A profile in the text form that both peers have: name -> four values. gperftools does not know what was allocated
    in all, and repeats what is in use."""
    text = pathlib.Path(path).read_text()
    interval = int(re.search(r"heap_v2/(\d+)", text).group(1))
    where = re.search(r"^([0-9a-f]+)-[0-9a-f]+ \S+ 0+ .*" + re.escape(symbols.program) + "$", text, re.M)
    base, values, pcs = int(where.group(1), 16), {}, None
    for line in text[:text.index("MAPPED_LIBRARIES")].splitlines()[1:]:
        stack = re.search(r"@ (0x.*)$", line)
        counts = re.match(r"\s*(?:t\*: )?(\d+): +(\d+) +\[ *(\d+): +(\d+)\]", line)
        if stack:
            pcs = [int(word, 16) for word in stack.group(1).split()]
        if not counts or pcs is None:
            continue
        name = symbols.site(pcs, base)
        current, accumulated = [int(n) for n in counts.groups()[:2]], [int(n) for n in counts.groups()[2:]]
        four = scaled(*accumulated, interval) + scaled(*current, interval)
        if name:
            values[name] = [a + b for a, b in zip(values.get(name, [0.0] * 4), four)]
    return values


class Heaptap:
    name, columns, missing = "heaptap", COLUMNS, None

    def __init__(self, build):
        self.library = os.path.join(build, "profiler", "libheaptap.so")

    def environment(self, interval, seed, output):
        return {"LD_PRELOAD": self.library, "HEAPTAP_INTERVAL": str(interval), "HEAPTAP_AT_EXIT": "1",
                "HEAPTAP_SEED": str(seed), "HEAPTAP_OUTPUT": output + ".%p.pb.gz"}

    def read(self, output, pid, symbols):
        profile = pprof_reader.load(f"{output}.{pid}.pb.gz")
        return profile.by_function(), profile.variance_by_function()


class Jemalloc:
    name, columns, package, more = "jemalloc", COLUMNS, "libjemalloc2", ""

    def __init__(self, build):
        self.library = harness.allocator("jemalloc")
        self.missing = None if self.library else self.package

    def environment(self, interval, seed, output):
        return {"LD_PRELOAD": self.library,
                "MALLOC_CONF": f"prof:true,prof_final:true,prof_accum:true,prof_prefix:{output},"
                               f"lg_prof_sample:{interval.bit_length() - 1}{self.more}"}

    def read(self, output, pid, symbols):
        return read_text(glob.glob(f"{output}.{pid}.*.heap")[0], symbols), None


class JemallocSummed(Jemalloc):
    """As before 5.3: what a stack's samples sum up to is written, and scaled by who reads it."""
    name, more = "jemalloc-summed", ",prof_unbias:false"


class Gperftools:
    name, columns, package = "gperftools", COLUMNS[2:], "libgoogle-perftools-dev"

    def __init__(self, build):
        self.library, self.shim = harness.allocator("tcmalloc"), os.path.join(build, "tests", "bench", "heap_sample.so")
        self.missing = None if self.library and os.path.exists(self.shim) else self.package

    def environment(self, interval, seed, output):
        return {"LD_PRELOAD": f"{self.library} {self.shim}", "TCMALLOC_SAMPLE_PARAMETER": str(interval),
                "HEAP_SAMPLE_OUTPUT": output}

    def read(self, output, pid, symbols):
        return read_text(f"{output}.{pid}", symbols), None


class Series:
    """One site in one column under one profiler, over all runs."""

    def __init__(self, true):
        self.true, self.got, self.variances = true, [], []

    @property
    def bias(self):
        return sum(self.got) / len(self.got) - self.true

    @property
    def deviation(self):
        mean = sum(self.got) / len(self.got)
        return math.sqrt(sum((got - mean) ** 2 for got in self.got) / max(len(self.got) - 1, 1))

    def cell(self):
        """In per cent."""
        if self.true == 0:
            return "0" if not any(self.got) else f"{self.bias:.0f}, not 0"
        unit = 100 / self.true
        error = self.deviation / math.sqrt(len(self.got))
        return f"{unit * self.bias:+.1f} ± {unit * error:.1f} ({unit * self.deviation:.0f})"


class Results:
    """What all runs under one profiler gave."""

    def __init__(self):
        self.sites, self.series = None, {}

    def add(self, sites, values, variances):
        self.sites = self.sites or sites
        for name, site in sites.items():
            for i, column in enumerate(COLUMNS):
                series = self.series.setdefault((name, column), Series(site.values[i]))
                series.got.append(values[name][i] if name in values else 0)
                if variances is not None:
                    series.variances.append(variances[name][i] if name in variances else 0.0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build"), help="directory of the build")
    parser.add_argument("--interval", choices=INTERVALS, default="64K")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--profiler", nargs="+", choices=PROFILERS)
    parser.add_argument("--column", nargs="+", choices=COLUMNS, default=["inuse_objects", "inuse_bytes"])
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args()


def chosen_profilers(options, build):
    """Those that are asked for and there."""
    for profiler in [kind(build) for kind in (Heaptap, Jemalloc, JemallocSummed, Gperftools)]:
        if options.profiler and profiler.name not in options.profiler:
            continue
        if profiler.missing:
            print(f"left out: {profiler.name}, for want of {profiler.missing}")
            continue
        yield profiler


def run(profiler, program, symbols, interval, seed, directory):
    """One run: the sites of the parent, and what the profiler says of them."""
    output = os.path.join(directory, f"{profiler.name}-{seed}")
    environment = dict(harness.clean_environment(), **profiler.environment(interval, seed, output))
    text = subprocess.run([program, str(interval)], env=environment, stdout=subprocess.PIPE, text=True, check=True,
                          timeout=60).stdout
    pid, sites = theory.processes(text)[-1]
    result = sites, *profiler.read(output, pid, symbols)
    for path in glob.glob(glob.escape(output) + ".*"):
        os.unlink(path)
    return result


def measure(options, profilers, program, directory):
    """Runs are taken in turns, two at a time, until there are enough or the time is over."""
    symbols, interval = Symbols(program), INTERVALS[options.interval]
    results = {profiler.name: Results() for profiler in profilers}
    deadline = time.monotonic() + options.minutes * 60

    def one(seed):
        if time.monotonic() > deadline:
            return None
        return [run(profiler, program, symbols, interval, seed, directory) for profiler in profilers]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(one, range(1, options.runs + 1)):
            for profiler, result in zip(profilers, found or []):
                results[profiler.name].add(*result)
    return results


def comparison(options, profilers, results):
    """The table: a row for each site, a column for each profiler and value."""
    head = ["site"] + [f"{column}, {profiler.name}" for column in options.column for profiler in profilers
                       if column in profiler.columns]
    names = list(results[profilers[0].name].sites)
    rows = []
    for name in names:
        row = [name.replace("site_", "")]
        for column in options.column:
            row += [results[p.name].series[name, column].cell() for p in profilers if column in p.columns]
        rows.append(row)
    return [head] + rows


def verdicts(results, interval):
    """heaptap beside theory: a line for each column."""
    terms = theory.terms(results.sites, interval)
    for column in COLUMNS:
        squares, odd, covered, cases, worst = [], [], 0, 0, (0.0, "")
        for name, site in results.sites.items():
            series = results.series[name, column]
            moments = theory.moments(terms[name][column.startswith("inuse")], column.endswith("bytes"))
            if moments.variance < VARIANCE_MIN * site.rows() or moments.kurtosis > KURTOSIS_MAX:
                continue
            runs = len(series.got)
            ratio = series.deviation / math.sqrt(moments.variance)
            squares.append(ratio ** 2)
            odd += [f"{name} {ratio:.2f}"] if abs(ratio - 1) > ODD_SPREAD else []
            worst = max(worst, (abs(series.bias) / math.sqrt(moments.variance / runs), name))
            ranges = (theory.confidence_range(*pair) for pair in zip(series.got, series.variances))
            covered += sum(low <= series.true <= high for low, high in ranges)
            cases += runs
        spread = math.sqrt(sum(squares) / len(squares))
        yield (f"{column}: the worst mean of {len(squares)} sites is that of {worst[1]}, off by {worst[0]:.1f} "
               f"standard errors; standard deviation {spread:.3f} of theory's, beyond a tenth of it: "
               f"{', '.join(odd) or 'none'}; "
               f"{100 * covered / cases:.2f} % of {cases} intervals hold the truth")


def shown(table, markdown):
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in table]
        return "\n".join([lines[0], "|" + " --- |" * len(table[0])] + lines[1:])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table)


def main():
    options = arguments()
    build = os.path.abspath(options.build)
    program = os.path.join(build, "tests", "programs", "estimator")
    for path in (program, os.path.join(build, "profiler", "libheaptap.so")):
        if not os.path.exists(path):
            sys.exit(f"{path} is not there: meson setup build && meson compile -C build")
    print("\n".join(machine.describe()) + "\n", flush=True)
    profilers = list(chosen_profilers(options, build))
    with tempfile.TemporaryDirectory(prefix="heaptap-bench-") as directory:
        results = measure(options, profilers, program, directory)
    runs = len(next(iter(results[profilers[0].name].series.values())).got)
    print(f"{runs} runs at {options.interval}: bias ± its standard error (standard deviation of a run), in %\n")
    print(shown(comparison(options, profilers, results), options.markdown) + "\n")
    if "heaptap" in results:
        print("\n".join(("- " if options.markdown else "") + line for line in
                        verdicts(results["heaptap"], INTERVALS[options.interval])))


main()
