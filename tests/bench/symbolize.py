#!/usr/bin/env python3
"""How often heaptap symbolize and others agree on functions, lines, files and inlined calls, and what it takes.

    python3 tests/bench/symbolize.py                         profiles of programs that this machine has, and of ours
    ... --run "./redis-server --port 7777" --run "..."       of these commands instead; they have to end by themselves
    ... --object /usr/bin/ceph-osd --debug-dir DIR           random addresses of an object
    ... --object FILE --random 10000 --seed 7 --judge        without a judge, which may take minutes: what it takes alone

The judges are llvm-symbolizer --inlines and eu-addr2line -i, where they are installed (llvm, elfutils), asked for the
names that the linker knows. For each address there is a chain of frames, which may differ in one of the KINDS below;
where no side is wrong that is set apart, for names or for lines or for both, and counted. Then time and peak memory (of
the largest process) of heaptap symbolize.
Needs Python 3.9 and nothing beside it.
"""
import argparse
import collections
import gzip
import os
import pathlib
import random
import re
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "whole"))

import harness  # noqa: E402
import machine  # noqa: E402
import pprof_reader  # noqa: E402
import symbols  # noqa: E402
from tables import Table  # noqa: E402

PYTHON = "import json, re, decimal; [json.loads('[1, {}]') for _ in range(5000)]; re.compile('a|b*'); help"
SQL = ("create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 20000) "
       "insert into t select x, hex(x) from c; create index i on t(b); select count(*) from t group by a % 7;")
C = "#include <stdio.h>\nint main(void) { for (int i = 0; i < 10; i++) printf(\"%d\", i); }\n"

ASKED_AT_ONCE = 20000
ROUNDS = 3
EXAMPLES_MAX = 5  # of what is not explained

Frame = collections.namedtuple("Frame", "function file line")

# kind -> (what it sets apart, what it means); what is not set apart, counts as a difference.
KINDS = {
    "part": ("name", "the judge names the part or copy of a function that gcc made: f.cold, f.part.0, f.constprop.0"),
    "symbol": ("name", "two names of one address: the judge takes the symbol table's, we that of the debug information"),
    "linker": ("name", "where gcc leaves the linker's name out, we take it from the symbol table, the judge does not"),
    "file symbol": ("name", "the judge takes the symbol of a source file for a function, after link-time optimization"),
    "unnamed": ("name", "the judge has no name for it, or that of the compiler: <lambda(int)>"),
    "line 0": ("line", "code without a line: one side has 0, the other that of its neighbour"),
    "only we": ("all", "the judge does not know the place"),
    "no debug": ("all", "the judge names it by the symbol before it, or its file, and has no line; we do not know it"),
    "padding": ("all", "between two functions: the judge has a line there, but no function"),
    "not asked": ("all", "the judge has only the innermost line: it finds no inlined calls without .debug_aranges"),
    "only they": (None, "we do not know the place, the judge does"),
    "chain": (None, "other inlined calls"),
    "name": (None, "another name"),
    "line": (None, "another line"),
    "file": (None, "another file"),
}


# --- what the judges say ---------------------------------------------------------------------------------

def location(text):
    file, line, _ = (text.rsplit(":", 2) + ["0", "0"])[:3] if text.count(":") >= 2 else (*text.rsplit(":", 1), "0")
    return ("" if file == "??" else os.path.normpath(file)), int(line) if line.isdigit() else 0


def frame(name, where):
    return Frame("" if name == "??" else name.split("@")[0], *location(where))


