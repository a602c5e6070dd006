#!/usr/bin/env python3
"""Stacks are right: each walk is compared with libgcc's _Unwind_Backtrace while the program runs
(HEAPTAP_CHECK_UNWIND=1), and odd stacks give the frames they ought to."""
import json
import os
import re
import signal
import sys

from harness import Failed, Skip, PROGRAMS, ROOT, check_exact, find_program, main, program, test, truth
from pprof_reader import add
from redis import Redis

PYTHON = '''
import json, re, collections, itertools
text = json.dumps([{"name": str(i), "values": list(range(10))} for i in range(300)], indent=1)
words = collections.Counter(re.findall("[a-z]+|[0-9]+", text))
for round in range(3):
    assert len(json.loads(text)) == 300
    sorted(words, key=lambda word: (words[word], word))
def generate(depth):
    if depth:
        yield from generate(depth - 1)
    yield [depth] * 10
print(len(list(generate(60))), len(words))
try:
    int("x" * 100)
except ValueError as e:
    str(e)
'''

def compared(t, profile):
    """(stacks, mismatches) as the profile's comments say."""
    line = profile.comment('unwind check')
    match = re.fullmatch(r'(\d+) stacks compared, (\d+) mismatches.*', line or '')
    if not match:
        raise Failed('comment "unwind check": %r' % line)
    return int(match.group(1)), int(match.group(2))


def check_memos(t, profile):
    """At an interval of 1 a thread keeps its last walk and walks only what has changed. Each time that was compared
    with a whole walk; a difference is a mismatch like any other."""
    stacks, mismatches = compared(t, profile)
    memos = int(re.search(r'(\d+) by memo', profile.comment('unwind check')).group(1))
    name = os.path.basename(profile.mappings[0].filename)
    t.note('%s: %d stacks, %d by memo, %d mismatches' % (name, stacks, memos, mismatches))
    t.equal(mismatches, 0, 'mismatches in ' + name)
    t.check(memos > stacks * 0.9, '%s: only %d of %d by memo' % (name, memos, stacks))


def check_stacks(t, profiles, at_least):
    total = 0
    for profile in profiles:
        stacks, mismatches = compared(t, profile)
        total += stacks
        t.equal(mismatches, 0, 'mismatches in %s, of %d' % (profile.mappings[0].filename, stacks))
    t.note('%d stacks compared in %d processes' % (total, len(profiles)))
    t.check(total >= at_least, 'only %d stacks compared, not %d' % (total, at_least))


@test
def python(t):
    """python3, every allocation of a short run."""
    result = t.run_preloaded([sys.executable, '-c', PYTHON], {'PYTHONMALLOC': 'malloc'},
                             check_unwind=1, timeout=120)
    plain = t.run([sys.executable, '-c', PYTHON])
    t.equal(result.text, plain.text, 'output')
    profiles = t.profiles(1)
    check_stacks(t, profiles, 20000)
    check_memos(t, profiles[0])


@test
def compiler(t):
    """g++ and all its children."""
    gxx = find_program('g++')
    t.need(gxx, 'no g++')
    small = os.path.join(ROOT, 'tests', 'programs', 'small.cc')
    t.run_preloaded([gxx, '-O1', '-g', small, '-o', 'small'], interval=1024, check_unwind=1, follow=1,
                    timeout=150)
    t.equal(t.run([t.path('small')]).text, '100\n', 'the compiled program')
    check_stacks(t, t.profiles(), 20000)


@test
def clang(t):
    """clang, which has its compiler in the driver's process, on one file of C++."""
    path = find_program('clang')
    t.need(path, 'no clang')
    t.run_preloaded([path, '-O1', '-c', os.path.join(ROOT, 'tests', 'programs', 'small.cc'), '-o', 'small.o'],
                    interval=2048, check_unwind=1, follow=1, timeout=150)
    t.check(os.path.getsize(t.path('small.o')) > 0, 'nothing compiled')
    check_stacks(t, t.profiles(), 20000)


