#!/usr/bin/env python3
"""Servers that fork, drop privileges and have SIGUSR1 for themselves: nginx and PostgreSQL behave as without us.

Their packages start a service when they are installed, so tools/packages.sh leaves them out, and these tests skip
where they are not, in CI too."""
import glob
import http.client
import os
import re
import signal
import time

from harness import COMMAND, Failed, Skip, find_program, main, settings, test, wait_until
from redis import free_port

SNAPSHOT = signal.SIGRTMIN + 3
IS_ROOT = os.geteuid() == 0


def optional(condition, reason):
    if not condition:
        raise Skip(reason)


def open_to_all(*directories):
    """Of a server that drops its privileges."""
    for directory in directories:
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o777)


def children_of(pid):
    with open('/proc/%d/task/%d/children' % (pid, pid)) as file:
        return [int(word) for word in file.read().split()]


# --- nginx ---------------------------------------------------------------------------------------------

CONFIGURATION = '''
daemon off; worker_processes 2; pid %(dir)s/pid; error_log %(dir)s/error.log;
events { worker_connections 64; }
http {
    access_log %(dir)s/access.log; gzip on; gzip_types *; gzip_min_length 1;
    client_body_temp_path %(dir)s/t1; proxy_temp_path %(dir)s/t2; fastcgi_temp_path %(dir)s/t3;
    uwsgi_temp_path %(dir)s/t4; scgi_temp_path %(dir)s/t5;
    server { listen 127.0.0.1:%(port)d; root %(dir)s/www;
        location /here { proxy_pass http://127.0.0.1:%(port)d/text; }
    }
}
'''


class Nginx:
    def __init__(self, t, env, name):
        nginx = find_program('nginx')
        optional(nginx, 'no nginx, which is not installed for tests: its package starts it')
        self.t, self.port, self.directory = t, free_port(), t.path(name)
        open_to_all(t.directory, t.output, self.directory, os.path.join(self.directory, 'www'))
        with open(self.path('www/text'), 'w') as file:
            file.write('some text, again and again\n' * 3000)
        with open(self.path('conf'), 'w') as file:
            file.write(CONFIGURATION % {'dir': self.directory, 'port': self.port})
        self.process = t.start([nginx, '-p', self.directory, '-c', 'conf', '-e', self.path('error.log')],
                               env, stdout=-1, stderr=-1)
        if not wait_until(lambda: self.process.poll() is not None or self._answers(), 20):
            raise Failed('nginx does not answer')
        self.pid = self.process.pid

    def path(self, name):
        return os.path.join(self.directory, name)

    def _answers(self):
        try:
            return self.get('/text')[0] == 200
        except OSError:
            return False

    def get(self, path, **headers):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=20)
        connection.request('GET', path, headers=headers)
        answer = connection.getresponse()
        result = answer.status, answer.read()
        connection.close()
        return result

    def load(self):
        """What the clients get."""
        answers = []
        for _ in range(40):
            answers += [self.get('/text'), self.get('/here'), self.get('/nothing'),
                        self.get('/text', **{'Accept-Encoding': 'gzip'})]
        return answers

    def lines(self, name):
        with open(self.path(name)) as file:
            return len(file.readlines())

    def reopen_logs(self):
        """What logrotate does: SIGUSR1 to the master, which tells its workers."""
        os.rename(self.path('access.log'), self.path('access.old'))
        os.kill(self.pid, signal.SIGUSR1)
        if not wait_until(lambda: os.path.exists(self.path('access.log')), 20):
            raise Failed('SIGUSR1 does not make nginx reopen its logs')
        time.sleep(0.5)  # for the workers
        before = self.lines('access.old')
        for _ in range(20):
            self.get('/text')
        self.t.check(wait_until(lambda: self.lines('access.log') == 20, 10), 'the new log has %d lines of 20' %
                     self.lines('access.log'))
        self.t.equal(self.lines('access.old'), before, 'lines of the old log')

    def stop(self):
        """Gracefully. How it ended."""
        os.kill(self.pid, signal.SIGQUIT)
        result = self.t.finish(self.process, 30)
        with open(self.path('error.log')) as file:
            said = [line for line in file if not re.search(r'\[(notice|error)\].*(signal|No such file)', line)]
        self.t.equal((result.status, result.out, result.err, said), (0, b'', b'', []), 'nginx')


def drive_nginx(t, env, name):
    nginx = Nginx(t, env, name)
    answers = nginx.load()
    nginx.reopen_logs()
    return nginx, answers


@test
def nginx(t):
    """nginx reopens its logs on SIGUSR1; another signal has master and workers write profiles."""
    plain, wanted = drive_nginx(t, {}, 'plain')
    plain.stop()
    server, answers = drive_nginx(t, t.preload(signal='RTMIN+3'), 'profiled')
    t.check(answers == wanted, 'the clients get other answers')
    pids = [server.pid] + children_of(server.pid)
    t.equal(len(pids), 3, 'processes')
    t.equal(t.files(), [], 'profiles on SIGUSR1')
    for pid in pids:
        os.kill(pid, SNAPSHOT)
        server.get('/text')
    # A child has no collector before it allocates, and only one of the two workers may have had to.
    t.check(wait_until(lambda: len(t.files('*.pb.gz')) >= 2, 20), 'profiles of %d of 3 processes' % len(t.files()))
    server.stop()
    profiles = t.profiles(program='nginx')
    written_by = {int(os.path.basename(path).split('.')[-4]) for path in t.files()}
    t.equal(written_by, set(pids), 'processes with profiles')
    last = profiles[-1]
    t.check(last.by_function().get('ngx_palloc') or last.by_function().get('ngx_alloc'), 'nginx has no names')


