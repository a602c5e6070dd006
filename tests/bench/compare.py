#!/usr/bin/env python3
"""What heaptap costs, beside other profilers: CPU time, peak memory, and what a profile takes.

    meson test -C build --benchmark -v              all of it, in 20 minutes
    python3 tests/bench/compare.py                  the same
    ... --section loops                             loops of nothing but allocations, heaptap alone
    ... --section programs                          python3, redis-server, jq, sqlite3, git, cc1plus, heaptap alone
    ... --section exact                             every allocation recorded, by heaptap and by heaptrack
    ... --section peers                             the profilers of jemalloc and gperftools, over their own allocators
    ... --section dump                              size of a profile, and the time to write it
    ... --row tight --row mixed --column 512K       what is named, of each section; both take several names
    ... --rounds 15                                 so many rounds, however long they take
    ... --save FILE; ... --load FILE --markdown     measured once, shown again
    ... --readme                                    measures, or with --load does not, and rewrites README.md's part

Rounds go over all rows until the time is over (--minutes), at least three of them; measure.py says how a column is
paired with its base. Profilers and programs that are not installed are left out with a word; a run that fails is
told, and the exit status is 1. Needs Python 3.9 and nothing beside it.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "whole"))

import columns  # noqa: E402
import dumps  # noqa: E402
import machine  # noqa: E402
import measure  # noqa: E402
import rows  # noqa: E402
import tables  # noqa: E402

SECTIONS = ["loops", "programs", "exact", "peers", "dump"]
README_BLOCK = re.compile(r"(<!-- cost: .*?-->\n).*?(<!-- end of cost -->)", re.S)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build"), help="directory of the build")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="all if not given")
    parser.add_argument("--row", nargs="+", action="extend", choices=[row.name for row in rows.ROWS], metavar="ROW")
    parser.add_argument("--column", nargs="+", action="extend", metavar="COLUMN")
    parser.add_argument("--rounds", type=int, help="instead of the time")
    parser.add_argument("--minutes", type=float, default=18, help="the time for all, 18 if not given")
    parser.add_argument("--quick", action="store_true", help="a twentieth of each loop: for a look, not for numbers")
    parser.add_argument("--save", metavar="FILE", help="keep what was measured")
    parser.add_argument("--load", metavar="FILE", help="show what was kept, measure nothing")
    parser.add_argument("--markdown", action="store_true", help="as the README has it")
    parser.add_argument("--readme", nargs="?", const=str(ROOT / "README.md"), metavar="FILE",
                        help="rewrite the part of README.md between its two comments")
    return parser.parse_args()


def cells_of(section):
    """The pairs of row and column that a section measures beside their bases."""
    ours, names = columns.OURS, [row.name for row in rows.ROWS]
    wanted = {
        "loops": ([row.name for row in rows.LOOPS], ours),
        "programs": ([row.name for row in rows.PROGRAMS], ours),
        "exact": (names, columns.EXACT),
        "peers": ([name for name in names if name != "cc1plus"], columns.PEERS),  # the small one says it in a sixth
        "dump": (dumps.ROWS, dumps.COLUMNS),
    }[section]
    cells = {(row, column) for row in wanted[0] for column in wanted[1]}
    return cells - dumps.NOT if section == "dump" else cells


def asked_for(options):
    """Pairs of row and column: those for the rounds, and those whose profile is written."""
    def chosen(sections):
        return {(row, column) for section in sections for row, column in cells_of(section)
                if (options.row is None or row in options.row) and (options.column is None or column in options.column)}

    sections = options.section or SECTIONS
    return chosen(s for s in sections if s != "dump"), chosen(s for s in sections if s == "dump")


def installed(results, all_columns, cells):
    """Of the rows and columns of these pairs those that are there; bases besides."""
    columns_there, rows_there = [], []
    names = {cell[1] for cell in cells}
    for column in all_columns:
        if column.environment is not None:
            columns_there += [column] if column.name in names or not column.base else []
        elif os.path.isabs(column.package):
            sys.exit(f"{column.package} is not there: meson setup build && meson compile -C build")
        elif column.name in names:
            results.absent(f"left out: {column.name}, for want of {column.package}")
    names = {cell[0] for cell in cells}
    for row in rows.ROWS:
        missing = row.missing() if row.name in names else None
        if missing:
            results.absent(f"left out: {row.name}, for want of {missing}")
        elif row.name in names:
            rows_there.append(row)
    return rows_there, columns_there


def prepared(bench, results, chosen):
    """The rows whose input could be made."""
    for row in chosen:
        try:
            row.prepare(bench)
            yield row
        except (OSError, subprocess.CalledProcessError) as e:
            results.fail(row.name, "its input", e)


def run(options, results, all_columns, directory):
    """All that was asked for; an interrupt ends it early, and what there is so far is shown."""
    bench = measure.Bench(os.path.abspath(options.build), directory, 0.05 if options.quick else 1)
    if not os.path.exists(bench.tool("meter")):
        sys.exit(f"{bench.tool('meter')} is not there: meson compile -C {options.build}")
    deadline = time.monotonic() + options.minutes * 60
    pairs, written = asked_for(options)
    rows_there, columns_there = installed(results, all_columns, pairs | written)
    try:
        rows_there = list(prepared(bench, results, rows_there))
        there = {(row.name, column.name) for row in rows_there for column in columns_there}
        # First, because it takes what it takes, and the rounds then have what is left.
        dumps.measure(bench, results, rows_there, columns_there, written & there, options.rounds or 1)
        if pairs & there:
            measure.measure(bench, results, rows_there, columns_there, pairs & there, options.rounds, deadline)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)


def all_tables(results, all_columns):
    return [
        tables.ratios(results, "Loops of nothing but allocations", rows.LOOPS, all_columns, columns.OURS),
        tables.ratios(results, "Whole programs", rows.PROGRAMS, all_columns, columns.OURS),
        tables.memory(results, "What they add to the peak memory", rows.PROGRAMS, all_columns, columns.OURS),
        tables.exact(results, rows.ROWS),
        tables.ratios(results, "Peers, over the same allocator without its profiler", rows.ROWS, all_columns,
                      columns.PEERS),
        tables.memory(results, "What peers add to the peak memory", rows.PROGRAMS, all_columns,
                      columns.PEERS + ["heaptrack"]),
        tables.dumped(results, rows.ROWS, all_columns),
        tables.goal_table(results, rows.ROWS),
    ]


# What the README has: what a user chooses by, of the rows that differ.
README_OURS = ["auto", "512K", "64K", "4K", "1"]
README_PEER_ROWS = ["tight", "churn-10", "python3", "redis", "sqlite3", "cc1plus-small"]
README_EXACT_ROWS = README_PEER_ROWS + ["churn-40", "threads", "jq", "git", "cc1plus"]


def readme_tables(results, all_columns):
    def some(names):
        return [row for row in rows.ROWS if row.name in names]

    return [
        tables.ratios(results, "Whole programs, at these intervals", rows.PROGRAMS, all_columns, README_OURS),
        tables.memory(results, "What that adds to their peak memory", rows.PROGRAMS, all_columns, README_OURS),
        tables.ratios(results, "Loops of nothing but allocations, also with hooks that do nothing", rows.LOOPS,
                      all_columns, ["empty"] + README_OURS),
        tables.exact(results, some(README_EXACT_ROWS)),
        tables.ratios(results, "Other profilers, over the allocator that they are part of", some(README_PEER_ROWS),
                      all_columns, columns.PEERS),
        tables.dumped(results, rows.ROWS, all_columns),
    ]


def markdown(results, all_columns):
    parts = ["On " + results.data["machine"][0] + ".\n"]
    parts += [table.markdown() for table in readme_tables(results, all_columns) if table]
    parts += [line + "\n" for line in ends(results)]
    return "\n".join(parts)


def text(results, all_columns):
    return "\n".join([table.text() for table in all_tables(results, all_columns) if table] + ends(results))


def ends(results):
    """What is not in the tables, and why."""
    return results.data["absent"] + ["FAILED " + what for what in results.data["failures"]]


def rewrite(path, block):
    page = pathlib.Path(path).read_text()
    if not README_BLOCK.search(page):
        sys.exit(f"{path} has no part between <!-- cost: ... --> and <!-- end of cost -->")
    pathlib.Path(path).write_text(README_BLOCK.sub(lambda found: found.group(1) + block + found.group(2), page))


def main():
    options = arguments()
    results = measure.Results(json.loads(pathlib.Path(options.load).read_text()) if options.load else None)
    with tempfile.TemporaryDirectory(prefix="heaptap-bench-") as directory:
        all_columns = columns.all_columns(os.path.abspath(options.build), directory)
        unknown = set(options.column or []) - {column.name for column in all_columns}
        if unknown:
            sys.exit(f"no such column: {' '.join(sorted(unknown))}; there are: "
                     f"{' '.join(column.name for column in all_columns)}")
        if not options.load:
            results.data["machine"] = machine.describe()
        print("\n".join(results.data["machine"]) + "\n", flush=True)
        if not options.load:
            run(options, results, all_columns, directory)
    if options.save:
        pathlib.Path(options.save).write_text(json.dumps(results.data) + "\n")
    print(markdown(results, all_columns) if options.markdown else text(results, all_columns), flush=True)
    if options.readme:
        rewrite(options.readme, markdown(results, all_columns))
    sys.exit(1 if results.data["failures"] else 0)


main()
