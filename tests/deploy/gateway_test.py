#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The gateway in the hands of a service manager, which the test plays: it holds the sockets, hears
READY= and WATCHDOG=, restarts the process and has it hand over to its successor under load."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from tap import PATIENCE, ROOT, Skip, main, service, wait_for

MODEL = os.path.join(ROOT, 'deploy/models/halo-demo.h1b')
STORY = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'Tell me a long story.'}], 'stream': True,
         'ignore_eos': True, 'seed': 7}
LONG = 400 if os.environ.get('HALO_SANITIZED') else 1500  # tokens that outlast a hand-over
STACK = None


class Manager:
    """Router, tokenizer and engine, sockets for a gateway, and the gateways one after the other."""

    def __init__(self):
        self.run = tempfile.mkdtemp(prefix='halo-mgr-')
        self.tcp = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.local = socket.socket(socket.AF_UNIX)
        self.local.bind(self.run + '/gateway.http')
        self.local.listen(1024)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.run + '/notify')
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.notify.settimeout(PATIENCE)
        self.log = open(self.run + '/log', 'ab')
        self.program = self.run + '/halo-gateway'
        shutil.copy(service('gateway'), self.program)
        self.others = [self.start(service(n), '--run', self.run, *more) for n, more in (
            ('router', []), ('tokenizer', ['--model', MODEL]), ('engine', ['--model', MODEL, '--threads', '1']))]

    def start(self, *argv, **kw):
        return subprocess.Popen(argv, stderr=self.log, stdout=self.log, **kw)

    def start_gateway(self, *options):
        script = f'exec 3<&{self.tcp.fileno()} 4<&{self.local.fileno()}; export LISTEN_FDS=2 LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$0" "$@"'
        env = {**os.environ, 'NOTIFY_SOCKET': self.run + '/notify', 'WATCHDOG_USEC': '300000'}
        return self.start('bash', '-c', script, self.program, '--run', self.run, *options, env=env,
                          pass_fds=[self.tcp.fileno(), self.local.fileno()])

    def hear(self, pattern):
        """The next message that matches and the pid that sent it."""
        while True:
            data, ancillary, _, _ = self.notify.recvmsg(4096, 256)
            sender = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            if found := re.search(pattern, data.decode(), re.M):
                return found, sender

    def hush(self):
        """Forgets the messages that wait."""
        self.notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notify.recv(4096)
        self.notify.settimeout(PATIENCE)

    def ask(self, path):
        with contextlib.closing(http.client.HTTPConnection(*self.tcp.getsockname(), timeout=PATIENCE)) as c:
            c.request('GET', path)
            r = c.getresponse()
            r.read()
            return r.status

    def end(self):
        for pid in filter(str.isdigit, os.listdir('/proc')):  # successors that a failed test left
            with contextlib.suppress(OSError):
                if os.readlink(f'/proc/{pid}/exe').startswith(self.run):
                    os.kill(int(pid), signal.SIGKILL)
        for p in reversed(self.others):
            p.terminate()
            p.wait(PATIENCE)
        self.log.close()
        shutil.rmtree(self.run, ignore_errors=True)


class Stream(threading.Thread):
    def __init__(self, n_tokens):
        super().__init__(daemon=True)
        self.body = json.dumps({**STORY, 'max_tokens': n_tokens})
        self.lines, self.error = [], None
        self.start()
        wait_for('the first tokens', lambda: len(self.lines) > 5 or self.error)

    def run(self):
        try:
            with contextlib.closing(http.client.HTTPConnection(*STACK.tcp.getsockname(), timeout=PATIENCE)) as c:
                c.request('POST', '/v1/chat/completions', self.body, {'content-type': 'application/json'})
                for line in c.getresponse():
                    if line.startswith(b'data: '):
                        self.lines.append(line[6:].strip())
        except OSError as e:
            self.error = e

    def text(self):
        self.join(PATIENCE)
        assert not self.is_alive() and self.error is None and self.lines[-1] == b'[DONE]', (self.error, self.lines[-1:])
        return ''.join(json.loads(x)['choices'][0]['delta'].get('content') or '' for x in self.lines[:-1])


