#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guessed tokens make replies cheaper and nothing else: two stacks, with and without, side by side.

Prints the processor time of a reply in both engines, the least of some runs, because other work on the
machine shows less in it than in wall time. HALO_RUNS=6 for figures worth noting."""
import os
import statistics
import sys

from halo_stack import Stack, main, wait_for

RUNS = int(os.environ.get('HALO_RUNS', '2'))
PLAIN = GUESSING = None
POEM = 'the cat sat on the mat and the dog sat on the log, ' * 12
LIST = ', '.join(f'item {i} is red' for i in range(1, 30))

# (kind, prompt, fields): raw prompts that the model goes on with as they are, and ordinary chats
REQUESTS = [
    ('repetitive', POEM, {'temperature': 0}),
    ('repetitive', LIST, {'temperature': 0}),
    ('repetitive', POEM, {'temperature': 0.5, 'seed': 4}),
    ('repetitive', POEM, {'temperature': 0, 'frequency_penalty': 0.05, 'logprobs': 3}),
    ('ordinary', 'Tell me a story about a fox.', {'temperature': 1, 'seed': 1}),
    ('ordinary', 'Tell me a story about the sea.', {'temperature': 1, 'seed': 2}),
    ('ordinary', 'What is the capital of France?', {'temperature': 1, 'seed': 3}),
]


def engine_cpu_ms(stack):
    folder = f'/proc/{stack.children()["engine.1"]["pid"]}/task'
    ns = 0
    for thread in os.listdir(folder):
        with open(f'{folder}/{thread}/schedstat', encoding='ascii') as f:
            ns += int(f.read().split()[0])
    return ns / 1e6


def ask(stack, prompt, fields):
    """(choices, processor time of the engine); the prompt is in the prefix cache from the second time on."""
    before = engine_cpu_ms(stack)
    status, _, reply = stack.request('POST', '/v1/completions', {
        'model': 'halo-demo', 'prompt': prompt, 'max_tokens': 160, 'ignore_eos': True, **fields})
    assert status == 200, reply
    return reply['choices'], engine_cpu_ms(stack) - before


def test_replies_are_the_same_and_those_that_repeat_cost_less():
    gains = {}
    for kind, prompt, fields in REQUESTS:
        costs = {PLAIN: [], GUESSING: []}
        for i in range(RUNS + 1):
            replies = []
            for stack in (PLAIN, GUESSING):
                reply, cost = ask(stack, prompt, fields)
                replies.append(reply)
                costs[stack] += [cost] if i > 0 else []
            assert replies[0] == replies[1], (prompt, fields, replies)
        old, new = (min(costs[s]) for s in (PLAIN, GUESSING))
        print(f'# {kind} {fields}: {old:.0f} -> {new:.0f} ms')
        gains.setdefault(kind, []).append(old / new)
    for kind, all_gains in gains.items():
        print(f'# {kind}: {statistics.geometric_mean(all_gains):.2f} times as fast')


def test_guesses_are_counted():
    names = ['vllm:spec_decode_num_draft_tokens_total', 'vllm:spec_decode_num_accepted_tokens_total']
    wait_for('the engine to report', lambda: GUESSING.metric(names[1]) > 50)
    drafted, accepted = (GUESSING.metric(n) for n in names)
    print(f'# {drafted:.0f} drafted, {accepted:.0f} accepted')
    assert drafted >= accepted
    assert PLAIN.metric(names[0]) == PLAIN.metric(names[1]) == 0


if __name__ == '__main__':
    with (Stack('--engine-args', '--threads 1 --spec-tokens 0') as PLAIN,
          Stack('--engine-args', '--threads 1') as GUESSING):
        main(sys.modules['__main__'])