def llvm(path, addresses):
    """address -> chain"""
    said = subprocess.run([harness.find_program("llvm-symbolizer"), "--obj=" + path, "--inlines", "--functions=linkage",
                           "--no-demangle", "--output-style=LLVM"], input="".join("%#x\n" % a for a in addresses),
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace").stdout
    blocks = [block.split("\n") for block in said.split("\n\n")]
    chains = [[frame(*pair) for pair in zip(block[::2], block[1::2])] for block in blocks]
    return dict(zip(addresses, chains))


def elfutils(path, addresses):
    chains = {}
    said = subprocess.run([harness.find_program("eu-addr2line"), "-e", path, "-a", "-f", "-i", "-A"],
                          input="".join("%#x\n" % a for a in addresses), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, errors="replace").stdout
    for block in re.split(r"^(?=0x[0-9a-f]{16}$)", said, flags=re.M)[1:]:
        address, *lines = block.rstrip("\n").split("\n")
        names = [re.sub(r" inlined at .*", "", name) for name in lines[::2]]
        chains[int(address, 16)] = [frame(*pair) for pair in zip(names, lines[1::2])]
    return chains


JUDGES = {"llvm-symbolizer": llvm, "eu-addr2line": elfutils}


# --- what we say -----------------------------------------------------------------------------------------

class Work:
    """A directory, and how heaptap symbolize is run in it."""

    def __init__(self, options):
        self.test = harness.Test("symbolize")
        self.options = options
        self.directories = [word for d in options.debug_dir for word in ("--debug-dir", d)]

    def path(self, name):
        return self.test.path(name)

    def measure(self, profile):
        """Seconds and MiB of a run over a fresh copy."""
        copy, result = self.path("timed.pb.gz"), self.path("meter")
        with open(profile, "rb") as file, open(copy, "wb") as to:
            to.write(file.read())
        began = time.monotonic()
        subprocess.run([str(BUILD / "tests" / "bench" / "meter"), result, "--", harness.COMMAND, "symbolize", "--quiet",
                        *self.directories, copy], check=True, stdout=subprocess.DEVNULL, env=harness.clean_environment())
        seconds = time.monotonic() - began
        with open(result) as file:
            return seconds, int(file.read().split()[2]) / 1024

    def ask(self, path, addresses):
        """address -> chain, of all of an object's addresses; the profile that was asked with."""
        before, after = self.path("before.pb.gz"), self.path("after.pb.gz")
        with gzip.open(before, "wb", compresslevel=1) as file:
            file.write(symbols.address_profile(path, addresses))
        self.test.run([harness.COMMAND, "symbolize", *self.directories, before, "-o", after], timeout=600)
        chains = {}
        for address, lines in zip(addresses, symbols.places(after)):
            known = lines[0].name != "[somewhere]"
            chains[address] = [Frame(l.system_name or l.name, os.path.normpath(l.file) if l.file else "", l.line)
                               for l in lines] if known else []
        return chains, before

    def debug_file(self, path):
        """Where the judges find lines: in the file itself, or where its build id leads."""
        id = symbols.build_id(path)
        for directory in self.options.debug_dir + ["/usr/lib/debug"]:
            debug = os.path.join(directory, ".build-id", id[:2], id[2:] + ".debug")
            if id and os.path.exists(debug):
                return debug
        return path


def symbol_table(path):
    """Names that end with the linker's suffixes are of parts: address -> names of functions there."""
    found = collections.defaultdict(set)
    for option in ([], ["-D"]):
        said = subprocess.run(["nm", "--defined-only", *option, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True).stdout
        for line in said.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in "tTwWiVvu":
                found[int(words[0], 16)].add(words[2].split("@")[0])
    return found


# --- comparing -------------------------------------------------------------------------------------------

def without_suffix(name):
    return re.sub(r"(\.\d+)?\.(constprop|isra|part|cold|lto_priv|llvm|localalias)\b.*|\.\d+$", "", name)


def named(chain):
    return [f.function for f in chain]


def kinds_of(ours, theirs, table):
    """The KINDS in which they differ: one, or one of names and one of lines."""
    ours_known, theirs_known = any(f.file for f in ours), any(f.file for f in theirs)
    if not theirs or not (theirs_known or theirs[-1].function):
        return ["only we"] if ours else []
    if not ours_known and theirs_known and not theirs[0].function:
        return ["padding"]
    if not ours_known and theirs_known:
        return ["only they" if any(f.line for f in theirs) else "no debug"]
    if not ours:
        return ["no debug"]
    if ours_known and not theirs_known:
        return ["only we"]
    if len(ours) != len(theirs):
        return ["not asked" if len(theirs) == 1 and ours[0][1:] == theirs[0][1:] else "chain"]
    return [kind for kind in (kind_of_name(ours, theirs, table), kind_of_line(ours, theirs)) if kind]


def kind_of_line(ours, theirs):
    pairs = [(a.line, b.line) for a, b in zip(ours, theirs) if a.line != b.line]
    if pairs:
        return "line 0" if all(0 in pair for pair in pairs) else "line"
    return "file" if [f.file for f in ours] != [f.file for f in theirs] else None


def kind_of_name(ours, theirs, table):
    pairs = [(a.function, b.function) for a, b in zip(ours, theirs) if a.function != b.function]
    if not pairs:
        return None
    pairs = [(a, b) for a, b in pairs if without_suffix(a) != without_suffix(b)]
    if not pairs:
        return "part"
    if all(not b or "<lambda" in b or b == "operator()" for a, b in pairs):
        return "unnamed"
    if all(a.startswith("_Z") and re.sub("<.*", "", b) in a for a, b in pairs):
        return "linker"
    mine, yours = pairs[-1]
    if len(pairs) == 1 and mine == ours[-1].function:
        if re.search(r"\.[a-z]+\.[0-9a-f]{8}$", yours):
            return "file symbol"
        if table.get(yours.split("@")[0], set()) & table.get(mine, set()):
            return "symbol"
    return "name"


def compare(ours, theirs, names):
    """Counts of what agrees, kind -> [address, ours, theirs]. Names and lines are set apart each for itself."""
    counts, kinds = collections.Counter(), collections.defaultdict(list)
    for address, chain in theirs.items():
        mine = ours.get(address, [])
        found = kinds_of(mine, chain, names)
        for kind in found:
            kinds[kind].append((address, mine, chain))
        apart = {KINDS[kind][0] for kind in found}
        counts["addresses"] += 1
        counts["explained"] += bool(apart) and None not in apart
        if "all" in apart:
            continue
        same_length = "chain" not in found and "only they" not in found
        for what, wrong, aside in (("functions", "name", "name"), ("lines", "line", "line"), ("files", "file", "line"),
                                   ("chains", "chain", "")):
            if aside not in apart:
                counts["of " + what] += 1
                counts[what] += same_length and wrong not in found
    return counts, kinds


def share(counts, what):
    return f"{100 * counts[what] / counts['of ' + what]:.2f} %" if counts["of " + what] else "-"


def brief(chain):
    return " < ".join(f"{f.function[:60]} {os.path.basename(f.file)}:{f.line}" for f in chain[:4]) or "nothing"


class Results:
    def __init__(self, judges):
        self.judges = judges
        self.rows, self.times, self.kinds, self.totals = [], [], {}, {}

    def add(self, work, name, path, addresses):
        """All addresses of one object."""
        ours, profile = work.ask(path, addresses)
        measured = [work.measure(profile) for _ in range(ROUNDS)]
        self.times.append([name, str(len(addresses)), str(sum(any(f.file for f in c) for c in ours.values())),
                           str(sum(len(c) > 1 for c in ours.values())),
                           f"{statistics.median(m[0] for m in measured):.2f} s", f"{measured[0][1]:.0f} MiB"])
        debug = work.debug_file(path)
        names = {}
        for address, at in symbol_table(debug).items():
            for each in at:
                names.setdefault(each, set()).add(address)
        for judge in self.judges:
            if not harness.find_program(judge):
                continue
            theirs = {}
            for i in range(0, len(addresses), ASKED_AT_ONCE):
                theirs.update(JUDGES[judge](debug, addresses[i:i + ASKED_AT_ONCE]))
            self.count(name, judge, *compare(ours, theirs, names))

    def count(self, name, judge, counts, kinds):
        self.rows.append([name, judge, str(counts["addresses"]), str(counts["explained"]), share(counts, "functions"),
                          share(counts, "lines"), share(counts, "files"), share(counts, "chains")])
        self.totals.setdefault(judge, collections.Counter()).update(counts)
        for kind, examples in kinds.items():
            known = self.kinds.setdefault((judge, kind), [0, []])
            known[0] += len(examples)
            room = EXAMPLES_MAX if not KINDS[kind][0] else 1
            known[1] += [(name, *example) for example in examples[:room - len(known[1])]]

    def show(self):
        for judge, counts in self.totals.items():
            self.rows.append(["all", judge, str(counts["addresses"]), str(counts["explained"]),
                              share(counts, "functions"), share(counts, "lines"), share(counts, "files"),
                              share(counts, "chains")])
        print(Table("Agreement, of what is not set apart",
                    ["object", "judge", "addresses", "set apart", "functions", "lines", "files", "chains"],
                    self.rows).text())
        print("Disagreements, with examples\n")
        for (judge, kind), (count, examples) in sorted(self.kinds.items()):
            print(f"  {judge}, {kind}{'' if KINDS[kind][0] else ', NOT EXPLAINED'}: {count}. {KINDS[kind][1]}")
            for name, address, ours, theirs in examples:
                print(f"      {name} {address:#x}\n        we:   {brief(ours)}\n        they: {brief(theirs)}")
        print()
        print(Table(f"What heaptap symbolize takes, median of {ROUNDS}",
                    ["object", "addresses", "with lines", "inlined", "time", "peak"], self.times).text(), flush=True)


# --- what is asked for -----------------------------------------------------------------------------------

def objects_of(profile):
    """path -> addresses in the file, of what the profile's locations are in."""
    found = collections.defaultdict(set)
    for where in profile.locations:
        mapping = where.mapping
        if not mapping or not mapping.filename.startswith("/") or not os.path.exists(mapping.filename):
            continue
        if symbols.build_id(mapping.filename) != mapping.build_id:
            continue
        for address, offset, length in symbols.code_segments(mapping.filename):
            at = where.address - mapping.start + mapping.offset - offset + address
            if address <= at < address + length and abs(mapping.offset - offset) < length:
                found[mapping.filename].add(at)
    return {path: sorted(addresses) for path, addresses in found.items()}


def profiles_of(work, argv, interval):
    """Of a command and all it starts."""
    work.test.new_output("run")
    env = work.test.preload(interval=interval, depth=512, follow=1)
    work.test.run(argv, env, timeout=600, status=None)
    for path in work.test.files():
        yield pprof_reader.load(path)


def commands():
    """name -> (argv, interval): what this machine has."""
    found = {"python3": (["/usr/bin/python3", "-c", PYTHON], 512), "sqlite3": (["sqlite3", ":memory:", SQL], 64),
             "gcc": (["gcc", "-O2", "-g", "-x", "c", "hello.c", "-c", "-o", "hello.o"], 4096),
             "clang": (["clang", "-O2", "-x", "c", "hello.c", "-c", "-o", "hello.o"], 4096),
             "gdb": (["gdb", "-batch", "-ex", "info functions main", "/bin/true"], 4096)}
    return {name: command for name, command in found.items() if harness.find_program(command[0][0])}


def of_commands(work, results, wanted):
    with open(work.path("hello.c"), "w") as file:
        file.write(C)
    together = collections.defaultdict(set)
    for name, (argv, interval) in wanted.items():
        print(f"running {name}", file=sys.stderr)
        for profile in profiles_of(work, [harness.find_program(argv[0]) or argv[0]] + argv[1:], interval):
            for path, addresses in objects_of(profile).items():
                together[os.path.realpath(path)].update(addresses)
    for path, addresses in sorted(together.items(), key=lambda item: -len(item[1])):
        if len(addresses) >= work.options.least:
            results.add(work, os.path.basename(path), path, sorted(addresses))


def of_languages(work, results):
    """Every seventh byte of our own programs: what is between the calls, too."""
    for language in symbols.LANGUAGES:
        for variant in ([], ["-gdwarf-4"], ["-gsplit-dwarf"], ["-flto"]):
            if variant and "fortran" in language or language == "rust" and variant:
                continue
            try:
                program = symbols.Program(work.test, language, *variant, directory="src" + "".join(variant))
            except (harness.Skip, harness.Failed) as e:
                print(f"without {language} {variant}: {e}", file=sys.stderr)
                continue
            addresses = [a for start, _, length in symbols.code_segments(program.path)
                         for a in range(start, start + length, 7)][:20000]
            results.add(work, " ".join([language] + variant), program.path, addresses)


def of_object(work, results, path):
    random_ = random.Random(work.options.seed)
    segments = symbols.code_segments(path)
    addresses = set()
    while len(addresses) < work.options.random:
        start, _, length = random_.choices(segments, [s[2] for s in segments])[0]
        addresses.add(start + random_.randrange(length))
    results.add(work, os.path.basename(path), path, sorted(addresses))


def main():
    global BUILD
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build"), help="directory of the build")
    parser.add_argument("--run", action="append", default=[], metavar="COMMAND", help="addresses of its profiles")
    parser.add_argument("--interval", default="4096", help="for --run")
    parser.add_argument("--row", nargs="+", help="of the programs that are run by default, only these")
    parser.add_argument("--object", action="append", default=[], metavar="FILE", help="random addresses of it")
    parser.add_argument("--random", type=int, default=10000, metavar="NUMBER")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=int, default=20, help="addresses that an object of a profile must have")
    parser.add_argument("--debug-dir", action="append", default=[], metavar="DIRECTORY")
    parser.add_argument("--judge", nargs="*", default=list(JUDGES), choices=list(JUDGES))
    parser.add_argument("--languages", action="store_true", help="our own programs, and nothing else")
    options = parser.parse_args()
    BUILD = pathlib.Path(options.build)
    work, results = Work(options), Results(options.judge)
    print("\n".join(machine.describe()) + "\n")
    try:
        if options.run:
            of_commands(work, results, {c: (shlex.split(c), options.interval) for c in options.run})
        for path in options.object:
            of_object(work, results, os.path.realpath(path))
        if not options.run and not options.object:
            if not options.languages:
                of_commands(work, results, {n: c for n, c in commands().items() if not options.row or n in options.row})
            if not options.row:
                of_languages(work, results)
        results.show()
    finally:
        work.test.cleanup()


BUILD = ROOT / "build"
if __name__ == "__main__":
    main()
