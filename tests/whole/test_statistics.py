#!/usr/bin/env python3
"""Sampled totals where memory ends, where all is freed, where sampling is off, and in each unit of the interval.
Whether the estimate of each site is right, test_estimator shows."""
import math
import re

from harness import check_exact, main, program, test, truth


@test
def freed_is_zero(t):
    """At any interval, in-use is exactly 0 when everything is freed."""
    for interval in (4096, 64 * 1024, 512 * 1024):
        for arguments in (['4000000', 'free'], ['2000000', 'free', '4']):
            t.new_output('%d-%d' % (interval, len(arguments)))
            result = t.run_preloaded([program('sites')] + arguments, interval=interval)
            profile = t.only_profile(period=interval)
            held = profile.total(lambda sample: any(n.startswith('site_') for n in sample.names))
            t.equal((held.inuse_objects, held.inuse_bytes), (0, 0), 'in use at interval %d' % interval)
            t.check(held.alloc_bytes > 0, 'nothing sampled at interval %d' % interval)
            t.check(truth(result.text), 'no truth')


@test
def memory_ends(t):
    """A million stacks in little memory: the interval doubles, the totals stay right, and the limit is kept.

    Six standard errors at the largest interval it came to, which most samples did not have: odds below 1 in
    500 million for each of the twelve comparisons."""
    for megabytes in (4, 8, 16):
        t.new_output('%dM' % megabytes)
        result = t.run_preloaded([program('many_stacks'), '20', '100'], interval=1, memory='%dM' % megabytes)
        count, total, kept, held = (int(n) for n in result.text.split())
        profile = t.only_profile()
        t.check('interval doubled' in ' '.join(profile.comments), 'the interval: %r' % profile.comments)
        used = [int(n) for n in re.findall(r'\d+', profile.comment('profiler memory'))]
        t.check(used[1] <= megabytes << 20 == used[2], 'memory: %r' % used)
        t.equal(profile.comment('dropped'), '0', 'dropped')
        p = -math.expm1(-100 / profile.period)
        for wanted, size, column in ((count, 1, 'alloc_objects'), (total, 100, 'alloc_bytes'),
                                     (kept, 1, 'inuse_objects'), (held, 100, 'inuse_bytes')):
            got = getattr(profile.total(), column)
            error = size * math.sqrt(wanted / size * (1 - p) / p)
            t.check(abs(got - wanted) <= 6 * error, '%s: %d, not %d' % (column, got, wanted))
        t.note('%d MiB: interval %d at the end' % (megabytes, profile.period))


@test
def interval_off(t):
    """HEAPTAP_INTERVAL=0 samples nothing, and still leaves a valid, empty profile."""
    t.run_preloaded([program('sites'), '1000000', 'keep'], interval=0)
    for profile in t.profiles():
        t.equal(tuple(profile.total()), (0, 0, 0, 0), 'total')


@test
def units(t):
    """1, 4K, 4k, 1M and 1G are what they say."""
    for text, period in (('1', 1), ('4096', 4096), ('4K', 4096), ('4k', 4096), ('1M', 1 << 20), ('1G', 1 << 30)):
        t.new_output(text)
        result = t.run_preloaded([program('sites'), '100000', 'keep'], interval=text)
        profile = t.only_profile(period=period)
        if period == 1:
            check_exact(t, profile, truth(result.text))


if __name__ == '__main__':
    main()