@test
def nginx_and_the_default_signal(t):
    """SIGUSR1 is nginx's own, although the library had it first; heaptap snapshot and heaptap doctor need none."""
    server, _ = drive_nginx(t, t.preload(interval='4K', at_exit=0), 'default')
    t.equal(t.files(), [], 'profiles')
    for pid in [server.pid] + children_of(server.pid)[:1]:
        said = t.run([COMMAND, 'doctor', str(pid)]).text
        t.check('USR1 is handled by the program, which keeps it' in said and 'all is well' in said, said)
        said = t.run([COMMAND, 'snapshot', str(pid)]).text
        t.check(said.startswith(t.output) and 'in use' in said, said)
    server.reopen_logs()
    server.stop()
    t.profiles(2, program='nginx')


# --- PostgreSQL ----------------------------------------------------------------------------------------

# What makes processes of the server signal each other by SIGUSR1: parallel queries and notifications.
QUERIES = '''
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(aid) FROM pgbench_accounts;
SELECT count(DISTINCT md5(aid::text)) FROM pgbench_accounts WHERE aid <= 20000;
LISTEN news; NOTIFY news;
SELECT count(*) FROM pgbench_history;
SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
       (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches);
'''


class Postgres:
    def __init__(self, t, env, name):
        found = sorted(glob.glob('/usr/lib/postgresql/*/bin/postgres')) or [find_program('postgres')]
        optional(found[-1], 'no PostgreSQL, which is not installed for tests: its package starts it')
        self.t, self.bin, self.directory = t, os.path.dirname(found[-1]), t.path(name)
        open_to_all(t.directory, t.output, self.directory)
        self.data = os.path.join(self.directory, 'data')
        # It refuses to run as root.
        self.user = {'user': 'nobody', 'group': 'nogroup', 'extra_groups': []} if IS_ROOT else {}
        self._run(['initdb', '-D', self.data, '-A', 'trust', '-N', '-U', 'tester', '--locale=C'], env)
        self.process = t.start(
            [os.path.join(self.bin, 'postgres'), '-D', self.data, '-k', self.directory, '-c', 'listen_addresses=',
             '-c', 'fsync=off', '-c', 'logging_collector=off'], env, stdout=-1, stderr=-1,
            cwd=self.directory, **self.user)
        if not wait_until(lambda: self.process.poll() is not None or self._answers(), 30):
            raise Failed('PostgreSQL does not answer')

    def _run(self, argv, env, **more):
        return self.t.run([os.path.join(self.bin, argv[0])] + argv[1:], env, timeout=120, cwd=self.directory,
                          **self.user, **more)

    def _client(self, argv, **more):
        env = {'PGHOST': self.directory, 'PGUSER': 'tester', 'PGDATABASE': 'postgres', 'HOME': self.directory}
        return self._run(argv, env, **more)

    def _answers(self):
        return self._client(['pg_isready', '-q'], status=None).status == 0

    def work(self):
        """Fills its tables, changes them, and what it says of them then."""
        self._client(['pgbench', '-i', '-s', '1', '-q'])
        self._client(['pgbench', '-n', '-c', '4', '-j', '2', '-t', '100'])
        text = self._client(['psql', '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1'], input=QUERIES.encode()).text
        return re.sub(r'with PID \d+', 'with PID', text)

    def stop(self):
        """Waits for the backends of clients that have just left, which SIGINT would have complain. How it ended."""
        os.kill(self.process.pid, signal.SIGTERM)
        result = self.t.finish(self.process, 60)
        wrong = [line for line in result.err_lines if not re.search(
            r' LOG: |database system|terminating (autovacuum|background worker) .*administrator command', line)]
        self.t.equal((result.status, result.out, wrong), (0, b'', []), 'PostgreSQL')


@test
def postgresql(t):
    """PostgreSQL, whose processes wake each other by SIGUSR1, at interval 1 and with a profile every second."""
    plain = Postgres(t, {}, 'plain')
    wanted = plain.work()
    plain.stop()
    t.check('t|t' in wanted, 'PostgreSQL without us says %r' % wanted)
    server = Postgres(t, dict(t.preload(every='1s'), **settings(follow=1)), 'profiled')
    t.equal(server.work(), wanted, 'what PostgreSQL says')
    server.stop()
    profiles = t.profiles()
    names = {os.path.basename(path).split('.')[0] for path in t.files()}
    t.check({'initdb', 'postgres'} <= names, 'profiles of %s' % names)
    pids = {path.split('.')[-4] for path in t.files('postgres.*')}
    t.note('%d profiles of %d processes' % (len(profiles), len(pids)))
    t.check(len(pids) >= 10, 'profiles of %d processes of PostgreSQL' % len(pids))


if __name__ == '__main__':
    main()
