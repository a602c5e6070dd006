#!/usr/bin/env python3
"""The settings have one table, in the source. The manual and the README repeat it for people; this checks that
they say the same.

The manual must have, below SETTINGS, each name, help, default and longer text, and below RUN each option. The
README must have a table row for each name with the option, the default and the help in it.
"""

import os
import pathlib
import re
import subprocess
import sys


ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def plain(text):
    """Without markup and line breaks, so that only words are compared."""
    text = re.sub(r"^\.It (Fl|Ev) ", "", text, flags=re.M)
    text = text.replace("\\&", "").replace("\\e", "\\").replace("`", "").replace("\\|", "|")
    return re.sub(r"\s+", " ", text)


def manual_sections(text):
    sections = {}
    for part in re.split(r"^\.Sh ", text, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        sections[title.strip()] = body
    return sections


def check_manual(rows, text):
    sections = manual_sections(text)
    items = {}
    for item in re.split(r"^\.It Ev ", sections["SETTINGS"], flags=re.M)[1:]:
        name, _, body = item.partition("\n")
        items[name.strip()] = plain(body)
    for name, option, default, help_line, more in rows:
        body = items.pop(name, "")
        wanted = [help_line[0].upper() + help_line[1:] + "."]
        wanted += [f"Default: {default}."] if default else []
        wanted += [more] if more else []
        for words in wanted:
            yield words in body, f"manual, {name}: {words}"
        if option:
            flag = ".It Fl " + option.split()[0][1:]
            yield flag in sections["RUN"], f"manual, RUN: {option}"
    for name in items:
        yield False, f"manual, {name}: is not a setting"


def check_readme(rows, text):
    table = {}
    for line in text.splitlines():
        found = re.match(r"\|\s*`(HEAPTAP_[A-Z_]+)`", line)
        if found:
            table[found.group(1)] = plain(line)
    for name, option, default, help_line, _ in rows:
        line = table.pop(name, "")
        wanted = [help_line, default] + ([option.split()[0]] if option else [])
        for words in wanted:
            yield words in line, f"README, {name}: {words}"
    for name in table:
        yield False, f"README, {name}: is not a setting"


def report(number, name, checks):
    wrong = [what for fine, what in checks if not fine]
    for what in wrong:
        print(f"#   {what}")
    print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
    return not wrong


def main():
    build = ROOT / os.environ.get("TEST_BUILD", "build")
    heaptap = os.environ.get("TEST_HEAPTAP_COMMAND") or build / "tools" / "heaptap"
    listing = subprocess.run([heaptap, "settings"], check=True, stdout=subprocess.PIPE, text=True)
    rows = [line.split("\t") for line in listing.stdout.splitlines()]
    print("1..2")
    manual, readme = ROOT / "tools" / "heaptap.1", ROOT / "README.md"
    fine = report(1, "manual: The manual has every setting", check_manual(rows, manual.read_text()))
    if readme.exists():
        fine &= report(2, "readme: So has the README", check_readme(rows, readme.read_text()))
    else:
        print("ok 2 - readme # SKIP there is no README yet")
    return 0 if fine else 1


sys.exit(main())
