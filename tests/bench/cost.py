#!/usr/bin/env python3
"""What heaptap costs whole programs: CPU time and peak memory with it, over the same without.

    python3 tests/bench/cost.py [--build DIR] [--pairs N] [--interval SIZE]

Runs in turn with and without, N pairs of each program, and prints the median of the ratios of the pairs with the
range of their middle half: other work on the machine disturbs single pairs, hardly the median. A program that is
not installed is left out with a word.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

SQL = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, mail TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 400000)
    INSERT INTO person SELECT n, hex(randomblob(12)), hex(randomblob(8)) || '@example.org' FROM number;
CREATE INDEX person_by_name ON person (name);
"""

PYTHON = """
import json
d = [{"a": i, "b": [str(i)] * 3, "c": {"x": i * 1.5}} for i in range(3000)]
for _ in range(60):
    d = json.loads(json.dumps(d))
"""

CXX = """
#include <map>
#include <regex>
#include <string>
#include <vector>
int main()
{
    std::map<std::string, std::vector<int>> map;
    std::regex expression("a(b|c)*d");
    return map.size() + std::regex_match("abcd", expression);
}
"""


def programs(directory):
    """name, command, environment, standard input"""
    sqlite = shutil.which("sqlite3")
    yield "sqlite3, 400,000 rows and an index", sqlite and [sqlite, ":memory:"], {}, SQL
    yield "python3, json, PYTHONMALLOC=malloc", ["/usr/bin/python3", "-c", PYTHON], {"PYTHONMALLOC": "malloc"}, ""
    compiler = None
    if shutil.which("g++"):
        source = os.path.join(directory, "regex.cc")
        pathlib.Path(source).write_text(CXX)
        subprocess.run(["g++", "-E", source, "-o", source + ".ii"], check=True)
        found = subprocess.run(["g++", "-print-prog-name=cc1plus"], check=True, stdout=subprocess.PIPE, text=True)
        compiler = [found.stdout.strip(), "-quiet", "-O1", source + ".ii", "-o", "/dev/null"]
    yield "g++ -O1, one file with <regex>", compiler, {}, ""


def run(command, environment, text):
    """CPU seconds and peak KiB of one run."""
    process = subprocess.Popen(command, env=dict(os.environ, **environment), stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL)
    process.stdin.write(text.encode())
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        sys.exit(f"{command[0]} failed: {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def main():
    parser = argparse.ArgumentParser(description="what heaptap costs whole programs")
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--interval", default="512K")
    arguments = parser.parse_args()
    library = os.path.join(os.path.abspath(arguments.build), "profiler", "libheaptap.so")
    if not os.path.exists(library):
        sys.exit(f"{library} is not there: meson setup build && meson compile -C build")
    preload = {"LD_PRELOAD": library, "HEAPTAP_INTERVAL": arguments.interval}

    print(f"{'interval ' + arguments.interval:38} CPU s   ratio (middle half)      peak MiB")
    with tempfile.TemporaryDirectory() as directory:
        for name, command, environment, text in programs(directory):
            if not command or not os.path.exists(command[0]):
                print(f"{name:38} not installed")
                continue
            pairs = []
            for _ in range(arguments.pairs + 1):
                plain = run(command, environment, text)
                pairs.append((plain, run(command, dict(environment, **preload), text)))
            pairs = pairs[1:]  # the first warms the caches
            ratios = sorted(with_us[0] / plain[0] for plain, with_us in pairs)
            quarter = len(ratios) // 4
            plain_cpu, plain_peak = (statistics.median(p[0][i] for p in pairs) for i in (0, 1))
            peak = statistics.median(p[1][1] for p in pairs)
            print(f"{name:38} {plain_cpu:5.2f}   {statistics.median(ratios):.3f} "
                  f"({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})   "
                  f"{plain_peak / 1024:6.1f} + {(peak - plain_peak) / 1024:.1f}", flush=True)


main()