@contextlib.contextmanager
def knocking():
    """Asks for /healthz again and again; gives the list of what came of it."""
    results, stop = [], threading.Event()

    def knock():
        while not stop.is_set():
            try:
                results.append(STACK.ask('/healthz'))
            except OSError as e:
                results.append(e)

    t = threading.Thread(target=knock)
    t.start()
    try:
        yield results
    finally:
        stop.set()
        t.join(PATIENCE)


def end(p):
    STACK.hush()  # a full queue would lose what comes next
    p.terminate()
    assert p.wait(PATIENCE) == 0, p.returncode


def test_it_is_ready_when_it_can_serve_and_keeps_the_watchdog_fed():
    p = STACK.start_gateway()
    assert STACK.hear('^READY=1')[1] == p.pid
    wait_for('an engine', lambda: STACK.ask('/readyz') == 200)
    STACK.hush()
    for _ in range(3):
        assert STACK.hear('^WATCHDOG=1')[1] == p.pid
    end(p)
    assert STACK.hear('^STOPPING=1')[1] == p.pid


def test_a_process_that_hangs_does_not_feed_the_watchdog():
    p = STACK.start_gateway()
    STACK.hear('^READY=1')
    p.send_signal(signal.SIGSTOP)
    STACK.hush()
    STACK.notify.settimeout(1)
    try:
        STACK.hear('^WATCHDOG=1')
        raise AssertionError('it was fed')
    except TimeoutError:
        pass
    finally:
        STACK.notify.settimeout(PATIENCE)
        p.send_signal(signal.SIGCONT)
    end(p)


def test_clients_wait_while_no_gateway_runs():
    p = STACK.start_gateway()
    STACK.hear('^READY=1')
    with knocking() as results:
        wait_for('answers', lambda: len(results) > 5)
        end(p)
        n = len(results)
        p = STACK.start_gateway()
        STACK.hear('^READY=1')
        wait_for('more answers', lambda: len(results) > n + 5)
    assert set(results) == {200}, results
    end(p)


def test_a_successor_takes_over_and_the_old_one_ends_its_replies():
    old = STACK.start_gateway('--drain-ms', '100')
    STACK.hear('^READY=1')
    wait_for('an engine', lambda: STACK.ask('/readyz') == 200)
    quiet = Stream(LONG).text()
    s = Stream(LONG)
    with knocking() as results:
        # As at an upgrade: the file is another one by now.
        os.rename(STACK.program, STACK.program + '.old')
        shutil.copy(service('gateway'), STACK.program)
        old.send_signal(signal.SIGHUP)
        said, sender = STACK.hear('^MAINPID=([0-9]+)')
        new = int(said.group(1))
        assert sender == old.pid and new != old.pid and not os.path.exists(f'/proc/{new}/task/{old.pid}')
        assert os.readlink(f'/proc/{new}/exe') == STACK.program
        assert STACK.hear('^WATCHDOG=1')[1] == new
        n = len(results)
        wait_for('answers of the new one', lambda: len(results) > n + 5)
    assert s.text() == quiet and set(results) == {200}, results
    assert old.wait(PATIENCE) == 0
    assert Stream(50).text()
    left = [os.readlink(f'/proc/{new}/fd/{fd}') for fd in os.listdir(f'/proc/{new}/fd')]
    assert len(left) < 40, left
    STACK.hush()  # a full queue would lose what comes next
    os.kill(new, signal.SIGTERM)
    assert STACK.hear('^STOPPING=1')[1] == new
    wait_for('its end', lambda: not os.path.exists(f'/proc/{new}/fd') or not os.listdir(f'/proc/{new}/fd'))


def resumable(n_tokens, method='POST', path='/v1/chat/completions', events=None):
    """The id of the stream and its first events, or all of them."""
    with contextlib.closing(http.client.HTTPConnection(*STACK.tcp.getsockname(), timeout=PATIENCE)) as c:
        body = json.dumps({**STORY, 'max_tokens': n_tokens}) if method == 'POST' else None
        c.request(method, path, body, {'content-type': 'application/json', 'x-halo-resume': '60'})
        r = c.getresponse()
        assert r.status == 200, (r.status, r.read())
        got = []
        while (block := r.readline()) and len(got) != events:
            if block.startswith(b'id: '):
                got.append((int(block[4:]), r.readline()))
        return r.getheader('x-halo-stream'), got


