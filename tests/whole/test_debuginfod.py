#!/usr/bin/env python3
"""test_debuginfod.py: heaptap symbolize asks a server for debug files, when it is told to and not otherwise.

The server is ours, on a free port of the loopback.
"""
import http.server
import os
import re
import shutil
import threading

from harness import COMMAND, main, test

SOURCE = '''
#include <stdlib.h>
static void *volatile kept;
__attribute__((noinline)) static void keep_some(void)
{
    kept = malloc(100000); /* line 6 */
    __asm__ volatile("");
}
int main(void)
{
    keep_some(); /* line 11 */
    return kept == NULL;
}
'''


class Server:
    """Has the debug file of one build id, and remembers what was asked for."""

    def __init__(self, build_id, content):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                known = self.path == '/buildid/%s/debuginfo' % build_id
                self.send_response(200 if known else 404)
                self.send_header('Content-Length', str(len(content) if known else 0))
                self.end_headers()
                if known:
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = 'http://127.0.0.1:%d' % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def stripped_program(t):
    """A program without debug information, its build id, and its debug information."""
    for tool in ('gcc', 'objcopy', 'readelf'):
        t.need(shutil.which(tool), 'no ' + tool)
    with open(t.path('program.c'), 'w') as file:
        file.write(SOURCE)
    program, debug = t.path('program'), t.path('program.dbg')
    t.run(['gcc', '-g', '-O1', '-Wl,--build-id', '-o', program, t.path('program.c')])
    t.run(['objcopy', '--only-keep-debug', program, debug])
    t.run(['objcopy', '--strip-all', program])
    build_id = re.search('Build ID: ([0-9a-f]+)', t.run(['readelf', '-n', program]).text).group(1)
    with open(debug, 'rb') as file:
        content = file.read()
    os.unlink(debug)
    return program, build_id, content


def lines_of(profile):
    """Function, file and line of the program's frames."""
    return sorted((f.name, os.path.basename(f.filename), line) for l in profile.locations
                  for f, (_, line) in zip(l.functions, l.lines) if f.filename.endswith('program.c'))


@test
def server(t):
    """A debug file comes from the server that DEBUGINFOD_URLS names, with --debuginfod alone."""
    program, build_id, content = stripped_program(t)
    server = Server(build_id, content)
    there = {'DEBUGINFOD_URLS': server.url, 'DEBUGINFOD_CACHE_PATH': t.path('cache'), 'HOME': t.directory}
    t.run([program], t.preload())
    path = t.files()[0]
    plain = t.run([COMMAND, 'symbolize', path], there)
    t.check('no debug information' in plain.text, 'without --debuginfod: ' + plain.text)
    t.equal(server.asked, [], 'asked without being told to')
    t.run([COMMAND, 'symbolize', '--debuginfod', path], there)
    t.check('/buildid/%s/debuginfo' % build_id in server.asked, 'asked: %s' % server.asked)
    t.equal(lines_of(t.profiles()[0]), [('keep_some', 'program.c', 6), ('main', 'program.c', 11)], 'lines')


@test
def wrong_file(t):
    """What a server sends is believed only if its build id is the right one."""
    program, build_id, content = stripped_program(t)
    wrong = content.replace(bytes.fromhex(build_id), bytes(len(build_id) // 2))
    server = Server(build_id, wrong)
    t.run([program], t.preload())
    path = t.files()[0]
    t.run([COMMAND, 'symbolize', '--debuginfod', path],
          {'DEBUGINFOD_URLS': server.url, 'DEBUGINFOD_CACHE_PATH': t.path('cache'), 'HOME': t.directory})
    t.check(server.asked, 'nothing was asked')
    t.equal(lines_of(t.profiles()[0]), [], 'lines')


@test
def no_server(t):
    """Without a server to ask, that is said; a server that is not there costs nothing but lines."""
    program, _, _ = stripped_program(t)
    t.run([program], t.preload())
    path = t.files()[0]
    result = t.run([COMMAND, 'symbolize', '--debuginfod', path], {'DEBUGINFOD_URLS': ''}, status=2)
    t.check('DEBUGINFOD_URLS names no server' in result.err_lines[0], result.err_lines)
    t.run([COMMAND, 'symbolize', '--debuginfod', path],
          {'DEBUGINFOD_URLS': 'http://127.0.0.1:9', 'DEBUGINFOD_CACHE_PATH': t.path('cache')})
    t.profiles()


main()
