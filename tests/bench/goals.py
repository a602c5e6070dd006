"""goals.py: what heaptap promises to cost, and whether it does."""
from measure import Ratio

PROGRAMS = ["python3", "redis", "jq", "sqlite3", "git", "cc1plus", "cc1plus-small"]
CHURN = ["churn-10", "churn-40", "churn-100k", "threads"]

# rows, column, the most that the median of the ratios may be
RATIOS = [
    (["tight"], "512K", 1.20),
    (["mixed"], "512K", 1.22),
    (["churn-100k"], "512K", 1.03),
    (["realloc-3k", "calloc-3k"], "512K", 1.08),
    (PROGRAMS, "512K", 1.02),
    (["tight"], "4K", 2.5),
    (["mixed"], "4K", 10),
    (CHURN, "4K", 1.6),
    (["python3"], "4K", 1.25),
]

# More than an empty interposer, which is what preloading costs by itself.
OVER_EMPTY = [("tight", "512K", 0.04)]

# Recording everything, as a part of what heaptrack takes for it.
OF_HEAPTRACK = 1 / 3
OF_HEAPTRACK_ROWS = {"cc1plus": 1 / 2, "cc1plus-small": 1 / 2}


def of_heaptrack(row):
    return OF_HEAPTRACK_ROWS.get(row, OF_HEAPTRACK)


# Below this, what heaptrack adds is not told from noise, and nothing is a part of it.
HEAPTRACK_ADDS_MIN = 0.10


def excesses(results, row):
    """What interval 1 adds to a row and what heaptrack adds, as parts of the base, and the first as a part of the
    second, round by round, or None. None for all where one was not measured."""
    ours, theirs = results.ratio(row, "1"), results.ratio(row, "heaptrack")
    if not ours or not theirs:
        return None
    quotients = [(a / base_a - 1) / (b / base_b - 1)
                 for (a, _, base_a, _), (b, _, base_b, _) in zip(results.of(row, "1"), results.of(row, "heaptrack"))
                 if b / base_b - 1 >= HEAPTRACK_ADDS_MIN]
    told = quotients and theirs.median - 1 >= HEAPTRACK_ADDS_MIN
    return ours.median - 1, theirs.median - 1, Ratio(quotients) if told else None


def judged(ratio, limit):
    """The verdict on a median, with what the range says of it: a range on both sides of the limit leaves it open."""
    if ratio.median <= limit:
        return "ok" if ratio.high <= limit else "ok, within the noise"
    return "missed" if ratio.low > limit else "missed, within the noise"


def verdicts(results, rows):
    """row, what, goal, what came out, the verdict; for what was measured."""
    for names, column, limit in RATIOS:
        for name in names:
            ratio = results.ratio(name, column) if name in rows else None
            if ratio:
                yield name, column, f"<= {limit:.2f}", f"{ratio.median:.3f}", judged(ratio, limit)
    for name, column, more in OVER_EMPTY:
        ratio, empty = (results.ratio(name, c) if name in rows else None for c in (column, "empty"))
        if ratio and empty:
            limit = empty.median + more
            yield name, column, f"<= empty + {more:.2f} = {limit:.2f}", f"{ratio.median:.3f}", judged(ratio, limit)
    for name in rows:
        found = excesses(results, name)
        if found and found[2] is not None:
            limit = of_heaptrack(name)
            yield name, "1", f"<= {limit:.2f} of heaptrack", f"{found[2].median:.2f}", judged(found[2], limit)