GDB = ('set pagination off', 'unset environment LD_PRELOAD', 'info functions site', 'info types string',
       'info line main', 'list main', 'disassemble main', 'break truth_say', 'run 10 keep', 'bt full',
       'info sharedlibrary', 'finish', 'kill')


@test
def gdb(t):
    """gdb, which reads a program's debug information and the stack of a process."""
    path = find_program('gdb')
    t.need(path, 'no gdb')
    commands = [word for command in GDB for word in ('-ex', command)]
    result = t.run_preloaded([path, '-nx', '-batch'] + commands + [program('sites_cc')], interval=64, check_unwind=1,
                             timeout=150, status=None)
    t.check('truth_say' in result.text, 'gdb did nothing: ' + result.text[:500])
    check_stacks(t, t.profiles(), 20000)


def history(commits, files):
    """A repository for git fast-import: in each commit every file changes here and there."""
    lines = []
    for commit in range(1, commits + 1):
        lines += ['commit refs/heads/main', 'committer A <a@x.org> %d +0000' % (1600000000 + commit), 'data 1', 'c']
        for name in range(files):
            text = ''.join('%d of %d\n' % (line * commit % 97, line) for line in range(100 + commit + name))
            lines += ['M 644 inline f%d' % name, 'data %d' % len(text), text]
    return '\n'.join(lines).encode() + b'\n'


@test
def git(t):
    """git log -p, which unpacks, compares and prints."""
    path = find_program('git')
    t.need(path, 'no git')
    env = {'GIT_CONFIG_NOSYSTEM': '1', 'GIT_CONFIG_GLOBAL': '/dev/null', 'HOME': t.directory}
    repository = t.path('repository')
    t.run([path, 'init', '-q', repository], env)
    t.run([path, 'fast-import', '--quiet'], env, input=history(150, 4), cwd=repository)
    command = [path, '--no-pager', 'log', '-p', '--stat', 'main']
    plain = t.run(command, env, cwd=repository)
    result = t.run_preloaded(command, env, check_unwind=1, cwd=repository, timeout=120)
    t.check(result.out == plain.out and len(plain.out) > 100000, 'the output is another')
    profiles = t.profiles(1)
    check_stacks(t, profiles, 10000)
    check_memos(t, profiles[0])


@test
def redis(t):
    """redis-server under load, with its background threads."""
    server = Redis(t, env=t.preload(check_unwind=1))
    t.finish(server.benchmark(3000), 120)
    os.kill(server.pid, signal.SIGUSR1)
    t.wait_for_files(1)
    server.shutdown()
    profiles = t.profiles(2)
    check_stacks(t, profiles, 5000)
    check_memos(t, profiles[-1])


SQL = """
CREATE TABLE word (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 12000)
    INSERT INTO word SELECT n, hex(randomblob(8)) FROM number;
CREATE INDEX by_name ON word (name);
SELECT count(*) FROM word AS a JOIN word AS b ON a.name < b.name WHERE a.id < 20;
"""


@test
def every_allocation(t):
    """sqlite3, jq and g++ at interval 1, as python3, git and redis above."""
    small = os.path.join(ROOT, 'tests', 'programs', 'small.cc')
    with open(t.path('list.json'), 'w') as file:
        json.dump([{'name': str(i), 'values': list(range(i % 20))} for i in range(1500)], file)
    ran = 0
    for argv, text in ((['sqlite3', ':memory:'], SQL),
                       (['jq', 'map(select(.values | length > 3)) | group_by(.values)', t.path('list.json')], ''),
                       (['g++', '-O1', '-fsyntax-only', small], '')):
        path = find_program(argv[0])
        if not path:
            t.note('no ' + argv[0])
            continue
        ran += 1
        t.new_output(argv[0])
        t.run_preloaded([path] + argv[1:], check_unwind=1, follow=1, timeout=150, input=text.encode())
        check_memos(t, max(t.profiles(), key=lambda profile: compared(t, profile)[0]))
    if not ran:
        raise Skip('none of the programs')


