#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Long prompts slow running streams down by less than half, and do not hold up short prompts.

All bounds are ratios of times of one run, in which streams alone and beside long prompts take turns, and
the best of three runs counts: other work on the machine lengthens times. Where it takes most of the
processors, the engine's processor time for a token tells what the clock cannot."""
import json
import os
import random
import socket
import statistics
import sys
import threading
import time

from halo_stack import PATIENCE, Stack, in_parallel, main
from processes import cpu_seconds, pids

STACK = None
N_STREAMS = 2
N_TOKENS = 600  # of each stream; then the next one begins
N_ROUNDS, N_LONG = 3, 2  # pauses, and long prompts in a row after each
PAUSE_S = 0.6
SLICE_S = 0.1
LONG, SHORT = 1800, 30  # tokens
EVENT = b'data: {'
# The goal is 2 and 3 (held with HALO_SOAK=true on a quiet machine); without pacing it is 70. A shared
# machine's own noise must not fail a run.
SOAK = os.environ.get('HALO_SOAK') == 'true'
MAX_MEDIAN = 2 if SOAK else 4
MAX_P95, P95_NOISE_S = (3, 0.005) if SOAK else (6, 0.02)

RNG = random.Random(1)


def prompt(n):
    """Tokens that no other prompt begins with, so that nothing of it is in the cache."""
    return [RNG.randrange(300, 8000) for _ in range(n)]


def times(n_prompt, n_tokens, on_event=None, **fields):
    """The start, and the arrival of each token. Counts events and parses none: at a thousand a second, that
    alone would keep a processor from the engine."""
    body = {'model': 'halo-demo', 'prompt': prompt(n_prompt), 'max_tokens': n_tokens, 'ignore_eos': True,
            'stream': True, **fields}
    data = json.dumps(body).encode()
    head = b'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n' \
           b'content-type: application/json\r\ncontent-length: %d\r\n\r\n' % len(data)
    arrivals, tail = [], b''
    t0 = time.monotonic()
    with socket.create_connection(('127.0.0.1', STACK.port), timeout=PATIENCE) as s:
        s.sendall(head + data)
        while chunk := s.recv(65536):
            n = (tail + chunk).count(EVENT) - tail.count(EVENT)
            arrivals += [time.monotonic()] * n
            tail = (tail + chunk)[-64:]
            if on_event is not None and n > 0:
                on_event(len(arrivals))
    assert arrivals and b'[DONE]' in tail, tail
    return t0, arrivals


def ttft(n_prompt):
    t0, arrivals = times(n_prompt, 1)
    return arrivals[0] - t0


def p95(values):
    return sorted(values)[int(0.95 * len(values))]


class Run:
    """Streams one after the other, and beside them, again and again, a pause and long prompts in a row."""

    def __init__(self):
        self.arrivals = [[] for _ in range(N_STREAMS)]
        self.pauses, self.spans, self.ttfts = [], [], []
        self.engine, self.cpu_s = pids(STACK)['engine.1'], [0, 0]  # in pauses, in spans
        self.ended = False
        in_parallel([self.long_prompts] + [lambda n=n: self.streams(n) for n in range(N_STREAMS)])
        self.alone, self.beside = (statistics.median(self.rates(s)) for s in (self.pauses, self.spans))
        self.p95_alone, self.p95_beside = (p95(self.gaps(s)) for s in (self.pauses, self.spans))
        n_alone, n_beside = (self.n_tokens(s) for s in (self.pauses, self.spans))
        self.cpu_ratio = self.cpu_s[1] / n_beside / (self.cpu_s[0] / n_alone)
        print('# a token takes {:.2f} ms alone (p95 {:.2f}), '.format(1e3 / self.alone, 1e3 * self.p95_alone) +
              'beside long prompts {:.2f} (p95 {:.2f}), '.format(1e3 / self.beside, 1e3 * self.p95_beside) +
              f'{self.alone / self.beside:.2f} times, {self.cpu_ratio:.2f} times the processor time; TTFT of these {1e3 * statistics.median(self.ttfts):.0f} ms')

    def streams(self, n):
        while not self.ended:
            self.arrivals[n] += times(20, N_TOKENS, temperature=1, seed=1)[1]

    def long_prompts(self):
        for _ in range(N_ROUNDS):
            t0, cpu0 = time.monotonic(), cpu_seconds(self.engine)
            threading.Event().wait(PAUSE_S)
            self.pauses.append((t0, time.monotonic()))
            cpu1 = cpu_seconds(self.engine)
            for _ in range(N_LONG):
                t0, arrivals = times(LONG, 1)
                self.ttfts.append(arrivals[0] - t0)
            self.spans.append((self.pauses[-1][1], time.monotonic()))
            self.cpu_s = [self.cpu_s[0] + cpu1 - cpu0, self.cpu_s[1] + cpu_seconds(self.engine) - cpu1]
        self.ended = True

    def n_tokens(self, spans):
        return sum(any(a <= t < b for a, b in spans) for stream in self.arrivals for t in stream)

    def rates(self, spans):
        """Tokens per second of a stream, in each SLICE_S: bursts after a wait count as what they are."""
        found = []
        for begin, end in spans:
            for i in range(int((end - begin) / SLICE_S)):
                a = begin + i * SLICE_S
                n = sum(a <= t < a + SLICE_S for stream in self.arrivals for t in stream)
                found.append(max(n, 1) / N_STREAMS / SLICE_S)
        return found

    def gaps(self, spans):
        """Between reads that brought something."""
        return [b - a for stream in self.arrivals for a, b in zip(stream, stream[1:])
                if b > a and any(begin <= a and b <= end for begin, end in spans)]

    def is_even(self):
        return (min(self.alone / self.beside, self.cpu_ratio) < MAX_MEDIAN and
                self.p95_beside < MAX_P95 * self.p95_alone + P95_NOISE_S)


def test_long_prompts_slow_streams_down_by_less_than_half():
    assert any(Run().is_even() for _ in range(3))


def short_behind_long(n_streams):
    """The TTFT of a short prompt that comes right behind a long one, and that of the long one."""
    sent, done = threading.Event(), []

    def long_and_short():
        assert sent.wait(60)

        def short():
            threading.Event().wait(0.01)  # the long one is in the engine
            return ttft(SHORT)

        done.extend(in_parallel([lambda: ttft(LONG), short]))

    def on_event(n):
        if n >= 50:
            sent.set()

    if n_streams == 0:
        sent.set()
    in_parallel([long_and_short] + [lambda: times(20, 700, on_event, temperature=1)] * n_streams)
    print(f'# {n_streams} streams: {1e3 * done[1]:.0f} ms to the first token of the short prompt, '
          f'{1e3 * done[0]:.0f} ms to that of the long one')
    return done[1] / done[0]


def test_a_short_prompt_does_not_wait_for_the_long_one_before_it():
    for n_streams in (0, N_STREAMS):
        assert any(short_behind_long(n_streams) < (0.5 if SOAK else 0.8) for _ in range(3)), n_streams


if __name__ == '__main__':
    with Stack() as STACK:
        main(sys.modules['__main__'])
