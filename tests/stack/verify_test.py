#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Receipts through the whole stack: `halo verify` makes logged replies again, byte for byte, also on an
engine with other instructions; and it says so where they differ or cannot be made."""
import json
import os
import subprocess
import sys
import tempfile

from halo_stack import HALO, PATIENCE, Stack, in_parallel, main

DIR = tempfile.TemporaryDirectory(prefix='halo-verify-')
LOG = DIR.name + '/replies'
STACK = None
ASKED = [
    {'messages': [{'role': 'user', 'content': 'Tell me a story about a fox.'}], 'temperature': 1, 'stream': True},
    {'messages': [{'role': 'user', 'content': 'What is the capital of France?'}], 'temperature': 0, 'n': 2},
    {'messages': [{'role': 'user', 'content': 'Tell me of the sea.'}], 'logprobs': True, 'top_logprobs': 2, 'stop': ['the'],
     'stream': True, 'stream_options': {'include_usage': True}},
    {'prompt': ['Once upon a time', 'The sun'], 'seed': 5, 'echo': True, 'max_tokens': 30},
    {'prompt': 'A dog', 'n': 2, 'best_of': 4, 'max_tokens': 12},
    {'prompt': [5, 6, 7], 'logit_bias': {'9': 1.25}, 'max_tokens': 20, 'top_k': 40, 'frequency_penalty': 0.3},
]


def verify(*args, log=LOG, stdin=None):
    return subprocess.run([HALO, 'verify', '--run', STACK.run, '--log', log, *args], capture_output=True, text=True,
                          input=stdin, timeout=PATIENCE * 3, check=False)


def post(body):
    path = '/v1/chat/completions' if 'messages' in body else '/v1/completions'
    body = {'model': 'halo-demo', 'max_tokens': 60, **body}
    if body.get('stream'):
        return STACK.stream(path, body)[-1]['halo']
    status, _, answer = STACK.request('POST', path, body)
    assert status == 200, answer
    return answer['halo']


def logged():
    with open(LOG, encoding='utf-8') as f:
        return [json.loads(line) for line in f]


def story():
    """The one that depends on its seed."""
    return next(e for e in logged() if 'a fox' in e['request'])


def write_log(name, entries):
    path = f'{DIR.name}/{name}'
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines(e if isinstance(e, str) else json.dumps(e) + '\n' for e in entries)
    return path


def test_every_logged_reply_is_made_again():
    receipts = in_parallel([lambda b=b: post(b) for b in ASKED])
    assert all(r['numerics'] == 'kv-f16' and r['protocol'] == 2 and len(r['model_hash']) == 64 for r in receipts)
    r = verify('--all')
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == f'{len(ASKED)} replies: {len(ASKED)} the same, 0 differ, 0 not checked', r
    rows = [json.loads(line) for line in verify('--all', '--json', log=write_log('copy', logged())).stdout.splitlines()]
    assert sorted(x['id'] for x in rows) == sorted(r['id'] for r in receipts)
    assert {x['result'] for x in rows} == {'same'} and len(logged()) == 3 * len(ASKED), 'its own are left out'
    some = verify('--all', '--every', '2', log=write_log('copy', logged()[:len(ASKED) // 2 * 2])).stdout.splitlines()
    assert some[-1].startswith(f'{len(ASKED) // 2} replies: {len(ASKED) // 2} the same'), some


def test_one_is_found_by_its_id_its_receipt_or_its_saved_answer():
    entry = story()
    receipt = entry['halo']
    for operand, stdin in (receipt['id'], None), ('-', json.dumps(receipt)), ('-', json.dumps({'choices': [], 'halo': receipt})), \
            ('-', f'id: 1\ndata: {{}}\n\ndata: {json.dumps({"halo": receipt})}\n\ndata: [DONE]\n\n'):
        r = verify(operand, stdin=stdin)
        assert r.returncode == 0 and r.stdout == f'{receipt["id"]}: the same\n', r
    with open(DIR.name + '/receipt', 'w', encoding='utf-8') as f, open(DIR.name + '/request', 'w', encoding='utf-8') as g:
        json.dump(receipt, f)
        g.write(entry['request'])
    r = verify(f.name, '--request', g.name, log='/nonexistent')
    assert r.returncode == 0, r
    r = subprocess.run([HALO, 'verify', receipt['id'], '--run', STACK.run], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert r.returncode == 0, r  # the stack knows where its log is


def test_a_reply_that_is_another_is_told_where():
    entry = story()
    entry['replies'][0] = entry['replies'][0][:7] + 'é' + entry['replies'][0][8:]
    r = verify('--all', log=write_log('changed', [entry]))
    assert r.returncode == 1 and 'differs: choice 0 differs at character 8: "é' in r.stdout, r
    for change, word in ({'seed': 4}, 'differs at character'), ({'prompt': '0' * 64}, '"prompt"'), \
            ({'sampling': '0' * 64}, '"sampling"'), ({'choices': []}, 'number of choices'), \
            ({'choices': [{**entry['halo']['choices'][0], 'tokens': '0' * 64}]}, '"tokens"'):
        again = story()
        again['halo'].update(change)
        r = verify('--all', log=write_log('changed', [again]))
        assert r.returncode == 1 and word in r.stdout, (change, r)
    forged = {**story()['halo'], 'seed': 4}
    r = verify('-', stdin=json.dumps(forged))
    assert r.returncode == 1 and 'differ in "seed"' in r.stdout, r


def test_what_cannot_be_checked_is_neither_same_nor_different():
    entry = story()
    r = verify('chatcmpl-nobody')
    assert r.returncode == 2 and 'not logged' in r.stderr, r
    r = verify('--all', log=DIR.name + '/none')
    assert r.returncode == 2 and 'No such file' in r.stderr, r
    for bad in [], ['a', 'b'], ['a', '--all']:
        assert verify(*bad).returncode == 2
    r = verify('-', stdin='{}')
    assert r.returncode == 2 and 'no receipt' in r.stderr, r
    other = {**entry, 'halo': {**entry['halo'], 'model_hash': 'f' * 64, 'model': 'another'}}
    r = verify('--all', log=write_log('other', [other, 'nonsense\n', {**entry, 'request': '{'}]))
    assert r.returncode == 2 and 'another model: another (ffffffffffff...)' in r.stdout, r
    assert 'a line of the log is damaged' in r.stdout and 'not JSON' in r.stdout, r
    int8 = {**entry, 'halo': {**entry['halo'], 'numerics': 'kv-int8', 'build': '0.0.1 (old)', 'seed': 4}}
    r = verify('--all', log=write_log('int8', [int8]))
    assert r.returncode == 2 and 'the numerics is another: kv-int8 then, kv-f16 now' in r.stdout, r
    assert 'the build is another: 0.0.1 (old) then' in r.stdout, r


def test_another_engine_makes_the_same_replies():
    """Other instructions, other number of threads, a cold cache."""
    global STACK
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        flags = f.read().split()
    isa = 'avx2' if 'avx512_vnni' in flags else 'ref'  # ref takes long to start
    first = STACK
    with Stack('--engine-args', f'--isa {isa} --threads 1') as STACK:
        r = verify('--all', log=write_log('some', [e for e in logged() if '[5, 6, 7]' in e['request']]))
    STACK = first
    assert r.returncode == 0 and '1 the same' in r.stdout, r


if __name__ == '__main__':
    with Stack('--gateway-args', f'--reply-log {LOG}') as STACK:
        main(sys.modules['__main__'])
