"""tables.py: results as tables, for a terminal or as Markdown."""
import statistics

import dumps
import goals

NOISY = 0.10


class Table:
    """Cells are text; the first of each row names it."""

    def __init__(self, title, header, rows, notes=()):
        self.title, self.header, self.rows, self.notes = title, header, rows, list(notes)

    def text(self):
        lines = [self.header] + self.rows
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        printed = [self.title, ""]
        for line in lines:
            cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
            printed.append("  " + "  ".join(cells).rstrip())
        return "\n".join(printed + ["  " + note for note in self.notes]) + "\n"

    def markdown(self):
        lines = [self.header, ["---"] * len(self.header)] + self.rows
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("<", "&lt;")
        return "\n".join([f"{self.title}:", "", table] + [""] * bool(self.notes) + self.notes) + "\n"


def number(value):
    """Three digits, so that columns of 1.02 and of 61 are as easy to read."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def range_cell(ratio):
    return f"{number(ratio.median)} ({number(ratio.low)}-{number(ratio.high)})" if ratio else "-"


def ratio_cell(results, row, column):
    return range_cell(results.ratio(row, column))


def base_cell(results, row, column):
    """What the base takes; with a ~ where its own runs differ too much for the ratios to say a lot."""
    seconds = results.seconds(row.name, column)
    if seconds is None:
        return "-"
    noisy = "~" if results.spread(row.name, column) > NOISY else ""
    return noisy + (f"{number(seconds * 1e9)} ns" if row.unit == "ns" else f"{seconds:.2f} s")


def memory_cell(results, row, column):
    added = results.added_mib(row, column)
    return f"{added:+.1f}" if added is not None else "-"


def rounds_note(results, rows, names):
    counts = [len(results.of(row.name, name)) for row in rows for name in names if results.ratio(row.name, name)]
    if not counts:
        return []
    pairs = f"{min(counts)} to {max(counts)}" if min(counts) != max(counts) else f"{counts[0]}"
    return [f"Medians of {pairs} pair{'s' * (max(counts) > 1)}, with the range of their middle half."]


def noisy_note(results, rows, bases):
    if any(results.of(row.name, base) and results.spread(row.name, base) > NOISY for row in rows for base in bases):
        return [f"~ noisy: the middle half of the base's own runs reaches over more than {NOISY:.0%}."]
    return []


def titles(all_columns, names):
    by_name = {column.name: column.title for column in all_columns}
    return [by_name[name] for name in names]


def measured(results, names, candidates):
    """Those of the columns that have any result."""
    return [name for name in candidates if any(results.ratio(row, name) for row in names)]


def with_bases(results, rows, all_columns, names):
    """Of these rows and columns those with any result, the columns as (base, its columns)."""
    names = measured(results, [row.name for row in rows], names)
    rows = [row for row in rows if any(results.ratio(row.name, name) for name in names)]
    base_of = {column.name: column.base for column in all_columns}
    bases = dict.fromkeys(base_of[name] for name in names)
    return rows, [(base, [name for name in names if base_of[name] == base]) for base in bases]


def family_titles(all_columns, families):
    shown = []
    for base, family in families:
        shown += ["without"] if base == "plain" else titles(all_columns, [base])
        shown += titles(all_columns, family)
    return shown


def ratios(results, title, rows, all_columns, names):
    """What the columns cost, each over its base, which stands before them."""
    rows, families = with_bases(results, rows, all_columns, names)
    if not rows:
        return None
    lines = []
    for row in rows:
        line = [row.title]
        for base, family in families:
            line += [base_cell(results, row, base)] + [ratio_cell(results, row.name, name) for name in family]
        lines.append(line)
    return Table(title, ["CPU time"] + family_titles(all_columns, families), lines,
                 rounds_note(results, rows, [name for _, family in families for name in family]) +
                 noisy_note(results, rows, [base for base, _ in families]))


def memory(results, title, rows, all_columns, names):
    """What the columns add to the peak of their bases, each of which stands before them."""
    rows, families = with_bases(results, rows, all_columns, names)
    if not rows:
        return None
    lines = []
    for row in rows:
        line = [row.title]
        for base, family in families:
            peak = results.peak_mib(row.name, base)
            line += [f"{peak:.1f}" if peak is not None else "-"]
            line += [memory_cell(results, row.name, name) for name in family]
        lines.append(line)
    return Table(title, ["peak memory, MiB"] + family_titles(all_columns, families), lines)




def exact(results, rows):
    lines = []
    for row in rows:
        found = goals.excesses(results, row.name)
        if not found:
            continue
        base = results.seconds(row.name, "plain") * (1e9 if row.unit == "ns" else 1)
        ours, theirs = (f"{number(excess * base)} {row.unit}" for excess in found[:2])
        lines.append([row.title, base_cell(results, row, "plain"), ours, theirs, range_cell(found[2])])
    return Table("Recording every allocation: what heaptap (`--interval 1`) and heaptrack add",
                 ["CPU time", "without", "heaptap adds", "heaptrack adds", "heaptap / heaptrack"], lines,
                 ["Of the profiled process alone: neither writing heaptap's profile at the end nor the process that",
                  "reads heaptrack's stream is counted; the stream itself goes to /dev/null."]) if lines else None


def size_text(size):
    return f"{size / 1024:.0f} KiB" if size < 10 * 1024 * 1024 else f"{size / 1048576:.0f} MiB"


def dump_cell(found):
    if not found:
        return "-"
    size = statistics.median(size for size, _ in found)
    seconds = [seconds for _, seconds in found if seconds is not None]
    return f"{size_text(size)}, {statistics.median(seconds) * 1000:.0f} ms" if seconds else size_text(size)


def dumped(results, rows, all_columns):
    found = results.data["dumps"]
    names = [name for name in dumps.COLUMNS if any(name in of_row for of_row in found.values())]
    rows = [row for row in rows if row.name in found]
    if not rows:
        return None
    # Here no base stands beside "its prof", so it says whose.
    header = [("jemalloc prof" + n[len("jemalloc"):].replace("-", " ") if n.startswith("jemalloc") else t)
              for n, t in zip(names, titles(all_columns, names))]
    return Table("Profile: its size, and the CPU time to write it", ["profile"] + header,
                 [[row.title] + [dump_cell(found[row.name].get(name)) for name in names] for row in rows],
                 ["heaptrack's is its stream, and the time to interpret that."] if "heaptrack" in names else [])


def goal_table(results, rows):
    titles_of = {row.name: row.title for row in rows}
    lines = [[titles_of[name], column, goal, found, verdict]
             for name, column, goal, found, verdict in goals.verdicts(results, list(titles_of))]
    return Table("Goals", ["row", "interval", "goal", "median", "verdict"], lines) if lines else None
