#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Any process behind the gateway dies in the middle of streams, and the clients see the same bytes.

The soak (HALO_SOAK=true) repeats this with a thousand kills."""
import os
import random
import signal
import statistics
import sys
import threading
import time

from halo_stack import PATIENCE, Stack, content, in_parallel, main, wait_for

STACK = None
SOAK = os.environ.get('HALO_SOAK') == 'true'

# Greedy and sampled, with stop strings, log probabilities, penalties: (prompt, fields)
REQUESTS = [
    ('Tell me a story about a fox.', {'temperature': 0}),
    ('Tell me a story about a cat and a dog.', {'temperature': 1, 'seed': 11}),
    ('What is the capital of France?', {'temperature': 1, 'seed': 12, 'logprobs': True, 'top_logprobs': 3}),
    ('Tell me a story about the sea.', {'temperature': 0.8, 'seed': 13, 'top_p': 0.9, 'stop': ['xyzzy', ' the end']}),
    ('Count from one to twenty.', {'temperature': 0, 'frequency_penalty': 0.5, 'presence_penalty': 0.2}),
    ('Tell me a story about a bird.', {'temperature': 1, 'seed': 14, 'repetition_penalty': 1.1, 'top_k': 40}),
]


def ask(number, on_event=None):
    prompt, fields = REQUESTS[number % len(REQUESTS)]
    # ignore_eos keeps every stream alive long enough to be hit
    events = STACK.stream_chat(prompt, on_event, max_tokens=120, ignore_eos=True, **fields)
    return [(c['delta'], c.get('logprobs'), c['finish_reason']) for e in events for c in e['choices']]


def undisturbed(n):
    return [ask(i) for i in range(n)]


def kill_under_streams(names, n_streams, sig=signal.SIGKILL, at_event=8):
    """All streams run; when the first has had `at_event` events, the processes are killed."""
    expected = undisturbed(min(n_streams, len(REQUESTS)))
    before = STACK.children()
    once = threading.Lock()

    def on_event(n):
        if n == at_event and once.acquire(blocking=False):
            for name in names:
                os.kill(before[name]['pid'], sig)

    got = in_parallel([lambda i=i: ask(i, on_event) for i in range(n_streams)])
    for i, chunks in enumerate(got):
        assert chunks == expected[i % len(REQUESTS)], f'stream {i} differs: {chunks}\n{expected[i % len(REQUESTS)]}'
    wait_for('the processes to be back', lambda: all(
        c['state'] == 'ready' for c in STACK.children().values()))
    after = STACK.children()
    for name in names:
        assert after[name]['pid'] != before[name]['pid'], f'{name} was not killed'
        assert after[name]['restarts'] > before[name]['restarts']


def test_streams_survive_a_killed_engine():
    kill_under_streams(['engine.1'], 6)


def test_streams_survive_a_killed_router():
    kill_under_streams(['router'], 6)


def test_streams_survive_a_killed_tokenizer():
    kill_under_streams(['tokenizer'], 6)


def test_streams_survive_all_three_killed_at_once():
    kill_under_streams(['engine.1', 'router', 'tokenizer'], 6)


def test_streams_survive_an_engine_that_hangs():
    kill_under_streams(['engine.1'], 3, signal.SIGSTOP)


def test_a_whole_reply_survives_a_killed_engine():
    expected = STACK.chat(REQUESTS[1][0], max_tokens=600, ignore_eos=True, **REQUESTS[1][1])['choices']
    tokens = STACK.metric('vllm:generation_tokens_total')

    def kill_when_it_runs():
        wait_for('tokens to come', lambda: STACK.metric('vllm:generation_tokens_total') > tokens + 3)
        STACK.kill('engine.1')

    killer = threading.Thread(target=kill_when_it_runs)
    killer.start()
    got = STACK.chat(REQUESTS[1][0], max_tokens=600, ignore_eos=True, **REQUESTS[1][1])['choices']
    killer.join(PATIENCE)
    assert got == expected


def test_random_kills_under_many_streams_change_nothing():
    """Kills at random moments, singly and together; prints the pauses that clients saw."""
    kills, n_streams = (1000, 32) if SOAK else (6, 6)
    expected = undisturbed(len(REQUESTS))
    rng = random.Random(5)
    done = threading.Event()
    failures, gaps, replies = [], [], [0]

    def client(i):
        last = [0.0]

        def on_event(_):
            now = time.monotonic()
            if last[0]:
                gaps.append(now - last[0])
            last[0] = now

        while not done.is_set():
            last[0] = 0.0
            try:
                if ask(i, on_event) != expected[i % len(REQUESTS)]:
                    failures.append(f'stream {i} differs')
            except AssertionError as e:
                failures.append(str(e))
            replies[0] += 1

    clients = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(n_streams)]
    for t in clients:
        t.start()
    try:
        for _ in range(kills):
            names = rng.sample(['engine.1', 'router', 'tokenizer'], rng.choice([1, 1, 1, 2, 3]))
            seen = replies[0], len(gaps)
            wait_for('streams to move', lambda: len(gaps) > seen[1] + n_streams * rng.randrange(1, 12))
            children = STACK.children()
            for name in names:
                os.kill(children[name]['pid'], signal.SIGKILL)
            wait_for('all to be ready', lambda: all(c['state'] == 'ready' for c in STACK.children().values()))
            assert not failures, failures[0]
    finally:
        done.set()
    for t in clients:
        t.join(PATIENCE * 3)
        assert not t.is_alive(), 'a stream did not end'
    assert not failures, failures[0]
    gaps.sort()
    print(f'# {kills} kills, {replies[0]} replies, 0 differ; gap p50 {statistics.median(gaps) * 1000:.1f} ms, '
          f'p99 {gaps[int(len(gaps) * 0.99)] * 1000:.0f} ms, max {gaps[-1] * 1000:.0f} ms')


if __name__ == '__main__':
    with Stack('--engines', '1') as STACK:
        main(sys.modules['__main__'])
