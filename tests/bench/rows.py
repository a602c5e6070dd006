"""rows.py: what is run: loops of nothing but allocations (loops.c), and whole programs on generated input."""
import json
import os
import pathlib
import random
import shutil
import subprocess

import harness
import redis

TIMEOUT_SECONDS = 180


class RunFailed(Exception):
    """A run that says nothing about costs."""


class Row:
    """`unit` is what one of the numbers is printed as: "ns" for a loop's operation, "s" for a program."""

    unit = "s"

    def __init__(self, name, title):
        self.name, self.title = name, title

    def missing(self):
        """The package that is missing here, if any."""
        return None

    def prepare(self, bench):
        """Makes the input, once."""

    def run(self, bench, column, extra=None, divisor=1):
        """CPU seconds (for each operation, of a loop) and peak KiB of one run, with `extra` in its environment, of a
        loop with fewer operations."""
        raise NotImplementedError


def metered(bench, command, environment, text=None):
    """What a command printed, its CPU seconds and its peak KiB."""
    result = os.path.join(bench.directory, "metered")
    settings = [f"{name}={value}" for name, value in environment.items()]
    process = subprocess.Popen([bench.tool("meter"), result] + settings + ["--"] + command,
                               env=harness.clean_environment(), cwd=bench.directory, start_new_session=True,
                               stdin=open(text, "rb") if text else subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        harness.kill_group(process)
        process.communicate()
        raise RunFailed(f"still running after {TIMEOUT_SECONDS} s") from None
    except BaseException:  # an interrupt ends what was started as well
        harness.kill_group(process)
        process.wait()
        raise
    if process.returncode != 0:
        raise RunFailed(harness.stderr_tail(err))
    status, seconds, kib = pathlib.Path(result).read_text().split()
    if status != "0":
        how = f"signal {int(status) & 127}" if int(status) & 127 else f"status {int(status) >> 8}"
        raise RunFailed(f"{how} {harness.stderr_tail(err)}".strip())
    return out, float(seconds), int(kib)


class Loop(Row):
    unit = "ns"

    def __init__(self, name, title, operations):
        super().__init__(name, title)
        self.operations = operations

    def run(self, bench, column, extra=None, divisor=1):
        operations = max(1000, int(self.operations * bench.scale) // divisor)
        command = [bench.tool("loops"), self.name, str(operations)]
        out, _, kib = metered(bench, command, dict(column.environment, **(extra or {})))
        return float(out) * 1e-9, kib


class Program(Row):
    def __init__(self, name, title, program, prepare, environment=None):
        """`prepare(directory)`: the arguments of the program, and the file it reads, or None."""
        super().__init__(name, title)
        self.program, self.make, self.environment = program, prepare, environment or {}
        self.command, self.text = None, None

    def missing(self):
        return None if self.path() else self.program

    def path(self):
        if self.program == "cc1plus":  # the compiler proper: g++ itself only starts others
            compiler = shutil.which("g++")
            found = compiler and subprocess.run([compiler, "-print-prog-name=cc1plus"], stdout=subprocess.PIPE,
                                                text=True, check=True).stdout.strip()
            return found if found and os.path.isabs(found) else None
        if self.program == "python3" and os.path.exists("/usr/bin/python3"):
            return "/usr/bin/python3"  # the distribution's; the one on the PATH may be a script that starts it
        return harness.find_program(self.program)

    def prepare(self, bench):
        arguments, self.text = self.make(bench.directory)
        self.command = [self.path()] + arguments

    def run(self, bench, column, extra=None, divisor=1):
        environment = dict(self.environment, **dict(column.environment, **(extra or {})))
        _, seconds, kib = metered(bench, self.command, environment, self.text)
        return seconds, kib


class RedisServer(Row):
    """The server's own CPU time under a fixed load, of which getrusage() tells it and it tells us. Debian's is linked
    with jemalloc: that is what stands below heaptap here."""

    LOAD = ["-q", "-P", "16", "-c", "10", "-r", "20000", "-d", "300", "-t", "set,get,lpush,hset"]
    REQUESTS = 60000  # of each kind

    def missing(self):
        found = harness.find_program("redis-server") and harness.find_program("redis-benchmark")
        return None if found else "redis-server"

    @staticmethod
    def used(server):
        info = server.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def run(self, bench, column, extra=None, divisor=1):
        case = harness.Test("bench")
        try:
            server = redis.Redis(case, env=dict(column.environment, **(extra or {})))
            before = self.used(server)
            load = [harness.find_program("redis-benchmark"), "-p", str(server.port), "-n",
                    str(max(1000, int(self.REQUESTS * bench.scale)))]
            case.run(load + self.LOAD, timeout=TIMEOUT_SECONDS)
            seconds = self.used(server) - before
            status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
            kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            server.shutdown()
            if case.complaints:
                raise RunFailed("; ".join(case.complaints))
            return seconds, kib
        except (harness.Failed, OSError) as e:
            raise RunFailed(str(e)) from None
        finally:
            case.cleanup()


# --- the input of the programs ---------------------------------------------------------------------------------

SQL = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, mail TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 200000)
    INSERT INTO person SELECT n, hex(randomblob(12)), hex(randomblob(8)) || '@example.org' FROM number;
CREATE INDEX person_by_name ON person (name);
"""

PYTHON = """
import json
d = [{"a": i, "b": [str(i)] * 3, "c": {"x": i * 1.5}} for i in range(3000)]
for _ in range(40):
    d = json.loads(json.dumps(d))
"""

JQ = "group_by(.kind) | map({kind: .[0].kind, count: length, sum: (map(.value) | add), tags: [.[].tags[]] | unique})"

REGEX = """
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

SMALL = """
#include <map>
#include <string>
#include <vector>
int main()
{
    std::map<std::string, std::vector<int>> map;
    map["one"].push_back(1);
    return map.size();
}
"""


def write(directory, name, text):
    path = os.path.join(directory, name)
    pathlib.Path(path).write_text(text)
    return path


def sqlite(directory):
    return [":memory:"], write(directory, "input.sql", SQL)


def python(_):
    return ["-c", PYTHON], None  # not isolated by -I, which would leave out PYTHONMALLOC


def jq(directory):
    draw = random.Random(1)
    entries = [{"kind": f"kind {draw.randrange(50)}", "value": draw.randrange(10**6), "name": f"name of {i}",
                "tags": [f"tag {draw.randrange(200)}" for _ in range(3)]} for i in range(12000)]
    return [JQ, write(directory, "input.json", json.dumps(entries))], None


def compiler(name, source, options):
    def prepare(directory):
        path = write(directory, name + ".cc", source)
        subprocess.run(["g++", "-E", path, "-o", path + ".ii"], check=True)
        return ["-quiet", *options, path + ".ii", "-o", "/dev/null"], None
    return prepare


def git(directory):
    """A repository of 400 commits, each of which changes lines of three files of twenty; by one stream, so that it
    is the same everywhere."""
    draw = random.Random(1)
    files = [[f"line {draw.randrange(10**9)} of file {f}" for _ in range(600)] for f in range(20)]
    stream = []
    for commit in range(400):
        stream.append(f"commit refs/heads/main\ncommitter A <a@example.org> {10**9 + commit} +0000\ndata 6\nchange")
        for f in range(20) if commit == 0 else draw.sample(range(20), 3):
            for _ in range(10):
                files[f][draw.randrange(600)] = f"line {draw.randrange(10**9)} of commit {commit}"
            text = "\n".join(files[f]) + "\n"
            stream.append(f"M 100644 inline file-{f}.txt\ndata {len(text)}\n{text}")
    repository = os.path.join(directory, "repository.git")
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    subprocess.run(["git", "--git-dir", repository, "fast-import", "--quiet"], check=True,
                   input="\n".join(stream).encode())
    return ["--no-pager", "--git-dir", repository, "log", "-p", "main"], None


# --- all of them -----------------------------------------------------------------------------------------------

LOOPS = [
    Loop("tight", "pair of 64 B", 25_000_000),
    Loop("mixed", "mixed pair, 32k live", 2_000_000),
    Loop("churn-10", "churn, depth 10", 3_500_000),
    Loop("churn-40", "churn, depth 40", 1_400_000),
    Loop("churn-100k", "churn, 100k live", 1_200_000),
    Loop("threads", "churn, two threads", 2_000_000),
    Loop("cross", "freed by another thread", 2_500_000),
    Loop("realloc", "realloc, growing to 8 KiB", 12_000_000),
    Loop("realloc-3k", "realloc, 2 to 3 KiB", 2_000_000),
    Loop("calloc-3k", "calloc, 2 to 3 KiB", 5_000_000),
    Loop("aligned", "aligned, 256 and 512 B", 5_000_000),
]

PROGRAMS = [
    Program("python3", "python3, json, PYTHONMALLOC=malloc", "python3", python, {"PYTHONMALLOC": "malloc"}),
    RedisServer("redis", "redis-server under load"),
    Program("jq", "jq, 12,000 objects", "jq", jq),
    Program("sqlite3", "sqlite3, 200,000 rows and an index", "sqlite3", sqlite),
    Program("git", "git log -p, 400 commits", "git", git, {"GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}),
    Program("cc1plus", "cc1plus -O1, <regex>", "cc1plus", compiler("regex", REGEX, ["-O1"])),
    Program("cc1plus-small", "cc1plus -O1, <map>", "cc1plus", compiler("small", SMALL, ["-O1"])),
]

ROWS = LOOPS + PROGRAMS
