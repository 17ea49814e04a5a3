#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two lanes: a candidate engine with other kernels, a GPU's too, gives the same replies, one with another KV cache
does not, and the burn-in log, its gates and the cutover say so.

HALO_ROUNDS=10000 compares as many replies as a burn-in should (some minutes)."""
import json
import os
import re
import subprocess
import sys
import tempfile

from halo_stack import BUILD, ROOT, Skip, Stack, in_parallel, main, wait_for

sys.path.insert(0, os.path.join(ROOT, 'tests/model'))
import hf_fixture as hf  # noqa: E402

STANDIN = os.path.join(BUILD, 'tests/gpu/libhalo-standin-hip.so')
ROUNDS = int(os.environ.get('HALO_ROUNDS', '48'))
AT_ONCE = 8  # as many as a candidate takes: half of its 16 places
GATES = '--shadow-share 100 --gate-rounds 40 --gate-latency 1000000 --gate-uptime 1'
QUESTIONS = ['What is the capital of France?', 'Tell me a story about a fox.', 'Who wrote it?', 'Count to ten.']


def has_avx512():
    with open('/proc/cpuinfo', encoding='ascii') as f:
        return 'avx512_vnni' in f.read()


def fields(i):
    """Greedy, seeded, with penalties, with log probabilities: in turns."""
    return [{'temperature': 0}, {'temperature': 1, 'seed': i}, {'temperature': 0.7, 'top_p': 0.9, 'seed': i},
            {'temperature': 0, 'frequency_penalty': 0.4, 'logprobs': True, 'top_logprobs': 3}][i % 4]


def ask(stack, i):
    stack.chat(f'{QUESTIONS[i % len(QUESTIONS)]} ({i})', max_tokens=8, **fields(i))


def talk(stack, rounds, one=ask):
    """Sends so many requests, some at a time, and waits until they are compared: all must be exact."""
    for first in range(0, rounds, AT_ONCE):
        in_parallel([lambda i=i: one(stack, i) for i in range(first, first + AT_ONCE)])
        wait_for('the comparisons', lambda: counts(stack)['running'] == 0)
    n = counts(stack)
    print(f'# {n["exact"]} exact, {n["skipped"]} skipped')
    assert n['exact'] == rounds and n['skipped'] == 0, n
    assert n['different'] == n['empty'] == n['truncated'] == n['cancelled'] == n['unlogged'] == 0, n
    return n


def counts(stack):
    r = stack.halo('lanes', '--run', stack.run, '--json')
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)['burnin']


def burnin(stack, *args):
    """(exit status, parsed JSON)"""
    r = stack.halo('burnin', *args, '--run', stack.run, '--json')
    return r.returncode, json.loads(r.stdout) if r.stdout else r.stderr


def engines(stack):
    r = stack.halo('status', '--run', stack.run, '--json')
    return {e['name']: e for e in json.loads(r.stdout)['engines']}


def test_other_kernels_give_the_same_replies_and_may_take_over():
    other = 'avx2' if has_avx512() else 'ref'
    with Stack('--candidates', '1', '--candidate-args', f'--isa {other} --threads 1', '--router-args', GATES,
               '--engine-args', '--threads 1') as stack:
        assert engines(stack)['engine.candidate1']['backend'] == f'cpu/{other}'
        closed = stack.halo('cutover', '--run', stack.run)
        assert closed.returncode == 1 and 'nothing was changed' in closed.stdout, closed
        assert re.search(r'closed +rounds', closed.stdout), closed.stdout
        n = talk(stack, ROUNDS)
        status, sums = burnin(stack)
        assert status == 0 and sums['exact'] == sums['rounds'] == n['exact'] and sums['exact_share'] == 1, sums
        assert burnin(stack, 'drift') == (0, [])
        status, rows = burnin(stack, 'recent', '--top', '3')
        assert status == 0 and [r['verdict'] for r in rows] == ['exact'] * 3, rows
        assert burnin(stack, 'since', '1h')[1]['rounds'] == n['exact']
        assert burnin(stack, 'since', '2099-01-01')[1]['rounds'] == 0
        wait_for('the uptime gate', lambda: stack.halo('cutover', '--dry-run', '--run', stack.run).returncode == 0)
        check_cutover_under_load(stack)


def check_cutover_under_load(stack):
    plain = [stack.chat(q, max_tokens=24, temperature=0)['choices'] for q in QUESTIONS]

    def asks(q, expected):
        for _ in range(3):
            assert stack.chat(q, max_tokens=24, temperature=0)['choices'] == expected

    def moves():
        for verb in 'cutover', 'rollback', 'cutover':
            r = stack.halo(verb, '--run', stack.run)
            assert r.returncode == 0, r.stdout + r.stderr
    in_parallel([lambda q=q, e=e: asks(q, e) for q, e in zip(QUESTIONS, plain)] + [moves])
    lanes = {name: e['lane'] for name, e in engines(stack).items()}
    assert lanes == {'engine.1': 1, 'engine.candidate1': 0}, lanes
    stack.kill('router')
    wait_for('the router', lambda: stack.children()['router']['state'] == 'ready' and len(engines(stack)) == 2)
    assert {name: e['lane'] for name, e in engines(stack).items()} == lanes
    assert stack.halo('rollback', '--run', stack.run).returncode == 0
    again = stack.halo('rollback', '--run', stack.run)
    assert again.returncode == 1 and 'no cutover to undo' in again.stderr, again


def small_model(folder):
    """A model of 300 tokens: the stand-in computes each thread of a GPU by itself."""
    made = os.path.join(folder, 'small.h1b')
    hf.write(os.path.join(folder, 'hf'), hf.Model('llama', seed=5, layers=1, hidden=64, vocab=300))
    subprocess.run([os.path.join(BUILD, 'services/model/halo-model'), 'convert', os.path.join(folder, 'hf'), made, '--name', 'small'],
                   check=True, capture_output=True)
    return made


def complete(stack, i):
    prompt = [(i * 37 + k * k) % 256 for k in range(2 + i % 3)]
    body = {'model': 'small', 'prompt': prompt, 'max_tokens': 4, **{k: v for k, v in fields(i).items() if 'logprobs' not in k}}
    status, _, reply = stack.request('POST', '/v1/completions', body)
    assert status == 200, reply


def test_the_kernels_for_gpus_give_the_same_replies():
    if not os.path.exists(os.path.join(BUILD, 'kernels/hip/gfx1151.hsaco')):
        raise Skip('this build has no GPU kernels')
    with tempfile.TemporaryDirectory(prefix='halo-model-') as folder, Stack(
            '--model', small_model(folder), '--candidates', '1', '--router-args', GATES, '--engine-args', '--threads 1', '--candidate-args',
            f'--backend hip --gpu-library {STANDIN} --threads 1 --spec-tokens 0 --step-tokens 32 --gpu-timeout 60000') as stack:
        assert engines(stack)['engine.candidate1']['backend'] == 'hip/gfx1151'
        talk(stack, ROUNDS, complete)


def test_another_kv_cache_is_found_out_and_stays_outside():
    with Stack('--candidates', '1', '--candidate-args', '--kv-type int8', '--router-args',
               '--gate-rounds 1 --gate-uptime 0 --gate-latency 10000 --gate-ppl-text ' + os.path.join(ROOT, 'LICENSE')) as stack:
        assert stack.halo('lanes', 'share', '100', '--run', stack.run).returncode == 0
        wait_for('a difference', lambda: stack.chat('Tell me a story about the sea.', max_tokens=64, temperature=1)
                 and counts(stack)['different'] > 0)
        wait_for('the comparisons', lambda: counts(stack)['running'] == 0)
        status, rows = burnin(stack, 'drift')
        assert status == 1 and rows and all(r['verdict'] == 'different' for r in rows), rows
        for r in rows:
            assert r['stable']['token'] != r['candidate']['token'] or r['stable']['tokens'] != r['candidate']['tokens'], r
            assert isinstance(r['stable']['margin'], float) and isinstance(r['candidate']['margin'], float), r
        cut = stack.halo('cutover', '--run', stack.run)
        assert cut.returncode == 1 and re.search(r'closed +exact', cut.stdout), cut.stdout
        assert re.search(r'(open|closed) +perplexity +\d+\.\d+, stable \d+', cut.stdout), cut.stdout
        assert engines(stack)['engine.1']['lane'] == 0
        assert stack.halo('cutover', '--force', '--run', stack.run).returncode == 0
        assert engines(stack)['engine.1']['lane'] == 1


def test_without_comparisons_it_says_how_to_begin():
    with Stack() as stack:
        r = stack.halo('burnin', '--run', stack.run)
        assert r.returncode == 2 and 'halo lanes share' in r.stderr, r
        r = stack.halo('cutover', '--run', stack.run)
        assert r.returncode == 1 and '--lane 1' in r.stdout, r
        r = stack.halo('cutover', '--force', '--run', stack.run)
        assert r.returncode == 1 and 'no engine of the lane /v2' in r.stderr, r


if __name__ == '__main__':
    main(sys.modules[__name__])
