#!/usr/bin/env python3
"""HEAPTAP_INTERVAL=auto over time: which interval, and what the samples took of the program's CPU time.

    python3 tests/bench/auto.py                         sqlite3, python3, redis, and a loop of 64-byte pairs
    ... --row redis --budget 0.5 --every 200ms          one of them, otherwise
    ... --pairs 5                                       and so often without heaptap, to compare the CPU time

Profiles are written by the clock; each says what had been spent by then. "share" is of the time since the
profile before, "so far" since the start. The first 12 MiB are recorded exactly whatever it takes, and the start
of the library is not counted: a short run may spend more than the budget. With --pairs, runs with and without
heaptap follow each other, and the median of the quotients of their CPU time is shown, profiles written included.
Needs Python 3.9 and nothing beside it.
"""
import argparse
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "whole"))

import harness  # noqa: E402
import machine  # noqa: E402
import pprof_reader  # noqa: E402
import redis  # noqa: E402
from tables import Table  # noqa: E402

SQL = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, mail TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2000000)
    INSERT INTO person SELECT n, hex(randomblob(12)), hex(randomblob(8)) || '@example.org' FROM number;
CREATE INDEX person_by_name ON person (name);
SELECT count(DISTINCT substr(name, 1, 6)) FROM person;
SELECT count(*) FROM person a JOIN person b ON a.name = b.name WHERE length(a.mail || b.mail) > 10;
"""

PYTHON = """
import json, time
d = [{"a": i, "b": [str(i)] * 3, "c": {"x": i * 1.5}} for i in range(3000)]
for _ in range(400):
    d = json.loads(json.dumps(d))
time.sleep(2)
for _ in range(400):
    d = json.loads(json.dumps(d))
"""


def run(test, argv, env, text=None):
    """CPU seconds of a program that runs to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    test.run(argv, env, timeout=300, input=text)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sqlite3(test, env):
    return run(test, [harness.find_program("sqlite3"), ":memory:"], env, SQL.encode())


def python3(test, env):
    return run(test, ["/usr/bin/python3", "-c", PYTHON], dict(env, PYTHONMALLOC="malloc"))


def loop(test, env):
    return run(test, [str(BUILD / "tests" / "bench" / "loops"), "tight", "150000000"], env)


def redis_server(test, env):
    """Busy, idle for three seconds, busy again."""
    server = redis.Redis(test, env=env)
    load = [harness.find_program("redis-benchmark"), "-p", str(server.port), "-n", "400000", "-q", "-P", "16", "-c",
            "10", "-r", "20000", "-d", "300", "-t", "set,get,lpush,hset"]
    test.run(load, timeout=200)
    test.run(["sleep", "3"])
    test.run(load, timeout=200)
    used = server.info("cpu")
    server.shutdown()
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


ROWS = {"sqlite3": sqlite3, "python3": python3, "redis": redis_server, "loop": loop}
BUILD = ROOT / "build"


def state(profile):
    spent, cpu = re.match(r"([\d.]+) ms, .* ([\d.]+) s of CPU time", profile.comment("time in samples")).groups()
    return (float(cpu), float(spent) / 1e3, int(profile.comment("interval").split()[0]),
            int(profile.comment("samples taken")))


def interval_text(interval):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if interval >= unit:
            return f"{interval / unit:g} {name}"
    return "every one" if interval == 1 else f"{interval} B"


def course(name, row, options):
    test = harness.Test(name)
    try:
        row(test, test.preload(interval="auto", budget=options.budget, every=options.every))
        rows, last = [], (0, 0, 1, 0)
        for profile in test.profiles():
            now = state(profile)
            cpu, spent = now[0] - last[0], now[1] - last[1]
            if cpu < 0.002:
                continue
            rows.append([f"{now[0]:.2f} s", interval_text(now[2]), f"{100 * spent / cpu:.2f} %",
                         f"{100 * now[1] / now[0]:.2f} %", str(now[3] - last[3])])
            last = now
        return Table(f"{name}, budget {options.budget} %",
                     ["CPU time", "interval", "share", "so far", "samples"], rows)
    finally:
        test.cleanup()


def quotients(name, row, options):
    found = []
    for _ in range(options.pairs):
        seconds = []
        for env in ({}, None):
            test = harness.Test(name)
            try:
                seconds.append(row(test, env if env is not None else
                                   test.preload(interval="auto", budget=options.budget)))
            finally:
                test.cleanup()
        found.append(seconds[1] / seconds[0])
    return [name, f"{statistics.median(found):.3f}", f"{min(found):.3f} to {max(found):.3f}"]


def main():
    global BUILD
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(BUILD), help="directory of the build")
    parser.add_argument("--row", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--budget", default="1")
    parser.add_argument("--every", default="500ms")
    parser.add_argument("--pairs", type=int, default=0)
    options = parser.parse_args()
    BUILD = pathlib.Path(options.build)
    os.environ["PATH"] += f":{BUILD / 'bin'}"  # where run-tests.sh puts redis-server, if it is not installed
    print("\n".join(machine.describe()) + "\n")
    for name in options.row:
        print(course(name, ROWS[name], options).text(), flush=True)
    if options.pairs:
        rows = [quotients(name, ROWS[name], options) for name in options.row]
        print(Table("CPU time with heaptap over that without", ["program", "median", "range"], rows).text())


main()
