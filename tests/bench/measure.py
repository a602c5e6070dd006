"""measure.py: runs each row in each column, in rounds, and keeps what it cost beside what its base cost.

Other work on the machine comes and goes within seconds and doubles what a run takes. So a column is compared with
the run of its base just before it, never with one of another time; a base is run again before every third of its
columns, which take turns in the order; and rounds go over all rows, so that each row sees all weathers. What is
printed is the median of the ratios of the pairs.
"""
import os
import statistics
import sys
import time

from rows import RunFailed

COLUMNS_EACH_BASE = 3
ROUNDS_MIN = 3


class Bench:
    """What a run needs: where the programs are, where it may write, and which part of its work it does."""

    def __init__(self, build, directory, scale):
        self.build, self.directory, self.scale = build, directory, scale

    def tool(self, name):
        return os.path.join(self.build, "tests", "bench", name)


def middle_half(values):
    """Its ends; of fewer than four values, all of them."""
    values = sorted(values)
    quarter = len(values) // 4
    return values[quarter], values[-1 - quarter]


class Ratio:
    def __init__(self, values):
        self.median, (self.low, self.high), self.count = statistics.median(values), middle_half(values), len(values)


class Results:
    """Of each row and column, a list of runs: [seconds, KiB] of a base, [seconds, KiB, base's seconds, base's KiB]
    of another. A plain dictionary, so that it can be kept as JSON."""

    def __init__(self, data=None):
        self.data = data or {"machine": [], "runs": {}, "failures": [], "absent": [], "dumps": {}}
        self.runs = self.data["runs"]

    def add(self, row, column, run):
        self.runs.setdefault(row, {}).setdefault(column, []).append(run)

    def fail(self, row, column, what):
        message = f"{row} with {column}: {what}"
        print(f"FAILED {message}", file=sys.stderr, flush=True)
        if message not in self.data["failures"]:
            self.data["failures"].append(message)

    def absent(self, what):
        if what not in self.data["absent"]:
            self.data["absent"].append(what)
            print(what, file=sys.stderr, flush=True)

    def of(self, row, column):
        """Of a base, its runs with all operations; with fewer, where no column of that many was measured."""
        of_row = self.runs.get(row, {})
        fewer = [runs for name, runs in of_row.items() if name.startswith(column + "/")]
        return of_row.get(column) or (fewer[0] if fewer else [])

    def ratio(self, row, column):
        runs = [run for run in self.of(row, column) if len(run) == 4 and run[2] > 0]
        return Ratio([run[0] / run[2] for run in runs]) if runs else None

    def seconds(self, row, column):
        runs = self.of(row, column)
        return statistics.median(run[0] for run in runs) if runs else None

    def peak_mib(self, row, column):
        runs = self.of(row, column)
        return statistics.median(run[1] for run in runs) / 1024 if runs else None

    def added_mib(self, row, column):
        runs = [run for run in self.of(row, column) if len(run) == 4]
        return statistics.median(run[1] - run[3] for run in runs) / 1024 if runs else None

    def spread(self, row, column):
        """How far the middle half of a base's own runs reaches, as a part of their median."""
        low, high = middle_half([run[0] for run in self.of(row, column)])
        return (high - low) / self.seconds(row, column)


def plan(row, columns, cells, number):
    """The runs of a round: (column, divisor of its operations), a base before those that it is the base of."""
    by_name = {column.name: column for column in columns}
    wanted = [c for c in columns if (row.name, c.name) in cells and c.base]
    for base in dict.fromkeys(c.base for c in wanted):
        family = [c for c in wanted if c.base == base]
        turn = number % len(family)
        family = family[turn:] + family[:turn]
        since, last = 0, None
        for column in family:
            divisor = column.divisor if row.unit == "ns" else 1
            if since == COLUMNS_EACH_BASE or divisor != last:
                yield by_name[base], divisor
                since, last = 0, divisor
            yield column, divisor
            since += 1


def attempt(bench, results, row, column, divisor):
    """One run, or None when it failed, which is told."""
    try:
        return list(row.run(bench, column, None, divisor))
    except RunFailed as e:
        results.fail(row.name, column.name, e)
        return None


def one_row(bench, results, row, columns, cells, number, keep=True):
    last = None
    for column, divisor in plan(row, columns, cells, number):
        run = attempt(bench, results, row, column, divisor)
        if not column.base:
            last = run
            if run and keep:
                results.add(row.name, column.name + ("" if divisor == 1 else f"/{divisor}"), run)
        elif run and last and keep:
            results.add(row.name, column.name, run + last)
        if run is None:  # once is enough: it would fail again, and take its time
            cells.difference_update({(row.name, c.name) for c in columns if column.name in (c.name, c.base)})


def warm_up(bench, results, rows, columns, cells):
    """A round that does not count, so that all is read from disk once: short loops in all columns, and programs,
    which cannot be short, in one of each family, or in none if it is only for a look."""
    short = Bench(bench.build, bench.directory, bench.scale / 20)
    for row in rows:
        some = [c for c in columns if (row.name, c.name) in cells and not c.rounds_max]
        if row.unit != "ns":
            some = list({c.base: c for c in some}.values()) if bench.scale == 1 else []
        kept = {(row.name, c.name) for c in some}
        left = set(kept)
        one_row(short, results, row, columns, left, 0, keep=False)
        cells -= kept - left


def measure(bench, results, rows, columns, cells, rounds, deadline):
    """Rounds until `deadline`, at least three, or `rounds` of them. What ran is in `results` all the time."""
    started, took, number = time.monotonic(), {}, 0
    warm_up(bench, results, rows, columns, cells)
    while rounds is None or number < rounds:
        if rounds is None:
            done = {c.name for c in columns if c.rounds_max and c.rounds_max <= number}
            cells = {cell for cell in cells if cell[1] not in done} or cells
        for row in rows:
            begun = time.monotonic()
            # The row's last round tells how long its next takes, which is too much or is not.
            if rounds is None and number >= ROUNDS_MIN and begun + took[row.name] > deadline:
                return
            one_row(bench, results, row, columns, cells, number)
            took[row.name] = time.monotonic() - begun
        number += 1
        print(f"round {number}: {(time.monotonic() - started) / 60:.1f} min", file=sys.stderr, flush=True)
        if not cells:
            return
