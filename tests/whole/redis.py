"""redis.py: a redis-server of our own for a test: its port, its directory, no persistence."""
import os
import re
import socket
import time

from harness import Failed, find_program, wait_until


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Redis:
    def __init__(self, test, wrapper=(), env=None):
        """Starts it; `wrapper` is the command in front of it."""
        self.test = test
        server = find_program('redis-server')
        test.need(server and find_program('redis-benchmark'), 'no redis-server and redis-benchmark')
        self.port = free_port()
        self.directory = test.path('redis')
        os.makedirs(self.directory, exist_ok=True)
        self.process = test.start(
            list(wrapper) + [server, '--port', str(self.port), '--bind', '127.0.0.1', '--save', '',
                             '--appendonly', 'no', '--dir', self.directory, '--logfile', 'log'],
            env, stdout=-1, stderr=-1)
        if not wait_until(self._answers, 20):
            raise Failed('redis-server does not answer on port %d' % self.port)
        self.pid = int(self.info('server')['process_id'])

    def _answers(self):
        try:
            return self.command('PING') == '+PONG'
        except OSError:
            return False

    def command(self, *words):
        """Sends a command; the first line of the answer, or the text of a bulk answer."""
        message = '*%d\r\n' % len(words)
        message += ''.join('$%d\r\n%s\r\n' % (len(w), w) for w in words)
        with socket.create_connection(('127.0.0.1', self.port), timeout=10) as s:
            s.sendall(message.encode())
            stream = s.makefile('rb')
            line = stream.readline().decode().rstrip('\r\n')
            if line.startswith('$'):
                return stream.read(int(line[1:])).decode()
            return line

    def info(self, section):
        return dict(re.findall(r'^(\w+):(.*?)\r?$', self.command('INFO', section), re.M))

    def benchmark(self, requests):
        return self.test.start(
            [find_program('redis-benchmark'), '-p', str(self.port), '-n', str(requests), '-r', '20000',
             '-d', '300', '-c', '10', '-q', '-t', 'set,lpush,hset,zadd,mset'], stdout=-1, stderr=-1)

    def used_memory(self):
        return int(self.info('memory')['used_memory'])

    def shutdown(self):
        """SHUTDOWN, and how the process ended."""
        try:
            self.command('SHUTDOWN', 'NOSAVE')
        except OSError:
            pass
        result = self.test.finish(self.process, 30)
        self.test.equal(result.status, 0, 'status of redis-server')
        return result

    def settle(self):
        """Lets the clients' buffers go."""
        time.sleep(0.3)
