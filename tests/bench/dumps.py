"""dumps.py: what a profile costs when it is written: its size, and the CPU time it takes.

The profile is written at the end of the program, by dump.c, which is preloaded beside the profiler. heaptrack
writes all the time instead: its numbers are its stream's size and the CPU time of the process that reads it, which
does what the others do when they write: it adds up, and looks up the names.
"""
import glob
import os
import subprocess

import columns
from rows import RunFailed, metered

ROWS = ["churn-100k", "python3", "redis", "cc1plus"]
# heaptrack_interpret 1.4.0 of Debian 12 runs for a minute on cc1plus's stream and ends with std::bad_alloc;
# HEAPPROFILE, which makes programs forty times slower, would take half of the time that all of it has.
NOT = {("cc1plus", "heaptrack"), ("cc1plus", "heapprofile"), ("python3", "heapprofile"), ("redis", "heapprofile")}
COLUMNS = ["512K", "64K", "4K", "1", "jemalloc-512K", "jemalloc-4K", "heapprofile", "heaptrack"]


def clear(directory):
    for path in glob.glob(os.path.join(directory, "dump*")) + glob.glob(os.path.join(directory, "profile*")):
        os.unlink(path)


def of_heaptrack(bench, row, column):
    stream = os.path.join(bench.directory, "dump")
    row.run(bench, column, {"DUMP_HEAPTRACK_OUTPUT": stream}, column.divisor)
    size = os.path.getsize(stream)
    if not os.path.exists(columns.HEAPTRACK_INTERPRET):
        return size, None
    _, seconds, _ = metered(bench, [columns.HEAPTRACK_INTERPRET], {}, stream)
    return size, seconds


def dump(bench, row, column):
    """Bytes and CPU seconds of one profile."""
    clear(bench.directory)
    if column.name == "heaptrack":
        return of_heaptrack(bench, row, column)
    path = os.path.join(bench.directory, "dump")
    library = f"{bench.tool('dump.so')} {column.environment['LD_PRELOAD']}"
    row.run(bench, column, {"LD_PRELOAD": library, "BENCH_DUMP": path}, column.divisor)
    try:
        with open(path + ".seconds") as file:
            _, cpu = file.read().split()
        written = [path] if os.path.exists(path) else sorted(glob.glob(os.path.join(bench.directory, "profile*")))
        return os.path.getsize(written[0]), float(cpu)
    except (OSError, IndexError, ValueError) as e:
        raise RunFailed(f"no profile: {e}") from None


def measure(bench, results, rows, all_columns, cells, rounds):
    for row in rows:
        for column in all_columns:
            if (row.name, column.name) not in cells:
                continue
            try:
                for _ in range(rounds):
                    found = dump(bench, row, column)
                    results.data["dumps"].setdefault(row.name, {}).setdefault(column.name, []).append(found)
            except (RunFailed, OSError, subprocess.SubprocessError) as e:
                results.fail(row.name, column.name, f"dump: {e}")
    clear(bench.directory)
