#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine is swapped, drained and restarted under streams; newcomers, operators and routers die in the
middle. No request fails, and clients see the bytes of an undisturbed run.

HALO_SWAPS=N swaps N times in the test under load (default 2)."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from halo_stack import BUILD, HALO, MODEL, PATIENCE, Stack, in_parallel, main, wait_for

STACK = None
TWO = None
SWAPS = int(os.environ.get('HALO_SWAPS', '2'))
N_STREAMS = 6

REQUESTS = [
    ('Tell me a story about a fox.', {'temperature': 0}),
    ('Tell me a story about a cat and a dog.', {'temperature': 1, 'seed': 11}),
    ('What is the capital of France?', {'temperature': 1, 'seed': 12, 'logprobs': True, 'top_logprobs': 3}),
    ('Tell me a story about the sea.', {'temperature': 0.8, 'seed': 13, 'top_p': 0.9, 'stop': ['xyzzy']}),
    ('Count from one to twenty.', {'temperature': 0, 'frequency_penalty': 0.5}),
    ('Tell me a story about a bird.', {'temperature': 1, 'seed': 14, 'repetition_penalty': 1.1, 'top_k': 40}),
]
LENGTH = 150


def ask(stack, number, on_event=None):
    prompt, fields = REQUESTS[number % len(REQUESTS)]
    events = stack.stream_chat(prompt, on_event, max_tokens=LENGTH, ignore_eos=True, **fields)
    return [(c['delta'], c.get('logprobs'), c['finish_reason']) for e in events for c in e['choices']]


class Load:
    """Streams without end; each reply is compared with that of an undisturbed run."""

    def __init__(self, stack, n=N_STREAMS):
        self.stack = stack
        self.expected = [ask(stack, i) for i in range(len(REQUESTS))]
        self.done = threading.Event()
        self.failures, self.gaps, self.replies = [], [], 0
        self.threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(n)]

    def client(self, i):
        last = [0.0]

        def on_event(_):
            now = time.monotonic()
            if last[0]:
                self.gaps.append(now - last[0])
            last[0] = now

        while not self.done.is_set():
            last[0] = 0.0
            try:
                if ask(self.stack, i, on_event) != self.expected[i % len(REQUESTS)]:
                    self.failures.append(f'stream {i} differs')
            except Exception as e:  # pylint: disable=broad-except
                self.failures.append(f'stream {i}: {e!r}')
            self.replies += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        self.move()
        return self

    def move(self, n=40):
        seen = len(self.gaps)
        wait_for('streams to move', lambda: len(self.gaps) > seen + n or self.failures)
        assert not self.failures, self.failures[0]

    def __exit__(self, kind, value, trace):
        self.done.set()
        for t in self.threads:
            t.join(PATIENCE * 3)
            assert not t.is_alive(), 'a stream did not end'
        if kind is None:
            assert not self.failures, self.failures[0]
            gaps = sorted(self.gaps)
            print(f'# {self.replies} replies, 0 differ; gap p50 {gaps[len(gaps) // 2] * 1000:.1f} ms, '
                  f'p99 {gaps[int(len(gaps) * 0.99)] * 1000:.0f} ms, max {gaps[-1] * 1000:.0f} ms')


def run_halo(stack, verb, *args):
    return stack.halo(verb, '--run', stack.run, *args)


def show(r):
    for line in r.stdout.splitlines():
        print(f'# {line}')


def log_of(stack, name):
    with open(os.path.join(stack.run, 'log', name + '.log'), encoding='utf-8') as f:
        return f.read()


def all_ready(stack, names=None):
    children = stack.children()
    return all(c['state'] == 'ready' for c in children.values()) and (names is None or set(children) == set(names))


NAMES = ['router', 'tokenizer', 'engine.1', 'gateway']


def test_a_swap_under_load_fails_no_request_and_changes_no_byte():
    with Load(STACK) as load:
        for i in range(SWAPS):
            old = STACK.children()['engine.1']['pid']
            r = run_halo(STACK, 'swap', 'engine@1', *(['--no-copy'] if i % 2 else []))
            assert r.returncode == 0, (r.stdout, r.stderr)
            show(r)
            assert ('\nKV cache handed over' in r.stdout) == (i % 2 == 0), r.stdout
            children = STACK.children()
            assert set(children) == set(NAMES) and children['engine.1']['pid'] != old, children
            load.move()
    # It is the new one's place: when it dies, it comes back in service.
    STACK.kill('engine.1')
    wait_for('the engine to be back', lambda: all_ready(STACK, NAMES))
    assert ask(STACK, 0) == load.expected[0]


