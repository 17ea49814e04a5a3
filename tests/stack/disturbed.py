# SPDX-License-Identifier: MIT
"""Requests of all kinds whose replies are known, clients that ask them over and over, and what they saw of the
processes that died meanwhile: differences, failures, pauses."""
import json
import os
import random
import threading
import time

from halo_stack import PATIENCE, in_parallel

CHAT, RAW = '/v1/chat/completions', '/v1/completions'


def chat(text, **fields):
    return CHAT, {'messages': [{'role': 'user', 'content': text}], **fields}


# ignore_eos keeps a reply alive long enough to be hit. (path, fields), 'stream' among them.
REQUESTS = [
    chat('Tell me a story about a fox.', temperature=0, stream=True),
    chat('Tell me a story about a cat and a dog.', temperature=1, seed=11, stream=True),
    chat('What is the capital of France?', temperature=1, seed=12, logprobs=True, top_logprobs=3, stream=True),
    chat('Tell me a story about the sea.', temperature=0.8, seed=13, top_p=0.9, stop=['xyzzy', ' the end'], stream=True),
    chat('Count from one to twenty.', temperature=0, frequency_penalty=0.5, presence_penalty=0.2, stream=True),
    chat('Tell me a story about a bird.', temperature=1, seed=14, repetition_penalty=1.1, top_k=40, stream=True),
    chat('Tell me a story about two bears.', temperature=1, seed=15, n=2, stream=True),
    (RAW, {'prompt': ['Once upon a time', 'The sun'], 'temperature': 0.7, 'seed': 16, 'stream': True}),
    (RAW, {'prompt': 'One day a girl went to the park', 'temperature': 1, 'seed': 17, 'logprobs': 2, 'n': 2}),
    chat('Tell me a story about a boat.', temperature=1, seed=18, logit_bias={'100': 2}, stop=['. She', '. He']),
]


def ask(stack, request, on_event=None):
    """What each choice of the reply holds: index -> everything that may not differ, in order."""
    path, fields = request
    body = {'model': 'halo-demo', 'max_tokens': 120, 'ignore_eos': True, **fields}
    if body.get('stream'):
        choices = [c for e in stack.stream(path, body, on_event) for c in e['choices']]
    else:
        status, _, reply = stack.request('POST', path, body)
        assert status == 200, (status, reply)
        choices = reply['choices']
    seen = {}
    for c in choices:
        seen.setdefault(c['index'], []).append(json.dumps({k: v for k, v in c.items() if k != 'index'}, sort_keys=True))
    return seen


class Clients:
    """As many as asked for, each asking its request of REQUESTS over and over until stop()."""

    def __init__(self, stack, n, requests=None):
        self.stack = stack
        self.requests = REQUESTS if requests is None else requests
        self.expected = [ask(stack, r) for r in self.requests]
        self.failures = []
        self.n_replies = 0
        self.n_events = 0
        self.pauses = {}  # what was done to whom -> seconds from there to the next event of a stream
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.blow = (0.0, '')  # when, and what
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def work(self, i):
        number = i % len(self.requests)
        last = [0.0]

        def on_event(_):
            now = time.monotonic()
            with self.lock:
                self.n_events += 1
                at, what = self.blow
                if last[0] and last[0] < at:
                    self.pauses.setdefault(what, []).append(now - at)
            last[0] = now

        while not self.done.is_set():
            last[0] = 0.0
            try:
                got = ask(self.stack, self.requests[number], on_event)
                if got != self.expected[number]:
                    self.failures.append(f'{self.requests[number]} differs: {got}\nexpected: {self.expected[number]}')
            except Exception as e:
                self.failures.append(f'{self.requests[number]}: {type(e).__name__} {e}')
            self.n_replies += 1

    def strike(self, names, sig, what):
        """Sends the signal to the processes, and remembers it as the cause of the pauses that follow."""
        children = self.stack.children()
        for name in names:
            pid = children[name]['pid']
            if pid <= 0:
                continue  # between two lives
            with self.lock:
                self.blow = (time.monotonic(), what)
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass  # it has just ended

    def check(self):
        assert not self.failures, f'{len(self.failures)} failed; the first: {self.failures[0]}'

    def stop(self):
        self.done.set()
        for t in self.threads:
            t.join(PATIENCE * 3)
            assert not t.is_alive(), 'a request did not end'

    def report(self):
        """One line for each kind of blow."""
        for what, seconds in sorted(self.pauses.items()):
            ms = sorted(1000 * s for s in seconds)
            print(f'# pause of {len(ms)} streams after {what}: p50 {ms[len(ms) // 2]:.0f} ms, '
                  f'p99 {ms[int(len(ms) * 0.99)]:.0f} ms, max {ms[-1]:.0f} ms', flush=True)


def prefill_seconds(stack, n_streams, n_tokens, seed=1):
    """How long n_streams prompts of n_tokens need from their start to the first token of each: p50 and the last."""
    rng = random.Random(seed)

    def first(prompt):
        t0 = time.monotonic()
        taken = []
        stack.stream(RAW, {'model': 'halo-demo', 'prompt': prompt, 'max_tokens': 1, 'ignore_eos': True},
                     lambda n: taken.append(time.monotonic() - t0) if n == 1 else None)
        return taken[0]

    prompts = [[rng.randrange(300, 5000) for _ in range(n_tokens)] for _ in range(n_streams)]
    taken = sorted(in_parallel([lambda p=p: first(p) for p in prompts]))
    return taken[len(taken) // 2], taken[-1]