@test
def cxx_and_threads(t):
    """C++ with exceptions, threads, aligned blocks: every allocation."""
    for name, arguments in (('sites_cc', ['100', 'keep']), ('threads', []), ('sites', ['100000', 'keep', '4'])):
        t.new_output(name)
        t.run_preloaded([program(name)] + arguments, check_unwind=1)
        check_stacks(t, t.profiles(1), 1000)
    t.new_output('throw')
    t.run_preloaded([program('dlopen_throw'), os.path.join(PROGRAMS, 'libthrowing.so')], check_unwind=1)
    check_stacks(t, t.profiles(1), 20)


@test
def reused_addresses(t):
    """A library is closed and another, with other frames, is loaded at its address."""
    check_reused_addresses(t)


@test
def reused_addresses_at_once(t):
    """The same, before the dlclose() of the first one has returned: the loader's names for both are the same, too."""
    check_reused_addresses(t, os.path.join(PROGRAMS, 'libafter_dlclose.so'))


def check_reused_addresses(t, *preload):
    libraries = [os.path.join(PROGRAMS, 'libplugin_%s.so' % x) for x in 'ab']
    result = t.run_preloaded([program('dlclose')] + libraries + ['20'], preload=preload, check_unwind=1)
    t.check('same_address 40 of 40' in result.text, 'not at the same address: ' + result.text)
    profile = t.only_profile(period=1)
    check_stacks(t, [profile], 400)
    sites = truth(result.text)
    both = add(sites['plugin_a_site'].values, sites['plugin_b_site'].values)
    t.equal(tuple(profile.with_function('site_calls_plugin')), tuple(both), 'below both')
    for name, values in profile.by_function().items():
        if name in sites:
            t.equal(tuple(values), tuple(sites[name].values), name)


@test
def unloaded_names(t):
    """What a library allocated before it was closed still has the library's name, if not the function's."""
    libraries = [os.path.join(PROGRAMS, 'libplugin_%s.so' % x) for x in 'ab']
    result = t.run_preloaded([program('dlclose')] + libraries + ['2'])
    profile = t.only_profile(period=1)
    for name, site in truth(result.text).items():
        library = name.replace('_site', '').replace('plugin', 'libplugin')
        named = profile.total(lambda s: name in s.names or any(n.startswith('[' + library) for n in s.names))
        t.equal(tuple(named), tuple(site.values), name)


@test
def deep(t):
    """A stack deeper than HEAPTAP_DEPTH keeps its leaf side and has [truncated] as its root."""
    for depth, setting, frames in ((1000, None, 128), (1000, 32, 32), (50, None, None), (900, 1024, None)):
        t.new_output('%s-%s' % (depth, setting))
        result = t.run_preloaded([program('deep'), str(depth)], depth=setting)
        profile = t.only_profile(period=1)
        check_exact(t, profile, truth(result.text))
        names = next(s.names for s in profile.samples if 'site_bottom' in s.names)
        if frames:
            t.equal(names[-1], '[truncated]', 'root at depth %s' % setting)
            t.equal(len(names), frames + 1, 'frames at depth %s, with the root' % setting)
            t.equal(set(names[1:-1]), {'site_recursion'}, 'between')
        else:
            t.check('[truncated]' not in names and 'main' in names, 'cut: %r' % (names[-3:],))
            t.equal(names.count('site_recursion'), depth, 'frames of the recursion')


@test
def signal_frames(t):
    """A handler on a small alternate stack: the stack goes on in what was interrupted, at its very pc."""
    result = t.run_preloaded([program('signal_handler')])
    profile = t.only_profile(period=1)
    check_exact(t, profile, truth(result.text))
    names = next((s.names for s in profile.samples if 'site_in_handler' in s.names), ())
    t.equal([n for n in names if n in ('site_in_handler', 'on_fault', 'before_the_fault', 'fault_at_entry',
                                       'site_faulting', 'main')],
            ['site_in_handler', 'on_fault', 'fault_at_entry', 'site_faulting', 'main'], 'the stack')


