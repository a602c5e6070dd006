#!/usr/bin/env python3
"""The settings have one table, in the source. The manual and the README repeat it for people; this checks that
they say the same.

    check_settings.py HEAPTAP MANUAL README

The manual must have, below SETTINGS, each name, help, default and longer text, and below RUN each option. The
README must have a table row for each name with the option, the default and the help in it.
"""

import pathlib
import re
import subprocess
import sys


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


def main():
    heaptap, manual, readme = sys.argv[1:4]
    listing = subprocess.run([heaptap, "settings"], check=True, stdout=subprocess.PIPE, text=True)
    rows = [line.split("\t") for line in listing.stdout.splitlines()]
    checks = list(check_manual(rows, pathlib.Path(manual).read_text()))
    checks += check_readme(rows, pathlib.Path(readme).read_text())
    for _, what in [check for check in checks if not check[0]]:
        print(f"FAILED {what}")
    if all(fine for fine, _ in checks):
        print(f"ok settings_are_the_same_everywhere ({len(checks)} places)")
        return 0
    return 1


sys.exit(main())
