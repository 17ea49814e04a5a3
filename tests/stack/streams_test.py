#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients lose their connections, again and again, while processes behind the gateway die, and every
client gets the events of an undisturbed stream, byte for byte; through proxies, too.

HALO_SOAK=true makes it ten times as long."""
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading

import fronts
from halo_stack import HALO, IS_SANITIZED, PATIENCE, Skip, Stack, in_parallel, main, wait_for

STACK = None
ROUNDS = 10 if os.environ.get('HALO_SOAK') == 'true' else 1
CHAT, COMPLETIONS = '/v1/chat/completions', '/v1/completions'


def ask(text, **fields):
    return CHAT, {'messages': [{'role': 'user', 'content': text}], 'ignore_eos': True, **fields}


# Seeds, because a receipt names the seed.
REQUESTS = [
    ask('Tell me a story about a fox.', temperature=0, seed=1, max_tokens=150),
    ask('Tell me a story about a cat.', seed=2, n=3, max_tokens=60),
    ask('What is the capital of France?', seed=3, logprobs=True, top_logprobs=3, max_tokens=100),
    ask('Tell me of the sea.', seed=4, stop=['xyzzy', ' storm '], stream_options={'include_usage': True}, max_tokens=150),
    (COMPLETIONS, {'prompt': ['Once upon a time', 'The sun'], 'seed': 5, 'logprobs': 2, 'max_tokens': 60, 'ignore_eos': True}),
]
LONG = ask('Tell me a story about a bear.', seed=6, max_tokens=400 if IS_SANITIZED else 1500)


class Broken(Exception):
    """The connection broke."""


class Client:
    """A stream that is read over as many connections as it takes."""

    def __init__(self, number, connect=None):
        self.path, body = LONG if number is None else REQUESTS[number % len(REQUESTS)]
        self.body = json.dumps({'model': 'halo-demo', 'stream': True, **body})
        self.connect = connect or STACK.connect
        self.id = None
        self.events = []  # (number, data)
        self.n_connections = 0

    def is_done(self):
        return bool(self.events) and self.events[-1][1] == b'[DONE]'

    def read(self, n=None):
        """Over one connection, until n more events have come, or all of them."""
        self.n_connections += 1
        with contextlib.closing(self.connect()) as c:
            try:
                if self.id is None:
                    c.request('POST', self.path, self.body, {'content-type': 'application/json', 'x-halo-resume': '120'})
                else:
                    c.request('GET', f'/v1/streams/{self.id}', None, {'last-event-id': str(len(self.events))})
                r = c.getresponse()
                assert r.status == 200, (r.status, r.read())
                self.id = r.getheader('x-halo-stream')
                self.read_events(r, n)
            except (OSError, http.client.HTTPException) as e:
                raise Broken from e

    def read_events(self, r, n):
        wanted = None if n is None else len(self.events) + n
        number = None
        while not self.is_done() and len(self.events) != wanted:
            line = r.readline()
            if not line.endswith(b'\n'):
                raise Broken
            if line.startswith(b'id: '):
                number = int(line[4:])
            elif line.startswith(b'data: '):
                assert number == len(self.events) + 1, (number, len(self.events))
                self.events.append((number, line[6:-1]))

    def data(self):
        """What each choice said, in order (how several mix depends on time), the receipt and the usage."""
        assert [n for n, _ in self.events] == list(range(1, len(self.events) + 1))
        chunks = [json.loads(d) for _, d in self.events[:-1]]
        choices, rest = {}, {}
        for c in chunks:
            for choice in c['choices']:
                choices.setdefault(choice['index'], []).append(json.dumps(choice))
            rest.update({k: c[k] for k in ('halo', 'usage') if c.get(k)})
        rest['halo'] = {k: v for k, v in rest['halo'].items() if k not in ('id', 'created')}
        if 'usage' in rest:
            del rest['usage']['prompt_tokens_details']  # cached ones
        return choices, rest


def undisturbed(number):
    c = Client(number)
    c.read()
    return c.data()


def test_clients_come_back_while_processes_die():
    expected = [undisturbed(i) for i in range(len(REQUESTS))]
    rng = random.Random(3)
    clients = [Client(i) for _ in range(ROUNDS) for i in range(len(REQUESTS) * 2)]
    done = threading.Event()

    def run(c):
        while not c.is_done():
            c.read(rng.randrange(1, 60))
        assert c.data() == expected[clients.index(c) % len(REQUESTS)], f'{c.path} differs'

    def kill():
        for name in ('engine.1', 'router', 'tokenizer') * ROUNDS:
            if done.is_set():
                return
            before = sum(len(c.events) for c in clients)
            wait_for('streams to move', lambda b=before: done.is_set() or sum(len(c.events) for c in clients) > b + 20)
            with contextlib.suppress(ProcessLookupError):
                STACK.kill(name)
            wait_for('it to be back', lambda: all(c['state'] == 'ready' for c in STACK.children().values()))

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for at in range(0, len(clients), 10):
            in_parallel([lambda c=c: run(c) for c in clients[at:at + 10]])
    finally:
        done.set()
        killer.join(PATIENCE)
    n = sum(c.n_connections for c in clients)
    assert n > 2 * len(clients)
    print(f'# {len(clients)} streams over {n} connections, 0 differ')


def test_processes_die_while_nobody_reads():
    expected = undisturbed(None)
    for name in 'engine.1', 'router', 'tokenizer':
        c = Client(None)
        c.read(5)
        wait_for('the stream to be parked', lambda: STACK.metric('halo_streams_parked') == 1)
        STACK.kill(name)
        wait_for('the reply to be over', lambda: STACK.metric('halo_streams_parked') == 0)
        c.read()
        assert c.data() == expected, name


def test_a_gateway_that_dies_takes_its_streams_along():
    c = Client(None)
    c.read(3)
    before = STACK.children()['gateway']
    STACK.kill('gateway')
    wait_for('another gateway', lambda: STACK.children()['gateway']['pid'] not in (0, before['pid']))
    wait_for('readiness', lambda: is_ready())
    status, _, body = STACK.request('GET', f'/v1/streams/{c.id}?from=3')
    assert status == 404 and body['error']['code'] == 'stream_not_found', (status, body)
    assert 'went with the gateway' in body['error']['message']


def is_ready():
    with contextlib.suppress(OSError, http.client.HTTPException):
        return STACK.request('GET', '/readyz')[0] == 200
    return False


class BadLine:
    """Passes bytes on to the stack and cuts every connection after so many of them that come back."""

    def __init__(self, limit):
        self.limit, self.n_cut = limit, 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                a, _ = self.listener.accept()
                b = socket.create_connection(('127.0.0.1', STACK.port))
                threading.Thread(target=self.carry, args=(a, b, None), daemon=True).start()
                threading.Thread(target=self.carry, args=(b, a, self.limit), daemon=True).start()

    def carry(self, source, to, left):
        with contextlib.suppress(OSError):
            while data := source.recv(512):
                to.sendall(data)
                left = left - len(data) if left is not None else None
                if left is not None and left <= 0:
                    self.n_cut += 1
                    break
        for s in source, to:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


def test_halo_chat_gets_its_answer_over_a_bad_line():
    question = ['Tell me a story about a fox.', '--temperature', '0', '--max-tokens', '200']

    def chat(url):
        r = subprocess.run([HALO, 'chat', '--url', url, *question], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert r.returncode == 0, r
        return r.stdout

    with contextlib.closing(BadLine(9000)) as line:
        assert chat(f'http://127.0.0.1:{line.port}') == chat(f'http://127.0.0.1:{STACK.port}')
        assert line.n_cut > 2, line.n_cut


def check_front(front):
    expected = undisturbed(1)
    c = Client(1, front.connect)
    while not c.is_done():
        c.read(40)
    assert c.data() == expected and c.n_connections > 3
    assert front.request('GET', f'/v1/streams/{c.id}?from={len(c.events)}')[0] == 204
    assert front.request('DELETE', f'/v1/streams/{c.id}')[0] == 200
    assert front.request('GET', f'/v1/streams/{c.id}')[0] == 404


def test_streams_go_on_through_caddy():
    if shutil.which('caddy') is None:
        raise Skip('caddy is not installed')
    with fronts.caddy(f'127.0.0.1:{STACK.port}') as front:
        check_front(front)


def test_streams_go_on_through_nginx():
    if shutil.which('nginx') is None:
        raise Skip('nginx is not installed')
    with fronts.nginx(f'127.0.0.1:{STACK.port}') as front:
        check_front(front)


if __name__ == '__main__':
    with Stack() as STACK:
        main(sys.modules['__main__'])