@test
def children_of_learners(t):
    """100 children forked while four threads learn new pcs, and rules are forgotten before each: none hangs."""
    library = os.path.join(PROGRAMS, 'libplugin_a.so')
    result = t.run_preloaded([program('fork_exec'), 'learn', '100', library], at_exit=0, timeout=100)
    t.equal(result.text, 'done\n', 'output')


@test
def last_call(t):
    """A call that never returns, at the very end of a function, belongs to that function."""
    result = t.run_preloaded([program('last_call')], check_unwind=1)
    profile = t.only_profile(period=1)
    check_exact(t, profile, truth(result.text))
    check_stacks(t, [profile], 1)
    names = next((s.names for s in profile.samples if 'site_never_returns' in s.names), ())
    t.equal(names[:4], ('site_never_returns', 'allocate_and_exit', 'ends_with_a_call', 'main'), 'the stack')


JAVASCRIPT = '''
const {Worker, isMainThread} = require("worker_threads");
let kept = [];
for (let i = 0; i < 30000; i++) {
    kept.push(Buffer.allocUnsafeSlow(1000 + i % 5000));
    if (kept.length > 2000)
        kept = [];
    JSON.parse(JSON.stringify({a: i, b: "x".repeat(i % 100)}));
}
console.log(kept.length, isMainThread);
if (isMainThread)
    new Worker(process.argv[1]).on("exit", code => console.log("exit", code));
'''

JAVA = '''
import java.util.zip.Deflater;
class Jit {
    static int deep(int levels) { return levels == 0 ? 1 : deep(levels - 1) + 1; }
    public static void main(String[] arguments) throws Exception {
        long sum = 0;
        Thread[] threads = new Thread[8];
        for (int i = 0; i < 8; i++) {
            threads[i] = new Thread(() -> {
                for (int j = 0; j < 1000; j++)
                    java.nio.ByteBuffer.allocateDirect(1000);
            });
            threads[i].start();
        }
        for (int i = 0; i < 5000; i++) {
            Deflater deflater = new Deflater();
            deflater.setInput(new byte[1000 + i % 100]);
            deflater.finish();
            sum += deflater.deflate(new byte[2000]) + deep(i % 50);
            deflater.end();
        }
        for (Thread thread : threads)
            thread.join();
        System.out.println(sum);
    }
}
'''


@test
def generated_code(t):
    """node and java, whose own code has no unwind tables: they run as without us, and a stack that ends there says so."""
    ran = 0
    for name, file, text, function in (('node', 'jit.js', JAVASCRIPT, 'node::'),
                                       ('java', 'Jit.java', JAVA, 'Java_java_util_zip_Deflater_init')):
        path = find_program(name)
        if not path or t.run([path, '--version'], status=None).status != 0:
            t.note('no ' + name)
            continue
        ran += 1
        with open(t.path(file), 'w') as source:
            source.write(text)
        plain = t.run([path, t.path(file)], timeout=120)
        for interval in (64, 512 * 1024):
            t.new_output('%s-%d' % (name, interval))
            result = t.run_preloaded([path, t.path(file)], interval=interval, check_unwind=1, every='200ms', timeout=120)
            t.equal((result.out, result.err), (plain.out, plain.err), name)
            last = t.profiles()[-1]
            stacks, mismatches = compared(t, last)
            t.note('%s, interval %d: %d stacks, %d mismatches' % (name, interval, stacks, mismatches))
            if interval == 64:
                t.check(stacks > 1000, '%s: only %d stacks' % (name, stacks))
                t.check(any(function in n for n in last.by_function()), '%s: no %s' % (name, function))
                t.check(any(s.names[-1] == '[truncated]' for s in last.samples), name + ': no stack is marked as cut')
            t.equal(mismatches, 0, 'mismatches in ' + name)
    if not ran:
        raise Skip('neither node nor java')


if __name__ == '__main__':
    main()
