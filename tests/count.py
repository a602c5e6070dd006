#!/usr/bin/env python3
"""Counts what `meson test` ran, from its testlog.json, and shows what failed.

The programs say `ok ...`, `not ok ...` or `FAILED ...` for each test in them, TAP or not; a program that says
nothing of the kind counts as one test. One that fails without a word of which, or is killed, adds a failure.
The last line is `N passed, N failed`, and `, N skipped` if any were.
"""

import json
import re
import sys

SHOWN_LINES = 25


def outcomes(test):
    passed, failed, skipped = [], [], []
    for line in test.get("stdout", "").splitlines():
        if re.match(r"ok\b.*# *skip", line, re.I):
            skipped.append(line)
        elif re.match(r"ok\b", line):
            passed.append(line)
        elif re.match(r"(not ok|FAILED)\b", line):
            failed.append(line)
    if test["result"] == "SKIP" and not skipped:
        skipped.append(test["name"])
    elif test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") and not failed:
        failed.append(f"{test['name']}: {test['result']}, status {test.get('returncode')}")
    elif not passed and not failed and not skipped:
        passed.append(test["name"])
    return passed, failed, skipped


def show(test, failed):
    print(f"--- {test['name']}")
    output = (test.get("stdout", "") + test.get("stderr", "")).splitlines()
    for line in failed + ["..."] + output[-SHOWN_LINES:]:
        print("    " + line)


def main():
    totals = [0, 0, 0]
    try:
        with open(sys.argv[1]) as log:
            tests = [json.loads(line) for line in log]
    except OSError as error:
        print(f"no test was run: {error}")
        tests = []
    for test in tests:
        found = outcomes(test)
        if found[1]:
            show(test, found[1])
        for line in found[2]:
            print(f"skipped: {test['name']}: {line}")
        totals = [total + len(lines) for total, lines in zip(totals, found)]
    passed, failed, skipped = totals
    if not tests:
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


sys.exit(main())
