"""columns.py: what is compared: an allocator, with and without a profiler.

A column is an environment to run a program in. Its base is the same allocator without the profiler, and a column
without a base is one. So heaptap is held against glibc's malloc, jemalloc's profiler against jemalloc.
"""
import os

import harness

HEAPTRACK = "/usr/lib/heaptrack/libheaptrack_preload.so"
HEAPTRACK_INTERPRET = "/usr/lib/heaptrack/libexec/heaptrack_interpret"


class Column:
    """`environment` is None where `package` is missing.

    `divisor`: a loop is given so many times fewer operations, because each costs so much more; its base then as
    well. Their ratio is large beside the noise, so those where each allocation is recorded take part in
    `rounds_max` rounds at most where rounds are many.
    """

    def __init__(self, name, title, base, environment, package, divisor=1, rounds_max=None):
        self.name, self.title, self.base, self.environment = name, title, base, environment
        self.package, self.divisor, self.rounds_max = package, divisor, rounds_max


def preload(library, **settings):
    return dict(settings, LD_PRELOAD=library) if library and os.path.exists(library) else None


def all_columns(build, directory):
    """Each with its profiles, where it writes any, in `directory`."""
    heaptap = os.path.join(build, "profiler", "libheaptap.so")
    empty = os.path.join(build, "tests", "bench", "empty.so")
    jemalloc, tcmalloc = harness.allocator("jemalloc"), harness.allocator("tcmalloc")
    output = os.path.join(directory, "profile")

    def ours(name, title, divisor=1, rounds_max=None, interval=None):
        environment = preload(heaptap, HEAPTAP_INTERVAL=interval or name, HEAPTAP_OUTPUT=output + ".%p.%n.pb.gz")
        return Column(name, title, "plain", environment, heaptap, divisor, rounds_max)

    def jemalloc_prof(name, title, shift, divisor=1):
        options = f"prof:true,lg_prof_sample:{shift},prof_prefix:{output}"
        return Column(name, title, "jemalloc", preload(jemalloc, MALLOC_CONF=options), "libjemalloc2", divisor)

    return [
        Column("plain", "glibc", None, {}, None),
        Column("empty", "empty hooks", "plain", preload(empty), empty),
        ours("off", "off", interval="0"),
        ours("512K", "512 KiB"),
        ours("64K", "64 KiB"),
        ours("4K", "4 KiB", divisor=4),
        ours("auto", "auto"),
        ours("1", "every one", divisor=10, rounds_max=3),
        # Its stream goes where it costs least, and what reads it is another process, which is not counted.
        Column("heaptrack", "heaptrack", "plain", preload(HEAPTRACK, DUMP_HEAPTRACK_OUTPUT="/dev/null"),
               "heaptrack", divisor=10, rounds_max=3),
        Column("jemalloc", "jemalloc", None, preload(jemalloc), "libjemalloc2"),
        jemalloc_prof("jemalloc-512K", "its prof 512 KiB", 19),
        jemalloc_prof("jemalloc-4K", "its prof 4 KiB", 12, divisor=4),
        Column("tcmalloc", "tcmalloc", None, preload(tcmalloc), "libgoogle-perftools4"),
        Column("tcmalloc-512K", "sampled 512 KiB", "tcmalloc",
               preload(tcmalloc, TCMALLOC_SAMPLE_PARAMETER="524288"), "libgoogle-perftools4"),
        # It records every allocation, too, at up to 800 times the cost of a plain one. Only the profile at the end is
        # left of those it would write.
        Column("heapprofile", "HEAPPROFILE", "tcmalloc",
               preload(tcmalloc, HEAPPROFILE=output, HEAP_PROFILE_ALLOCATION_INTERVAL="0",
                       HEAP_PROFILE_INUSE_INTERVAL="0"),
               "libgoogle-perftools4", divisor=400, rounds_max=1),
    ]


OURS = ["empty", "off", "auto", "512K", "64K", "4K", "1"]
PEERS = ["jemalloc-512K", "jemalloc-4K", "tcmalloc-512K", "heapprofile"]
EXACT = ["1", "heaptrack"]
