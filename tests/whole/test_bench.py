#!/usr/bin/env python3
"""The benchmark runs: its tables come out, what is not installed or fails is told, and the README is rewritten.
What the numbers are is not looked at."""
import json
import os
import re
import sys

from harness import BUILD, ROOT, Failed, main, test

BUILD_DIRECTORY = os.environ.get('TEST_BUILD_DIRECTORY') or BUILD
COMPARE = os.path.join(ROOT, 'tests', 'bench', 'compare.py')


def compare(t, *arguments, status=0, **environment):
    return t.run([sys.executable, COMPARE, '--build', BUILD_DIRECTORY, *arguments], environment, 100, status=status)


@test
def short(t):
    """one round of a loop and a program; the same again from what was kept, and into a page"""
    kept, page = t.path('kept'), t.path('page.md')
    with open(page, 'w') as file:
        file.write('before\n<!-- cost: ours -->\nold\n<!-- end of cost -->\nafter\n')
    out = compare(t, '--quick', '--rounds', '1', '--section', 'loops', '--section', 'programs', '--section', 'dump',
                  '--row', 'tight', 'python3', '--column', 'empty', '512K', '--save', kept).text
    for wanted in (r'^  pair of 64 B +~?[\d.]+ ns +[\d.]+ \([\d.-]+\) +[\d.]+ \([\d.-]+\)$',
                   r'^  python3, json\S* \S+ +~?[\d.]+ s +[\d.]+ \([\d.-]+\)', r'^  python3, json\S* \S+ +\d+ KiB, \d+ ms$',
                   r'^  pair of 64 B +512K +<= 1\.20 +[\d.]+ '):
        t.check(re.search(wanted, out, re.M), 'no line like %s in:\n%s' % (wanted, out))
    again = compare(t, '--load', kept, '--readme', page).text
    t.equal(again, out, 'what was kept')
    with open(page) as file:
        written = file.read()
    t.check(written.startswith('before\n<!-- cost: ours -->\nOn ') and written.endswith('<!-- end of cost -->\nafter\n')
            and '| pair of 64 B |' in written and 'old' not in written, 'the page:\n' + written)


@test
def estimator(t):
    """three runs of the estimator's program under each profiler that is there"""
    out = t.run([sys.executable, os.path.join(os.path.dirname(COMPARE), 'estimator.py'), '--build', BUILD_DIRECTORY,
                 '--interval', '4K', '--runs', '3'], timeout=100).text
    for wanted in (r'^3 runs at 4K: ', r'^site  .* inuse_bytes, heaptap', r'^16_and_64k +[+-]?[\d.]+ ± [\d.]+ \(\d+\)',
                   r'^alloc_bytes: the worst mean of \d+ sites', r'% of \d+ intervals hold the truth$'):
        t.check(re.search(wanted, out, re.M), 'no line like %s in:\n%s' % (wanted, out))


@test
def lacking(t):
    """programs that are not installed and runs that fail are told"""
    result = compare(t, '--quick', '--rounds', '1', '--section', 'programs', '--row', 'jq', 'sqlite3',
                     '--column', '512K', PATH='/nonexistent')
    t.check('left out: jq, for want of jq' in result.text, 'jq is not missed:\n' + result.text)
    kept = t.path('kept')
    compare(t, '--quick', '--rounds', '1', '--section', 'loops', '--row', 'tight', '--column', '512K', '--save', kept)
    with open(kept) as file:
        data = json.load(file)
    if data['failures']:
        raise Failed('a good run failed: %s' % data['failures'])
    data['failures'].append('tight with 512K: status 1')
    with open(kept, 'w') as file:
        json.dump(data, file)
    t.check('FAILED tight with 512K: status 1' in compare(t, '--load', kept, status=1).text, 'no failure is shown')


main()
