#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Any process behind the gateway dies or hangs in the middle of streams, and the clients see the same bytes.

The soak (HALO_SOAK=true, or tests/soak/run) does the random part a thousand times, with hangs among it."""
import os
import random
import signal
import sys
import threading
import time

from disturbed import REQUESTS, Clients, ask, prefill_seconds
from halo_stack import IS_SANITIZED, PATIENCE, Stack, in_parallel, main, wait_for
from processes import memory_kb, n_fds, pids

STACK = None
SOAK = os.environ.get('HALO_SOAK') == 'true'
N_KILLS, N_STREAMS = (int(os.environ.get('HALO_SOAK_KILLS', '1000')), 32) if SOAK else (3, 8) if IS_SANITIZED else (8, 16)
BEHIND = ['engine.1', 'router', 'tokenizer']
MAX_GROWTH_KB = 2048  # of gateway and supervisor, over the second half of the kills


def all_are_ready(stack):
    return all(c['state'] == 'ready' for c in stack.children().values())


def kill_under_streams(stack, names, n_streams, sig=signal.SIGKILL, **fields):
    """All streams run; when the first has had some events, the processes get the signal. Each must be replaced.
    The longest time without an event of any stream, in seconds."""
    requests = [(path, {**r, **fields}) for path, r in REQUESTS[:n_streams]]
    expected = [ask(stack, r) for r in requests]
    before = stack.children()
    once = threading.Lock()
    moments = []

    def on_event(n):
        if n == 8 and once.acquire(blocking=False):
            for name in names:
                os.kill(before[name]['pid'], sig)
        moments.append(time.monotonic())

    got = in_parallel([lambda r=r: ask(stack, r, on_event) for r in requests])
    for i, choices in enumerate(got):
        assert choices == expected[i], f'stream {i} differs: {choices}\n{expected[i]}'
    wait_for('successors of the processes', lambda: all_are_ready(stack) and all(
        stack.children()[name]['restarts'] > before[name]['restarts'] for name in names))
    return max(b - a for a, b in zip(moments, moments[1:]))


def test_streams_survive_a_killed_engine():
    kill_under_streams(STACK, ['engine.1'], 7)


def test_streams_survive_a_killed_router():
    kill_under_streams(STACK, ['router'], 7)


def test_streams_survive_a_killed_tokenizer():
    kill_under_streams(STACK, ['tokenizer'], 7)


def test_streams_survive_all_three_killed_at_once():
    kill_under_streams(STACK, BEHIND, 7)


def test_streams_survive_a_hang_of_each_process_and_of_all():
    """A stopped process keeps its sockets open: only what it does not say gives it away. A stack for each,
    because they wait most of the time."""
    cases = ([] if IS_SANITIZED else [[name] for name in BEHIND]) + [BEHIND]

    def hang(names):
        with Stack('--engine-args', '--kv-tokens 8192') as stack:
            return kill_under_streams(stack, names, 3, signal.SIGSTOP, max_tokens=200 if IS_SANITIZED else 500)

    for names, seconds in zip(cases, in_parallel([lambda c=c: hang(c) for c in cases])):
        print(f'# {" and ".join(names)} stopped: no event for {seconds:.1f} s')


def test_a_whole_reply_survives_a_killed_engine():
    fields = {'max_tokens': 300 if IS_SANITIZED else 600, 'ignore_eos': True, 'seed': 11}
    expected = STACK.chat('Tell me a story about a cat.', **fields)['choices']
    tokens = STACK.metric('vllm:generation_tokens_total')

    def kill_when_it_runs():
        wait_for('tokens to come', lambda: STACK.metric('vllm:generation_tokens_total') > tokens + 3)
        STACK.kill('engine.1')

    killer = threading.Thread(target=kill_when_it_runs)
    killer.start()
    got = STACK.chat('Tell me a story about a cat.', **fields)['choices']
    killer.join(PATIENCE)
    assert got == expected


def choose_blow(rng, number):
    """(names, signal, what to call it)"""
    names = rng.sample(BEHIND, rng.choice([1, 1, 1, 2, 3]))
    if SOAK and number % 25 == 24:
        return names[:1], signal.SIGSTOP, f'a hang of {names[0]}'
    return names, signal.SIGKILL, 'a kill of ' + (' and '.join(sorted(names)))


def sizes(processes):
    return {name: (memory_kb(processes[name]), n_fds(processes[name])) for name in ('gateway', 'supervisor')}


def assert_flat(halfway, end):
    for name in halfway:
        print(f'# {name}: {halfway[name][0]} -> {end[name][0]} kB, {halfway[name][1]} -> {end[name][1]} files')
        assert end[name][0] - halfway[name][0] < MAX_GROWTH_KB, f'{name} grows'


def test_kills_at_random_moments_under_many_streams_change_nothing():
    """Singly and together, while they work and, one time in four, while they are being started."""
    prefill = prefill_seconds(STACK, 16, 90)
    processes = pids(STACK)
    idle = sizes(processes)
    rng = random.Random(5)
    clients = Clients(STACK, N_STREAMS)
    try:
        for number in range(N_KILLS):
            names, sig, what = choose_blow(rng, number)
            seen = clients.n_events
            wait_for('streams to move', lambda: clients.n_events > seen + N_STREAMS * rng.randrange(1, 12))
            clients.strike(names, sig, what)
            if sig == signal.SIGKILL and rng.randrange(4) == 0:
                clients.done.wait(rng.random() * 0.3)
                clients.strike(rng.sample(BEHIND, 1), signal.SIGKILL, 'a kill during another')
            wait_for('all to be ready', lambda: all_are_ready(STACK))
            clients.check()
            if number == N_KILLS // 2:
                halfway = sizes(processes)
            if number % 50 == 49:
                print(f'# {number + 1} kills, {clients.n_replies} replies', flush=True)
        end = sizes(processes)
    finally:
        clients.stop()
    clients.check()
    print(f'# {N_KILLS} kills under {N_STREAMS} streams, {clients.n_replies} replies, 0 failed, 0 differ')
    clients.report()
    print(f'# 16 prompts of 90 tokens, undisturbed: first token after p50 {prefill[0] * 1000:.0f} ms, '
          f'max {prefill[1] * 1000:.0f} ms')
    if SOAK:
        assert_flat(halfway, end)
    wait_for('no file to be left open', lambda: all(
        sizes(processes)[name][1] <= idle[name][1] for name in idle))
    assert {n: pids(STACK)[n] for n in idle} == {n: processes[n] for n in idle}, 'gateway or supervisor ended'


if __name__ == '__main__':
    with Stack('--engines', '1') as STACK:
        main(sys.modules['__main__'])