def test_streams_that_were_left_go_on_after_the_hand_over():
    old = STACK.start_gateway()
    STACK.hear('^READY=1')
    wait_for('an engine', lambda: STACK.ask('/readyz') == 200)
    _, quiet = resumable(LONG)
    left, begun = resumable(LONG, events=5)
    ended, whole = resumable(20)
    doomed, _ = resumable(LONG, events=5)
    old.send_signal(signal.SIGHUP)
    new = int(STACK.hear('^MAINPID=([0-9]+)')[0].group(1))
    for number, got in (5, begun), (9, None):
        _, rest = resumable(0, 'GET', f'/v1/streams/{left}?from={number}')
        told = [re.sub(rb'"(id|created)":("[^"]*"|[0-9]+)', b'', d) for _, d in (got or []) + rest]
        wanted = [re.sub(rb'"(id|created)":("[^"]*"|[0-9]+)', b'', d) for _, d in quiet]
        assert told == (wanted if got else wanted[9:]) and rest[-1][1] == b'data: [DONE]\n'
    assert resumable(0, 'GET', f'/v1/streams/{ended}?from=3') == (ended, whole[3:])
    assert STACK.ask(f'/v1/streams/{left}?from={len(quiet)}') == 204
    assert STACK.ask(f'/v1/streams/{left}?from={len(quiet) + 1}') == 400
    assert STACK.ask(f'/v1/streams/{left[:-1]}{"1" if left.endswith("0") else "0"}') == 404
    with contextlib.closing(http.client.HTTPConnection(*STACK.tcp.getsockname(), timeout=PATIENCE)) as c:
        for wanted in 200, 404:
            c.request('DELETE', f'/v1/streams/{doomed}')
            r = c.getresponse()
            assert r.status == wanted, r.read()
            r.read()
    # A successor's successor finds them, too; and what the first one held goes with it.
    os.kill(new, signal.SIGHUP)
    newest = int(STACK.hear('^MAINPID=([0-9]+)')[0].group(1))
    assert resumable(0, 'GET', f'/v1/streams/{ended}?from=3') == (ended, whole[3:])
    old.kill()
    assert old.wait(PATIENCE) == -signal.SIGKILL
    assert STACK.ask(f'/v1/streams/{ended}?from=3') == 404
    STACK.hush()
    os.kill(newest, signal.SIGTERM)
    assert STACK.hear('^STOPPING=1')[1] == newest
    wait_for('no socket to be left', lambda: not [f for f in os.listdir(STACK.run) if re.match('gateway-.*http', f)])


def test_a_successor_that_cannot_start_changes_nothing():
    p = STACK.start_gateway()
    STACK.hear('^READY=1')
    with open(STACK.program + '.new', 'w', encoding='utf-8') as f:
        f.write('#!/bin/false\n')
    os.chmod(STACK.program + '.new', 0o755)
    os.rename(STACK.program + '.new', STACK.program)
    p.send_signal(signal.SIGHUP)
    wait_for('the log', lambda: b'ev=hand-over-failed' in open(STACK.run + '/log', 'rb').read())
    assert STACK.ask('/healthz') == 200 and Stream(50).text()
    shutil.copy(service('gateway'), STACK.program + '.new')
    os.rename(STACK.program + '.new', STACK.program)
    p.send_signal(signal.SIGHUP)  # and the next try succeeds
    new = int(STACK.hear('^MAINPID=([0-9]+)')[0].group(1))
    assert p.wait(PATIENCE) == 0
    STACK.hush()  # a full queue would lose what comes next
    os.kill(new, signal.SIGTERM)
    assert STACK.hear('^STOPPING=1')[1] == new


def test_systemd_socket_activate_starts_it():
    if shutil.which('systemd-socket-activate') is None:
        raise Skip('systemd-socket-activate is not here')
    path = STACK.run + '/activated.http'
    p = STACK.start('systemd-socket-activate', '-l', path, STACK.program, '--run', STACK.run)
    wait_for('the socket', lambda: os.path.exists(path))
    with contextlib.closing(http.client.HTTPConnection('localhost', timeout=PATIENCE)) as c:
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(PATIENCE)
        c.sock.connect(path)
        c.request('GET', '/healthz')
        assert c.getresponse().status == 200
    end(p)


if __name__ == '__main__':
    STACK = Manager()
    try:
        main(sys.modules['__main__'])
    finally:
        STACK.end()
