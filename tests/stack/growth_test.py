#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Nothing grows: after a warm-up, requests of all kinds leave every process as large as it was.

The default run finds a leak of 3.4 kB a request, the soak (HALO_SOAK=true) one of 200 bytes. In 20,000
requests router, tokenizer and gateway grew by 200 to 300 kB, nearly all in the first 4,000, the engine by
1.4 MB in the first 4,000 and then no more."""
import contextlib
import http.client
import json
import os
import random
import statistics
import sys
import threading
import time

from halo_stack import PATIENCE, Stack, in_parallel, main, wait_for
from processes import is_sanitized, memory_kb, n_fds, pids

N_REQUESTS = 20000 if os.environ.get('HALO_SOAK') == 'true' else 600
N_WARM_UP = 1000
N_CONNECTIONS = 8
# From the second quarter to the last one. Measured: up to 350 kB in the engine, 60 kB elsewhere.
MAX_GROWTH_KB = 1024
# The KV cache keeps what it computed. It is small here, so that one prompt fills it before the count.
ENGINE_ARGS = '--kv-tokens 2048'

CHAT, RAW = '/v1/chat/completions', '/v1/completions'
HELLO = [{'role': 'user', 'content': 'Hello!'}]
# (path, fields, status, number of events after which the client goes away)
KINDS = [
    (CHAT, {'messages': HELLO, 'temperature': 0}, 200, None),
    (CHAT, {'messages': HELLO, 'stream': True, 'logprobs': True, 'top_logprobs': 3}, 200, None),
    (CHAT, {'messages': HELLO, 'stream': True, 'max_tokens': 200, 'ignore_eos': True}, 200, 2),
    (RAW, {'prompt': 'Once upon a time', 'n': 2, 'stop': ['.', 'the end']}, 200, None),
    (RAW, {'prompt': ['One', 'two'], 'stream': True, 'presence_penalty': 0.5}, 200, None),
    (RAW, {'prompt': 'Once upon a time', 'stream': True, 'max_tokens': 200, 'ignore_eos': True}, 200, 0),
    (RAW, {'prompt': [5] * 3000}, 400, None),
    (CHAT, {'messages': HELLO, 'no_such_field': 1}, 400, None),
    (CHAT, {'messages': HELLO, 'model': 'no-such-model'}, 404, None),
    (CHAT, '{"messages": [', 400, None),
    ('/no/such/route', {}, 404, None),
]


class Client:
    """One connection that sends requests; made anew after those that it leaves."""

    def __init__(self, stack, seed):
        self.stack = stack
        self.rng = random.Random(seed)
        self.connection = stack.connect()

    def ask(self):
        path, fields, status, n_events = self.rng.choice(KINDS)
        if isinstance(fields, dict):
            fields = json.dumps({'model': 'halo-demo', 'max_tokens': 8, 'seed': self.rng.randrange(1000), **fields})
        self.connection.request('POST', path, fields, {'content-type': 'application/json'})
        r = self.connection.getresponse()
        assert r.status == status, (path, fields, r.status, r.read())
        if n_events is None:
            r.read()
            return
        for _ in range(2 * n_events):  # an event is two lines
            r.readline()
        r.close()
        self.connection.close()
        self.connection = http.client.HTTPConnection('127.0.0.1', self.stack.port, timeout=PATIENCE)


class Traffic:
    """All clients at work; n_done counts."""

    def __init__(self, stack):
        self.clients = [Client(stack, i) for i in range(N_CONNECTIONS)]
        self.lock = threading.Lock()
        self.n_left = 0
        self.n_done = 0

    def take(self):
        with self.lock:
            self.n_left -= 1
            return self.n_left >= 0

    def work(self, client):
        while self.take():
            client.ask()
            with self.lock:
                self.n_done += 1

    def run(self, n):
        self.n_left, self.n_done = n, 0
        in_parallel([lambda c=c: self.work(c) for c in self.clients])

    def close(self):
        for c in self.clients:
            c.connection.close()


def sizes(processes):
    return {name: (memory_kb(pid), n_fds(pid)) for name, pid in processes.items()}


@contextlib.contextmanager
def samples(processes, traffic):
    """A list of (requests done, sizes), taken while the block runs."""
    taken, ended = [], threading.Event()

    def watch():
        while not ended.wait(0.02):
            taken.append((traffic.n_done, sizes(processes)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield taken
    finally:
        ended.set()
        watcher.join()


def quarter(taken, number, name, what):
    """The median of what was measured while that quarter of the requests was done."""
    low, high = N_REQUESTS * (number - 1) / 4, N_REQUESTS * number / 4
    return statistics.median([s[name][what] for n, s in taken if low <= n < high])


def fill_the_kv_cache(stack):
    status, _, reply = stack.request('POST', RAW, {'model': 'halo-demo', 'prompt': [5] * 2000, 'max_tokens': 40})
    assert status == 200, reply


def test_memory_and_files_stay_as_after_the_warm_up():
    with Stack('--engine-args', ENGINE_ARGS) as stack:
        processes = pids(stack)
        idle_fds = {name: fds for name, (_, fds) in sizes(processes).items()}
        traffic = Traffic(stack)
        fill_the_kv_cache(stack)
        traffic.run(N_WARM_UP)
        t0 = time.monotonic()
        with samples(processes, traffic) as taken:
            traffic.run(N_REQUESTS)
        print(f'# {N_REQUESTS} requests in {time.monotonic() - t0:.1f} s, {len(taken)} samples')
        grown = []
        max_kb = float('inf') if is_sanitized(processes['gateway']) else MAX_GROWTH_KB
        for name in processes:
            kb = [quarter(taken, q, name, 0) for q in (2, 4)]
            fds = [quarter(taken, q, name, 1) for q in (2, 4)]
            print(f'# {name:<11} {kb[0]:.0f} -> {kb[1]:.0f} kB, {fds[0]:.0f} -> {fds[1]:.0f} files')
            if kb[1] - kb[0] > max_kb or fds[1] - fds[0] > 2 * N_CONNECTIONS:  # each has two while it lasts
                grown.append(name)
        assert not grown, grown
        traffic.close()
        wait_for('the files of the connections to be closed', lambda: all(
            fds <= idle_fds[name] for name, (_, fds) in sizes(processes).items()))
        assert pids(stack) == processes, 'a process ended'


if __name__ == '__main__':
    main(sys.modules['__main__'])