def test_the_newcomer_has_the_blocks_of_the_old_engine():
    text = 'Here is a long story that somebody told. ' * 30
    STACK.chat(text, max_tokens=1, temperature=0)
    r = run_halo(STACK, 'swap', '1')
    assert r.returncode == 0, r.stderr
    usage = STACK.chat(text, max_tokens=1, temperature=0)['usage']
    assert usage['prompt_tokens_details']['cached_tokens'] > usage['prompt_tokens'] - 64, usage


def test_a_newcomer_that_does_not_start_changes_nothing():
    with Load(STACK) as load:
        old = STACK.children()['engine.1']['pid']
        damaged = os.path.join(STACK.run, 'damaged.h1b')
        with open(MODEL, 'rb') as f, open(damaged, 'wb') as g:
            data = bytearray(f.read())
            data[len(data) // 2] ^= 1  # its checksum is wrong
            g.write(data)
        for args, words in [(['--model', damaged], 'SHA-256'), (['--build', '/nowhere/halo-engine'], 'cannot run'),
                            (['--args', '--no-such-option'], 'unknown option')]:
            r = run_halo(STACK, 'swap', 'engine.1', *args)
            assert r.returncode == 1 and 'nothing has changed' in r.stderr, (args, r.stdout, r.stderr)
            assert words in r.stderr, (words, r.stderr)
        assert STACK.children()['engine.1']['pid'] == old
        assert set(STACK.children()) == set(NAMES)
        load.move()


def swap_and(what, *args):
    """A swap; as soon as the newcomer is there, what(process of halo, its pid) happens. The newcomer takes
    a while to start, so that it is seen."""
    slow = os.path.join(STACK.run, 'halo-engine')
    with open(slow, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/sh\nsleep 0.7\nexec {BUILD}/services/engine/halo-engine "$@"\n')
    os.chmod(slow, 0o700)
    p = subprocess.Popen([HALO, 'swap', '--run', STACK.run, 'engine@1', '--build', slow, *args], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    newcomer = wait_for('the newcomer', lambda: STACK.children().get('engine.1.new', {}).get('pid'))
    what(p, newcomer)
    out, err = p.communicate(timeout=PATIENCE)
    wait_for('everything to be in order', lambda: all_ready(STACK, NAMES))
    return p.returncode, out, err


def test_a_newcomer_killed_during_the_swap_leaves_the_old_engine_serving():
    with Load(STACK) as load:
        old = STACK.children()['engine.1']['pid']
        code, out, err = swap_and(lambda p, newcomer: os.kill(newcomer, signal.SIGKILL))
        if code == 0:  # the kill came when it had the place
            print(f'# too late: {out}')
        else:
            assert STACK.children()['engine.1']['pid'] == old, (out, err)
        load.move()


def test_an_operator_killed_during_the_swap_leaves_one_engine_serving():
    with Load(STACK) as load:
        swap_and(lambda p, newcomer: p.kill())
        load.move()
        assert 'serving' in run_halo(STACK, 'status').stdout


def test_an_old_engine_killed_during_the_swap_fails_no_request():
    with Load(STACK) as load:
        old = STACK.children()['engine.1']['pid']
        swap_and(lambda p, newcomer: os.kill(old, signal.SIGKILL))
        load.move()


def test_a_router_killed_during_the_swap_fails_no_request():
    with Load(STACK) as load:
        router = STACK.children()['router']['pid']
        code, out, err = swap_and(lambda p, newcomer: os.kill(router, signal.SIGKILL))
        print(f'# exit status {code}: {err.strip() or out.strip().splitlines()[-1]}')
        load.move()


def test_a_restart_keeps_the_prefix_cache():
    text = 'There was a small house behind the hill. ' * 30
    STACK.chat(text, max_tokens=1, temperature=0)
    r = run_halo(STACK, 'restart', 'engine@1')
    assert r.returncode == 0, r.stderr
    usage = STACK.chat(text, max_tokens=1, temperature=0)['usage']
    assert usage['prompt_tokens_details']['cached_tokens'] > usage['prompt_tokens'] - 64, usage
    kept = re.findall(r'ev=(cache-\w+) .*blocks=(\d+) bytes=(\d+) us=(\d+)', log_of(STACK, 'engine.1'))[-2:]
    assert [k[0] for k in kept] == ['cache-kept', 'cache-taken'] and kept[0][1:3] == kept[1][1:3], kept
    print(f'# {kept[0][1]} blocks, {int(kept[0][2]) / 1e6:.1f} MB: kept in {kept[0][3]} us, taken in {kept[1][3]} us')


def test_drain_and_restart_of_one_of_two_engines_fail_no_request():
    with Load(TWO) as load:
        r = run_halo(TWO, 'drain', 'engine@1', '--migrate')
        assert r.returncode == 0, r.stderr
        show(r)
        load.move()
        only = run_halo(TWO, 'drain', 'engine@2')
        assert only.returncode == 1 and 'the only engine' in only.stderr, only
        assert re.search(r'engine\.1 +drained', run_halo(TWO, 'status').stdout)
        assert run_halo(TWO, 'undrain', 'engine@1').returncode == 0
        load.move()
        r = run_halo(TWO, 'restart', 'engine@2')
        assert r.returncode == 0, r.stderr
        show(r)
        load.move()
        assert not re.search('drain', run_halo(TWO, 'status').stdout)


def test_one_engine_hands_over_to_another_that_runs():
    with Load(TWO) as load:
        assert run_halo(TWO, 'drain', 'engine@2', '--migrate').returncode == 0
        r = run_halo(TWO, 'swap', 'engine@1', '--to', 'engine@2')
        assert r.returncode == 0 and 'KV cache handed over' in r.stdout, (r.stdout, r.stderr)
        load.move()
        status = run_halo(TWO, 'status').stdout
        assert re.search(r'engine\.1 +drained', status) and re.search(r'engine\.2 +serving', status), status
        assert run_halo(TWO, 'undrain', 'engine@1').returncode == 0


PHASES = None


def engines(stack):
    return {e['name']: e for e in json.loads(run_halo(stack, 'status', '--json').stdout)['engines']}


def test_prompts_on_one_engine_and_replies_on_another_are_the_same_bytes():
    expected = [ask(STACK, i) for i in range(len(REQUESTS))]
    got = in_parallel([lambda i=i: ask(PHASES, i) for i in range(N_STREAMS)])
    assert got == expected
    both = engines(PHASES)
    assert both['engine.1']['taken_over'] == 0 and both['engine.2']['taken_over'] >= N_STREAMS // 2, both
    # A long prompt is not computed again: it has gone over in a file.
    text = 'Somebody told a long story in the evening. ' * 30
    want = STACK.chat(text, max_tokens=120, temperature=0, ignore_eos=True)['choices']
    before = engines(PHASES)['engine.2']
    assert PHASES.chat(text, max_tokens=120, temperature=0, ignore_eos=True)['choices'] == want

    def has_hit():  # loads are told once a second
        now = engines(PHASES)['engine.2']
        return now['taken_over'] > before['taken_over'] and now['prefix_hits'] - before['prefix_hits'] > 256 and now
    now = wait_for('the prompt to be found in the cache', has_hit)
    print(f"# {now['taken_over']} replies went on at engine.2, with {now['prefix_hits']} positions of their prompts")


def test_with_phases_either_engine_may_be_killed():
    with Load(PHASES, 4) as load:
        for name in ['engine.1', 'engine.2', 'engine.1']:
            PHASES.kill(name)
            load.move()
            wait_for('both to be back', lambda: all_ready(PHASES) and len(engines(PHASES)) == 2)
            load.move()
    assert not [f for f in os.listdir(PHASES.run) if f.startswith('phase-')]


if __name__ == '__main__':
    ARGS = '--threads 1'
    with (Stack('--engine-args', ARGS) as STACK, Stack('--engines', '2', '--engine-args', ARGS) as TWO,
          Stack('--engines', '2', '--engine-args', ARGS, '--router-args', '--prefill-engines 1') as PHASES):
        main(sys.modules['__main__'])
